"""Runs the WebSocket cases against an address and prints what became of each, a line a case. Arguments: the address,
then patterns of cases to leave out."""

import asyncio
import os
import sys

from kosoku import FailureError, run_fuzzingclient


async def main():
    address, *left_out = sys.argv[1:]
    try:
        results = await run_fuzzingclient(address, None, left_out or None, concurrency=8)
    except FailureError as failure:
        results = failure.results
    for result in results:
        code = result.remote_close_code
        print(result.case_id, result.behavior.value, result.behavior_close.value, code, result.was_clean)


asyncio.run(main())
sys.stdout.flush()
# The threads of kosoku outlive its work; about one interpreter in ten that shuts down beside them aborts.
os._exit(0)

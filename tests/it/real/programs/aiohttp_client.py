"""Requests by aiohttp, many at a time. The argument is the URL of the balancer. Fails with a traceback."""

import asyncio
import sys

import aiohttp

from pattern import pattern


async def gets(session, number):
    async with session.get(f"/bytes/{number}") as answer:
        assert (answer.status, await answer.read()) == (200, pattern(number))


async def streams_up(session):
    body = pattern(1 << 20)

    async def pieces():
        for at in range(0, len(body), 50000):
            yield body[at : at + 50000]
            await asyncio.sleep(0)

    async with session.post("/echo", data=pieces()) as answer:
        assert (answer.status, await answer.read() == body) == (200, True)


async def streams_down(session):
    body = bytearray()
    async with session.get("/chunked/1000000") as answer:
        async for piece in answer.content.iter_chunked(4096):
            body += piece
    assert body == pattern(1000000)


async def main():
    connector = aiohttp.TCPConnector(limit=100)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(sys.argv[1], connector=connector, timeout=timeout) as session:
        for _ in range(3):
            await asyncio.gather(*(gets(session, number) for number in range(100)))
        await asyncio.gather(*(streams_up(session) for _ in range(3)))
        await asyncio.gather(*(streams_down(session) for _ in range(3)))


asyncio.run(main())

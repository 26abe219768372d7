"""The paths of catalogue.rs served by aiohttp. The argument is the port."""

import sys

from aiohttp import web

from pattern import pattern


async def root(_):
    return web.Response()


async def sized(request):
    return web.Response(body=pattern(int(request.match_info["number"])))


async def closing(request):
    answer = await sized(request)
    answer.force_close()
    return answer


async def chunked(request):
    answer = web.StreamResponse()
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    body = pattern(int(request.match_info["number"]))
    for at in range(0, len(body), 10000):
        await answer.write(body[at : at + 10000])
    await answer.write_eof()
    return answer


async def status(request):
    return web.Response(status=int(request.match_info["number"]), headers={"ETag": '"e"'})


async def redirect(_):
    return web.Response(status=302, headers={"Location": "/bytes/10"})


async def echo(request):
    return web.Response(body=await request.read())


def main():
    application = web.Application(client_max_size=1 << 30)
    for path, handler in {
        "/": root,
        "/bytes/{number}": sized,
        "/close/{number}": closing,
        "/chunked/{number}": chunked,
        "/status/{number}": status,
        "/redirect": redirect,
        "/echo": echo,
    }.items():
        application.router.add_route("*", path, handler)
    port = int(sys.argv[1])
    web.run_app(application, host="127.0.0.1", port=port, shutdown_timeout=2, print=None)


main()

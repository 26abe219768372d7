"""The paths of catalogue.rs as a WSGI application."""

from pattern import pattern


def application(environ, start_response):
    _, kind, *rest = environ["PATH_INFO"].split("/")
    number = int(rest[0]) if rest else 0
    if kind == "echo":
        return answer(start_response, "200 OK", read_all(environ["wsgi.input"]))
    if kind == "chunked":
        start_response("200 OK", [])
        body = pattern(number)
        return (body[at : at + 10000] for at in range(0, number, 10000))
    if kind == "status":
        start_response(f"{number} S", [("ETag", '"e"')])
        return []
    if kind == "redirect":
        return answer(start_response, "302 Found", b"", [("Location", "/bytes/10")])
    return answer(start_response, "200 OK", pattern(number))


def answer(start_response, status, body, fields=()):
    start_response(status, [("Content-Length", str(len(body))), *fields])
    return [body]


def read_all(stream):
    pieces = []
    while piece := stream.read(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)

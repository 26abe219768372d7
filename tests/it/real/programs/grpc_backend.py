"""A server of gRPC without generated code: messages are bytes. Takes its name, and a certificate with its key or `-`
twice, and options of the channel as `name=number`; says on one line which ports it has, with TLS and without."""

import sys
import threading
from concurrent import futures

import grpc

# How many calls of `Meet` wait for each other.
CROWD = 100

name, certificate, key, *options = sys.argv[1:]
crowd = threading.Barrier(CROWD)
begun = threading.Semaphore(0)
cancelled = threading.Semaphore(0)
health = {"": 1, "up": 1, "down": 2}


unary = grpc.unary_unary_rpc_method_handler


def wait_for_cancel(context):
    """Waits until the call is over."""
    over = threading.Event()
    if not context.add_callback(over.set):
        over.set()
    over.wait(20)


def echo(request, context):
    return request


def metadata(request, context):
    got = {key: value for key, value in context.invocation_metadata()}
    context.send_initial_metadata((("x-first", got["x-text"]), ("x-first-bin", got["x-some-bin"])))
    context.set_trailing_metadata((("x-last", got["x-text"]), ("x-last-bin", got["x-some-bin"])))
    return b"%d" % len(got.get("x-large", ""))


def status(request, context):
    code, message = request.decode().split("|", 1)
    code = next(known for known in grpc.StatusCode if known.value[0] == int(code))
    context.set_code(code)
    context.set_details(message)
    return b""


def fail_at_once(requests, context):
    """Ends a call whose client still sends."""
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough")


def sleep(request, context):
    wait_for_cancel(context)
    return b""


def counted_sleep(request, context):
    begun.release()
    wait_for_cancel(context)
    cancelled.release()
    return b""


def meet(request, context):
    crowd.wait(20)
    return b"met"


def await_one(counted):
    """Waits until one more is counted."""

    def handler(request, context):
        if not counted.acquire(timeout=10):
            context.abort(grpc.StatusCode.INTERNAL, "none is counted")
        return b""

    return unary(handler)


def collect(requests, context):
    return b"%d" % sum(len(message) for message in requests)


def count(request, context):
    messages, size = (int(word) for word in request.split())
    for number in range(messages):
        yield bytes([number % 256]) * size


def ping_pong(requests, context):
    yield from requests


def late(requests, context):
    """Says nothing before it has everything."""
    for message in list(requests):
        yield message


def one_then_sleep(request, context):
    # Before the answer: who is cancelled while that is on its way is not resumed behind it.
    context.add_callback(cancelled.release)
    yield b"one"
    wait_for_cancel(context)


def sleep_in_a_stream(request, context):
    wait_for_cancel(context)
    yield b""


def check(request, context):
    """`grpc.health.v1`: a message with a string as field 1, answered with an enum as field 1."""
    service = request[2:].decode()
    if service not in health:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return bytes([0x08, health[service]])


def set_health(request, context):
    service, state = request.decode().split()
    health[service] = int(state)
    return b""


handlers = {
    "Echo": unary(echo),
    "Name": unary(lambda request, context: name.encode()),
    "Metadata": unary(metadata),
    "Status": unary(status),
    "Sleep": unary(sleep),
    "Meet": unary(meet),
    "CountedSleep": unary(counted_sleep),
    "OneHasBegun": await_one(begun),
    "OneIsCancelled": await_one(cancelled),
    "SetHealth": unary(set_health),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "FailAtOnce": grpc.stream_unary_rpc_method_handler(fail_at_once),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "SleepInAStream": grpc.unary_stream_rpc_method_handler(sleep_in_a_stream),
    "OneThenSleep": grpc.unary_stream_rpc_method_handler(one_then_sleep),
    "PingPong": grpc.stream_stream_rpc_method_handler(ping_pong),
    "Late": grpc.stream_stream_rpc_method_handler(late),
}

settings = [("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 64 << 10)]
settings += [(word.split("=")[0], int(word.split("=")[1])) for word in options]
server = grpc.server(futures.ThreadPoolExecutor(CROWD + 20), options=settings)
server.add_generic_rpc_handlers(
    (
        grpc.method_handlers_generic_handler("test.Test", handlers),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": unary(check)}),
    )
)
plain = server.add_insecure_port("127.0.0.1:0")
secure = 0
if certificate != "-":
    pair = (open(key, "rb").read(), open(certificate, "rb").read())
    secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
server.start()
print(plain, secure, flush=True)
server.wait_for_termination()

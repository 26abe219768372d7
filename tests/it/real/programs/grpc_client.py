"""Clients of gRPC, by the library that most of them have at heart. Takes what to do, an address, a certificate to trust or
`-` for a connection without TLS, and perhaps more. Ends with 0 when all went as it has to."""

import sys
import threading
import time

import grpc

CROWD = 100
LARGE = 700 * 1024
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n 100%"

what, address, certificate, *more = sys.argv[1:]


def connect(**options):
    # Each channel has a connection of its own.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_metadata_size", 64 << 10), *options.items()]
    if certificate == "-":
        return grpc.insecure_channel(address, options)
    trusted = grpc.ssl_channel_credentials(open(certificate, "rb").read())
    return grpc.secure_channel(address, trusted, options)


class Stub:
    def __init__(self, channel):
        self.channel = channel

    def unary(self, method, service="test.Test"):
        return self.channel.unary_unary(f"/{service}/{method}")

    def __getattr__(self, method):
        return self.unary(method)


def status_of(call, *arguments, **options):
    """The error that a call ends with."""
    try:
        answer = call(*arguments, **options)
        list(answer) if hasattr(answer, "cancel") else None
    except grpc.RpcError as error:
        return error
    raise AssertionError("no error")


def unary(stub):
    assert stub.Echo(b"") == b""
    large = bytes(range(256)) * (LARGE // 256)
    assert stub.Echo(large) == large


def client_streaming(stub):
    collect = stub.channel.stream_unary("/test.Test/Collect")
    sizes = [27182, 8, 1828, 45904]
    assert collect(iter([b"a" * size for size in sizes])) == b"74922"
    assert collect(iter([])) == b"0"
    assert collect(b"a" * 100_000 for _ in range(20)) == b"2000000"


def server_streaming(stub):
    count = stub.channel.unary_stream("/test.Test/Count")
    assert [len(message) for message in count(b"4 31415")] == [31415] * 4
    assert list(count(b"0 1")) == []
    messages = list(count(b"1000 1000"))
    assert messages == [bytes([number % 256]) * 1000 for number in range(1000)]


def both_ways(stub):
    """Each message waits for the answer to the one before it."""
    turn = threading.Semaphore(1)

    def messages():
        for size in [27182, 8, 1828, 45904, 0, 300_000]:
            assert turn.acquire(timeout=10)
            yield b"p" * size

    sizes = []
    for message in stub.channel.stream_stream("/test.Test/PingPong")(messages()):
        sizes.append(len(message))
        turn.release()
    assert sizes == [27182, 8, 1828, 45904, 0, 300_000], sizes
    assert list(stub.channel.stream_stream("/test.Test/PingPong")(iter([]))) == []
    late = stub.channel.stream_stream("/test.Test/Late")(b"%d" % number for number in range(50))
    assert list(late) == [b"%d" % number for number in range(50)]


def cancelled(stub):
    """After it has begun and after its first answer, of which the server hears; and by its deadline."""
    call = stub.CountedSleep.future(b"")
    stub.OneHasBegun(b"")
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    stub.OneIsCancelled(b"")
    stream = stub.channel.unary_stream("/test.Test/OneThenSleep")(b"")
    assert next(stream) == b"one"
    stream.cancel()
    assert status_of(lambda: list(stream)).code() == grpc.StatusCode.CANCELLED
    stub.OneIsCancelled(b"")
    assert status_of(stub.Sleep, b"", timeout=0.1).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    slow = stub.channel.unary_stream("/test.Test/SleepInAStream")
    assert status_of(slow, b"", timeout=0.2).code() == grpc.StatusCode.DEADLINE_EXCEEDED


def metadata(stub):
    text, binary = "some text, with a comma", bytes(range(256))
    for large in ["", "v" * 10_000]:
        sent = [("x-text", text), ("x-some-bin", binary)]
        sent += [("x-large", large)] if large else []
        answer, call = stub.Metadata.with_call(b"", metadata=sent)
        assert answer == b"%d" % len(large)
        first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
        assert (first["x-first"], first["x-first-bin"]) == (text, binary), first
        assert (last["x-last"], last["x-last-bin"]) == (text, binary), last


def statuses(stub):
    for code in range(1, 17):
        error = status_of(stub.Status, b"%d|why" % code)
        assert (error.code().value[0], error.details()) == (code, "why"), error
    assert status_of(stub.Status, b"2|" + SPECIAL.encode()).details() == SPECIAL
    assert status_of(stub.Status, b"2|failed: ").details().rstrip() == "failed:"
    assert status_of(stub.Nothing, b"").code() == grpc.StatusCode.UNIMPLEMENTED
    other = stub.unary("Echo", "test.Other")
    assert status_of(other, b"").code() == grpc.StatusCode.UNIMPLEMENTED
    fail = stub.channel.stream_unary("/test.Test/FailAtOnce")
    error = status_of(fail, (b"a" * 10_000 for _ in range(100)))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "enough"), error


def a_crowd(stub):
    """All of them have to be at the server at once."""
    calls = [stub.Meet.future(b"", timeout=20) for _ in range(CROWD)]
    assert [call.result() for call in calls] == [b"met"] * CROWD


CASES = [unary, client_streaming, server_streaming, both_ways, cancelled, metadata, statuses, a_crowd]


def all_cases():
    with connect() as channel:
        for case in CASES:
            try:
                case(Stub(channel))
            except BaseException:
                print("failed:", case.__name__, file=sys.stderr)
                raise


def names():
    """Who answers so many calls of one connection, one name a line."""
    with connect() as channel:
        for _ in range(int(more[0])):
            print(Stub(channel).Name(b"").decode())


def names_while_asked():
    """The same for as long as a line comes in: each asks for so many calls."""
    with connect() as channel:
        for line in sys.stdin:
            print(*(Stub(channel).Name(b"").decode() for _ in range(int(line))), flush=True)


def ages():
    """Calls beside a stream that stays open, while the server tells its connections to go."""
    with connect() as channel:
        stub, turn, over = Stub(channel), threading.Semaphore(1), threading.Event()

        def messages():
            while turn.acquire() and not over.is_set():
                yield b"ping"

        stream = stub.channel.stream_stream("/test.Test/PingPong")(messages())
        end = time.monotonic() + float(more[0])
        while time.monotonic() < end:
            assert next(stream) == b"ping"
            stub.Echo(b"a")
            turn.release()
        next(stream)
        over.set()
        turn.release()
        assert list(stream) == []


def fails():
    """The code and the message of one call."""
    with connect() as channel:
        error = status_of(Stub(channel).Echo, b"")
        print(error.code().name, error.details())


def set_health():
    with connect() as channel:
        Stub(channel).SetHealth(more[0].encode())


{
    "all": all_cases,
    "names": names,
    "names-while-asked": names_while_asked,
    "ages": ages,
    "fails": fails,
    "set-health": set_health,
}[what]()

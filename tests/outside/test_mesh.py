"""Behind a real Envoy: what one of its clients does fails no call of another, although they share its connections to the gateway."""

import contextlib
import threading

import grpc
import pytest
from http2 import Connection, message
from mesh import MeshProcess
from people import onboarding
from reflected import ReflectedClient

CREATE = "/faceid.v1.VerificationService/CreateVerification"
GET = "/faceid.v1.VerificationService/GetResult"
WATCH = "/faceid.v1.VerificationService/WatchVerifications"
MIB = 1024 * 1024


@pytest.fixture
def mesh(run, tmp_path, serve):
    with run(MeshProcess, tmp_path, [serve.grpc_address]) as mesh:
        yield mesh


class OtherCaller:
    """Creates and reads through Envoy, over a channel of its own that tries nothing twice, until it is told to end."""

    def __init__(self, address):
        options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._client = ReflectedClient(self._channel)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self.served, self.failures = 0, []

    def _call(self):
        while not self._is_over.is_set():
            try:
                created = self._client.create(**onboarding())
                assert self._client.result(created).verification.verification_id
                self.served += 2
            except grpc.RpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()
        self._channel.close()


def faults_as_large_as_they_get(address, _):
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        client = ReflectedClient(channel)
        for _ in range(100):
            refused = client.refusal("CreateVerification", onboarding(labels={f"Bad {i}": "错" * 300 for i in range(16)}))
            assert refused.code == grpc.StatusCode.INVALID_ARGUMENT


def streams_that_are_reset_as_soon_as_they_are_open(address, _):
    # In all fewer than the gateway lets a connection have, should it look at none of them meanwhile.
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(Connection(address)) for _ in range(4)]
            for connection in connections:
                connection.pump(0.01)
                for _ in range(100):
                    connection.reset(connection.open(GET))
            for connection in connections:
                connection.pump()
            for connection in connections:
                connection.pump(0.05)


def messages_that_are_left_unfinished(address, _):
    for _ in range(5):
        with contextlib.suppress(OSError), Connection(address) as connection:
            for _ in range(100):
                connection.send(connection.open(CREATE), message(b"\0" * 60_000)[:-1])
            connection.pump(0.3)


def messages_that_are_none(address, _):
    bodies = [
        b"\0\xff\xff\xff\xff" + b"x" * 100,  # promises 4 GiB
        message(b"x" * 100, compressed=True),  # no encoding was named
        message(b"\xff" * 100),  # no protobuf
        b"\x07\0\0\0\x01x",  # no flag of gRPC
        b"\0\0",  # ends in the middle of its prefix
        message(b"") * 50,  # fifty messages in a unary call
    ]
    with contextlib.suppress(OSError), Connection(address) as connection:
        for path in (CREATE, GET, WATCH, "/faceid.v1.VerificationService/Nothing", "/"):
            for body in bodies:
                for content_type in ("application/grpc", "application/json", ""):
                    connection.send(connection.open(path, content_type=content_type), body, end=True)
                    connection.pump(0.01)
        connection.pump(0.5)
        assert connection.ended, "nothing of it was answered"


def answers_that_are_never_read(address, ids):
    with contextlib.suppress(OSError), Connection(address, initial_window_size=0) as connection:
        for _ in range(100):
            connection.send(connection.open(GET), message(b"\x0a" + bytes([len(ids)]) + ids), end=True)
        connection.pump(2)


def metadata_as_large_as_envoy_passes(address, _):
    # A connection that ends takes its calls back, and Envoy puts all on one. In all they are fewer than
    # the gateway lets a connection take back unseen: with more, on a busy machine, it closes that one.
    for size in (8_000, 15_000, 20_000, 55_000):
        for _ in range(3):
            with contextlib.suppress(OSError), Connection(address) as connection:
                for _ in range(80):
                    stream = connection.open(GET, headers=[("x-padding", "x" * size)])
                    connection.send(stream, message(b""), end=True)
                connection.pump(0.1)


def watches_without_end(address, _):
    with contextlib.suppress(OSError), Connection(address) as connection:
        for _ in range(300):
            connection.send(connection.open(WATCH), message(b""), end=True)
        connection.pump(2)


@pytest.mark.parametrize(
    "attack",
    [
        faults_as_large_as_they_get,
        streams_that_are_reset_as_soon_as_they_are_open,
        messages_that_are_left_unfinished,
        messages_that_are_none,
        answers_that_are_never_read,
        metadata_as_large_as_envoy_passes,
        watches_without_end,
    ],
)
def test_what_one_client_does_fails_no_other(mesh, serve, attack):
    with serve.channel() as channel:
        some_id = ReflectedClient(channel).create(**onboarding()).verification.verification_id.encode()
    with OtherCaller(mesh.grpc_address) as other:
        attack(mesh.grpc_address, some_id)
    assert other.served > 0
    assert other.failures == []
    assert mesh.counter("cluster.gateway.upstream_cx_destroy_with_active_rq") == 0, "a shared connection was cut"


def test_metadata_that_a_mesh_adds_passes(mesh, serve):
    padding = "x" * 20_000
    for address in (serve.grpc_address, mesh.grpc_address):
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            assert ReflectedClient(channel).call("CreateVerification", onboarding(), metadata=[("x-padding", padding)]).url
    page = serve.http.get(f"{serve.http_url}/callback", headers={"x-padding": padding}, timeout=5)
    assert page.status_code == 400, "the page that says that the link is bad"

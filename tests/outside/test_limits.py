"""What one client, caller or peer can take from the others: nothing. Each test is an attack that was seen to work.

Memory is what the kernel says of the process; who is served meanwhile is another client of the real binary.
"""

import base64
import concurrent.futures
import contextlib
import datetime
import gzip
import hashlib
import http.server
import pathlib
import re
import resource
import signal
import socket
import threading
import time

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from http2 import Connection, message
from people import FAILURE_URL, SUCCESS_URL, jpeg, onboarding
from processes import ServeConfig, ServeProcess, SimulateProcess, wait_for
from reflected import ReflectedClient, Refusal, state_of

MIB = 1024 * 1024
# How much an attack may add to the memory of a gateway at rest.
GROWTH_MIB = 64
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


def memory_mib(process):
    status = pathlib.Path(f"/proc/{process.popen.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024


def metric(process, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in process.metrics().splitlines() if re.match(rf"{name}[ {{]", line))


@contextlib.contextmanager
def bounded(process, growth_mib=GROWTH_MIB):
    """The memory does not grow by more, while the block goes on and after it."""
    before = memory_mib(process)
    yield
    grown = memory_mib(process) - before
    assert grown < growth_mib, f"{grown:.0f} MiB more than {before:.0f}"


def is_served(process):
    """Another client, on a connection of its own."""
    return process.health() == "SERVING"


@pytest.fixture
def few_files(binary, run, tmp_path):
    """`serve` where the system allows 1,024 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            with run(FewFiles, binary, tmp_path, config) as serve:
                yield serve
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class FewFiles(ServeProcess):
    def __init__(self, binary, folder, config, env=None):
        self.limited = folder / "limited"
        self.limited.write_text(f'#!/bin/sh\nulimit -n 1024\nexec "{binary}" "$@"\n')
        self.limited.chmod(0o700)
        super().__init__(self.limited, folder, config, env)


# --- Before anybody is known -------------------------------------------------------------------------------------------


def test_unfinished_messages_of_strangers_take_no_memory(serve):
    unfinished = message(b"\0" * (4 * MIB - 6))[:-1]
    with bounded(serve), Connection(serve.grpc_address) as connection:
        sent = {connection.open(CHECK): 0 for _ in range(140)}
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and connection.is_open:
            connection.pump(0.05)
            for stream in sent.keys() - connection.ended.keys():
                sent[stream] += connection.send(stream, unfinished[sent[stream] : sent[stream] + 64 * 1024])
        assert is_served(serve)


def test_calls_that_are_taken_back_at_once_take_no_memory(serve):
    with bounded(serve):
        for _ in range(20):
            with Connection(serve.grpc_address) as connection:
                for _ in range(900):
                    connection.reset(connection.open(CHECK, headers=[("x-padding", "x" * 2_000)]))
                connection.pump(0.05)
        assert is_served(serve)


def test_watches_of_strangers_are_few(serve):
    with bounded(serve), Connection(serve.grpc_address) as connection:
        for _ in range(20):
            for _ in range(250):
                connection.send(connection.open(WATCH), message(b""), end=True)
            connection.pump(0.2)
        assert connection.max_streams is not None and connection.max_streams <= 250
        assert len(connection.stream_windows) - len(connection.ended) < 250 or connection.is_open
        assert is_served(serve)
        with serve.channel() as channel:
            watches = [health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(50)]
            with pytest.raises(grpc.RpcError) as refused:
                for watch in watches:
                    next(watch)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "calls without a caller" in refused.value.details()


@pytest.mark.parametrize("begin", [b"", b"PRI * HTTP/2.0\r\n"], ids=["silent", "half a preface"])
def test_connections_that_say_nothing_make_room(few_files, begin):
    address = few_files.grpc_address.split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(1_100):
            opened = stack.enter_context(socket.create_connection(address, timeout=5))
            with contextlib.suppress(OSError):
                opened.sendall(begin)
        assert is_served(few_files)
        assert few_files.http.get(f"{few_files.http_url}/callback", timeout=5).status_code == 400
        assert few_files.metrics()
        assert metric(few_files, "faceid_connections_cut_total") > 0
        with few_files.channel() as channel:
            assert ReflectedClient(channel).create(**onboarding()).biz_token


def test_a_connection_without_a_preface_is_closed(serve):
    with socket.create_connection(serve.grpc_address.split(":"), timeout=15) as silent:
        assert silent.recv(1) == b""


def test_another_protocol_is_closed_at_once(serve):
    with socket.create_connection(serve.grpc_address.split(":"), timeout=5) as other:
        other.sendall(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert other.recv(1) == b""


@pytest.fixture
def make_certificate(tmp_path):
    """A certificate for localhost, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    key_file.chmod(0o600)
    return certificate_file, key_file


@pytest.fixture
def encrypted(binary, run, tmp_path, make_certificate):
    certificate, key = make_certificate
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        config.file.write_text(
            config.file.read_text().replace(
                "[http]\n", f'[grpc.tls]\ncert_file = "{certificate}"\nkey_file = "{key}"\n\n[http]\n', 1
            )
        )
        with run(Encrypted, binary, tmp_path, config) as serve:
            serve.root = certificate.read_bytes()
            yield serve


class Encrypted(ServeProcess):
    def is_ready(self):
        return self.http.get(f"{self.admin_url}/readyz", timeout=2).status_code == 200 if self.is_up() else False

    def is_up(self):
        try:
            return bool(self.metrics())
        except OSError:
            return False


def test_silent_tls_connections_hold_up_no_handshake(encrypted):
    address = encrypted.grpc_address.split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(socket.create_connection(address, timeout=5))
        for _ in range(5):
            credentials = grpc.ssl_channel_credentials(encrypted.root)
            options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
            with grpc.secure_channel(encrypted.grpc_address, credentials, options) as channel:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_scraper_that_reads_nothing_takes_nothing(few_files):
    address = few_files.admin_url.removeprefix("http://").split(":")
    request = b"GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with contextlib.ExitStack() as stack:
        with bounded(few_files):
            for _ in range(200):
                greedy = stack.enter_context(socket.create_connection(address, timeout=5))
                greedy.setblocking(False)
                with contextlib.suppress(OSError):
                    greedy.send(request * 2_000)
            assert few_files.metrics()
            assert is_served(few_files)
        few_files.terminate()
        started = time.monotonic()
        assert few_files.exit_code() == 0
        assert time.monotonic() - started < 25


def test_the_public_port_has_the_callback_alone(serve):
    for path in ("/metrics", "/livez", "/readyz"):
        assert serve.http.get(serve.http_url + path, timeout=5).status_code == 404
        assert serve.http.get(serve.admin_url + path, timeout=5).status_code == 200
    page = serve.http.get(f"{serve.http_url}/callback", timeout=5)
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


# --- Of a caller that is known -----------------------------------------------------------------------------------------


def test_a_small_message_that_grows_is_refused_small(serve):
    """`states: [77]` four million times, in 4 KB."""
    packed = b"\x0a\x80\x89\x7a" + b"\x4d" * 2_000_000
    bomb = message(gzip.compress(packed, 9), compressed=True)
    assert len(bomb) < 4_096
    with bounded(serve, 32):
        for _ in range(20):
            with serve.channel() as channel:
                call = channel.unary_unary("/faceid.v1.VerificationService/ListVerifications")
                with pytest.raises(grpc.RpcError) as refused:
                    call(b"\x0a" + _varint(500_000) + b"\x4d" * 500_000, timeout=5, compression=grpc.Compression.Gzip)
                assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
                assert metadata_bytes(refused.value) < 6 * 1024
        with Connection(serve.grpc_address) as connection:
            streams = []
            for _ in range(100):
                stream = connection.open(
                    "/faceid.v1.VerificationService/ListVerifications", [("grpc-encoding", "gzip")]
                )
                assert connection.send(stream, bomb, end=True) == len(bomb)
                connection.pump(0.02)
                streams.append(stream)
            connection.pump(1)
            assert len(connection.ended) == len(streams)


def _varint(number):
    out = b""
    while number >= 128:
        out += bytes([number % 128 + 128])
        number //= 128
    return out + bytes([number])


def metadata_bytes(error):
    return sum(len(key) + len(value) * (4 / 3 if key.endswith("-bin") else 1) for key, value in error.trailing_metadata())


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("CreateVerification", lambda: onboarding(labels={f"Bad {i}": "x" * 300 for i in range(16)})),
        ("CreateVerification", lambda: onboarding(labels={"x" * 2_000 + str(i): "" for i in range(16)})),
        (
            "CreateVerification",
            lambda: onboarding(
                intention={
                    "questions": {"questions": [{"question": "", "answers": ["太长了的答案" * 5] * 50} for _ in range(10)]}
                }
            ),
        ),
        ("ListVerifications", lambda: {"states": [77] * 16, "page_token": "x", "page_size": -1}),
        ("ListVerifications", lambda: {"states": [77] * 100}),
    ],
    ids=["labels", "long labels", "answers", "states", "many states"],
)
def test_many_honest_faults_reach_every_client(serve, method, request_of):
    """A client takes 8 KiB of metadata; over that it sees RESOURCE_EXHAUSTED, or loses its connection."""
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        descriptor = client.descriptor.methods_by_name[method]
        request = request_of()
        states = request.pop("states", [])
        with pytest.raises(grpc.RpcError) as caught:
            stub = channel.unary_unary(
                f"/{client.descriptor.full_name}/{method}",
                request_serializer=lambda made: made.SerializeToString(),
                response_deserializer=message_factory.GetMessageClass(descriptor.output_type).FromString,
            )
            made = client._message(method, request)
            if states:
                made.states.extend(states)
            stub(made, timeout=10)
        assert metadata_bytes(caught.value) < 6.5 * 1024
        refused = Refusal(caught.value)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.bad_fields


def test_states_that_repeat_are_refused_by_their_number(serve):
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        made = client._message("ListVerifications", {})
        made.states.extend([1, 2, 1, 2])
        assert not client._stub("ListVerifications")(made, timeout=5).verifications
        made.states.extend([1] * 40_000)
        with pytest.raises(grpc.RpcError) as refused:
            client._stub("ListVerifications")(made, timeout=5)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_deadline_that_is_over_is_no_alarm(serve):
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        for timeout in (0.0, 0.000_001, 0.001, 0.003, 0.005, 0.006, 0.008):
            try:
                client.call("CreateVerification", onboarding(), timeout=timeout)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, timeout
            else:
                assert timeout >= 0.003, "no machine is so fast"
    assert metric(serve, "faceid_vendor_quota_exhausted_total") == 0


def test_pages_stay_below_what_clients_take(serve):
    labels = {f"label{i:02}": "界" * 256 for i in range(16)}
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        calls = [client.start("CreateVerification", onboarding(labels=labels), timeout=60) for _ in range(200)]
        ids = {call.result().verification.verification_id for call in calls}
        listed, token, largest, pages = [], "", 0, 0
        while True:
            page = client.call("ListVerifications", {"page_size": 500, "page_token": token})
            largest, pages = max(largest, page.ByteSize()), pages + 1
            listed += [verification.verification_id for verification in page.verifications]
            token = page.next_page_token
            if not token:
                break
        assert len(listed) == len(ids) and set(listed) == ids
        assert pages > 1 and largest < 2 * MIB


def test_a_thousand_waits_are_woken_by_their_verification_alone(serve):
    with serve.channel() as channel:
        client = ReflectedClient(channel)
        waited_for = client.create(**onboarding())
        asked = lambda: metric(serve, 'faceid_vendor_calls_total{action="GetDetectInfoEnhanced"')  # noqa: E731
        with contextlib.ExitStack() as stack:
            # A connection has 250 calls at most, and channels share one unless they are told not to.
            options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
            waits = []
            request = {"verification_id": waited_for.verification.verification_id, "wait": "50s"}
            for _ in range(5):
                own = grpc.insecure_channel(serve.grpc_address, options=options)
                other = ReflectedClient(stack.enter_context(own))
                waits += [other.start("GetResult", request, timeout=60) for _ in range(200)]
            wait_for("all waits", lambda: metric(serve, "faceid_waits_open") == len(waits))
            for _ in range(50):
                assert client.create(**onboarding()).biz_token
            assert not any(wait.done() for wait in waits), "of the others' events"
            assert asked() < 20, "one question for all that wait"
            serve.simulator.attempt(waited_for.biz_token, 0)
            assert {state_of(wait.result(timeout=60).verification) for wait in waits} == {"PASSED"}


def test_a_callback_that_is_repeated_asks_the_vendor_seldom(serve):
    with serve.channel() as channel:
        created = ReflectedClient(channel).create(**onboarding(success_url=SUCCESS_URL, failure_url=FAILURE_URL))
    callback = serve.simulator.attempt(created.biz_token, 2016)["redirect_url"]
    asked_before, started = vendor_asked(serve), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(50) as browsers:
        answers = list(browsers.map(lambda _: serve.follow(callback), range(200)))
    assert {answer.status_code for answer in answers} == {303}
    # Once in 2 s, and once more for each that came while the vendor was being asked.
    assert vendor_asked(serve) - asked_before <= 2 * (1 + (time.monotonic() - started) / 2)


def vendor_asked(process):
    return sum(process.simulator.control("GET", "/calls").get("GetDetectInfoEnhanced", {}).values())


@contextlib.contextmanager
def receiver():
    """A caller's server that takes every event; when each came."""
    came = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            came.append(time.monotonic())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], came
        server.shutdown()


def caller(name, webhook_port=None):
    digest = hashlib.sha256(f"{name}-token".encode()).hexdigest()
    lines = f'\n[[callers]]\nname = "{name}"\ntoken_sha256 = ["{digest}"]\nflows = ["photo"]\n'
    if webhook_port:
        lines += f'webhook_url = "http://127.0.0.1:{webhook_port}/"\nwebhook_allow_private = true\n'
        lines += 'webhook_secrets = "whsec_aW52ZW50ZWQtd2ViaG9vay1zZWNyZXQtb2Ytbm9ib2R5"\n'
    return lines


def bearing(name):
    return [("authorization", f"Bearer {name}-token")]


@pytest.fixture
def serve_callers(binary, run, tmp_path):
    """`serve` for callers that are given as TOML."""

    @contextlib.contextmanager
    def serve_callers(*callers):
        with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
            config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
            text = config.file.read_text().replace('mode = "none"', 'mode = "tokens"')
            config.file.write_text(text + "".join(callers))
            with run(ServeProcess, binary, tmp_path, config) as serve:
                serve.config = config
                yield serve

    return serve_callers


def test_a_dead_receiver_delays_nobody_elses_events(serve_callers):
    photo = {"flow": "photo", "reference_photo": base64.b64encode(jpeg(b"x")).decode()}
    # Takes connections into its backlog, and answers none.
    with socket.create_server(("127.0.0.1", 0), backlog=512) as dead, receiver() as (port, came):
        with serve_callers(caller("dead", dead.getsockname()[1]), caller("alive", port)) as serve, serve.channel() as channel:
            client = ReflectedClient(channel)
            for _ in range(100):
                client.call("CreateVerification", photo, metadata=bearing("dead"))
            time.sleep(2)
            started = time.monotonic()
            for _ in range(5):
                client.call("CreateVerification", photo, metadata=bearing("alive"))
            serve.wait_until("the events of the other", lambda: len(came) >= 5)
            assert came[-1] - started < 5


def test_a_revoked_token_ends_its_streams(serve_callers):
    with serve_callers(caller("leaver"), caller("stayer")) as serve, serve.channel() as channel:
        client = ReflectedClient(channel)
        output = message_factory.GetMessageClass(client.descriptor.methods_by_name["WatchVerifications"].output_type)
        watch = channel.unary_stream("/faceid.v1.VerificationService/WatchVerifications", response_deserializer=output.FromString)
        watches = {name: watch(b"", metadata=bearing(name), timeout=30) for name in ("leaver", "stayer")}
        for watched in watches.values():
            next(watched)
        serve.config.file.write_text(serve.config.file.read_text().replace(caller("leaver"), ""))
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as ended:
            next(watches["leaver"])
        assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert time.monotonic() - started < 10
        assert next(watches["stayer"]).resume_token


# --- A stop -----------------------------------------------------------------------------------------------------------


def test_a_client_that_never_ends_does_not_fail_a_stop(serve):
    with Connection(serve.grpc_address) as connection:
        connection.open("/faceid.v1.VerificationService/ListVerifications")
        connection.open("/faceid.v1.VerificationService/CreateVerification")
        connection.send(connection.open(WATCH), message(b""), end=True)
        connection.pump(0.5)
        started = time.monotonic()
        serve.terminate()
        assert serve.exit_code() == 0
        assert time.monotonic() - started < 20


def test_a_client_that_reads_nothing_does_not_fail_a_stop(serve):
    with Connection(serve.grpc_address, initial_window_size=0) as connection:
        for _ in range(20):
            connection.send(connection.open("/faceid.v1.VerificationService/ListVerifications"), message(b""), end=True)
            connection.send(connection.open("/faceid.v1.VerificationService/WatchVerifications"), message(b""), end=True)
        connection.pump(0.5)
        started = time.monotonic()
        serve.terminate()
        assert serve.exit_code() == 0
        assert time.monotonic() - started < 25


def test_a_second_signal_quickens_the_stop(serve):
    with Connection(serve.grpc_address) as connection:
        connection.open("/faceid.v1.VerificationService/CreateVerification")
        connection.pump(0.5)
        serve.terminate()
        serve.wait_until("the stop", lambda: "finishing those in flight" in serve.log_text())
        started = time.monotonic()
        serve.terminate()
        assert serve.exit_code() == 0
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("signal_name", ["SIGUSR1", "SIGUSR2"])
def test_signals_that_are_no_stop_change_nothing(serve, signal_name):
    serve.popen.send_signal(getattr(signal, signal_name))
    serve.wait_until("the signal to be noticed", lambda: "signal ignored" in serve.log_text())
    assert is_served(serve)


# --- Small doors ------------------------------------------------------------------------------------------------------


def test_other_content_types_are_refused(serve):
    for content_type in ("application/json", "application/grpc-web", ""):
        with Connection(serve.grpc_address) as connection:
            stream = connection.open(CHECK, end=True, content_type=content_type)
            connection.pump(0.5)
            assert connection.ended[stream] in ("answered", "reset")
    assert is_served(serve)


def test_a_watch_of_an_unknown_service_stays(serve):
    with serve.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="no.such"), timeout=2)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        with pytest.raises(grpc.RpcError) as ended:
            next(watch)
        assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_unknown_symbol_is_an_answer_and_the_stream_goes_on(serve):
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="no/such/file.proto"),
        reflection_pb2.ServerReflectionRequest(list_services=""),
    ]
    with serve.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        unknown, missing, services = stub.ServerReflectionInfo(iter(asked), timeout=5)
    assert (unknown.error_response.error_code, missing.error_response.error_code) == (5, 5)
    assert "faceid.v1.VerificationService" in [service.name for service in services.list_services_response.service]


def test_a_core_dump_would_be_empty(serve):
    limits = pathlib.Path(f"/proc/{serve.popen.pid}/limits").read_text()
    assert re.search(r"^Max core file size\s+0\s", limits, re.MULTILINE), limits

"""What must never leave the gateway in the clear: looked for, byte by byte, in everything that it writes.

One run at trace level takes sentinels through every call, through refusals and through the vendor's faults. Then its logs, metrics,
exported spans, errors, webhooks, database and evidence are searched, as `strings` would, for each sentinel in every form in
which it could hide. And its memory is searched for the SecretKey, as a core dump would show it.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse

import grpc
import pytest
from collector import running_collector
from google.protobuf import json_format
from memory import memory_of
from people import FAILURE_URL, SUCCESS_URL, jpeg
from processes import VAULT_KEYS, ServeConfig, ServeProcess, SimulateProcess, wait_for
from reflected import Refusal, ReflectedClient, state_of

TRACE = {"RUST_LOG": "trace"}

SECRET_ID = "sentinel-secret-id-6b1f0c"
SECRET_KEY = "sentinel-secret-key-d84e27"
NAME = "哨兵赵𠮷"
ID_NUMBER = "65312419770707919X"
EXTRA = "sentinel-extra-95ac31"
SPOKEN = "sentinel-spoken-77d2f0"
LABEL = "sentinel-label-18c2aa"
TARGET = "sentinel-target-e0417b"
PHOTO_CONTENT = b"sentinel-photo-0123456789-0123456789"
# Brought by CredentialService; a JWT that nobody signed.
API_SECRET_ID = "AKIDsentinel00000000000f4c1"
API_SECRET_KEY = "sentinel-api-secret-key-91be03"
BAD_JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzZW50aW5lbCJ9.sentinel-jwt-77c0d2"
CALLER_TOKEN = "sentinel-caller-token-3c1d8e"
WEBHOOK_KEY = b"sentinel-webhook-secret-52af"
# In requests that are refused.
BAD_ID_NUMBER = "330102199602294040"
BAD_TOKEN = "sentinel-token-40aa9e"
BAD_MAC = "c2VudGluZWwtbWFjLTJi"

# Ids, codes and times of a result.
NOT_PERSONAL = "(?i)time|request_?id|sequence|vendor_?raw|code|message|flow"

FAULTS = [
    ("error_code", {"code": "InternalError"}),
    ("error_code", {"code": "AuthFailure.SignatureFailure"}),
    ("http_status", {"status": 502}),
    ("html_200", {}),
    ("not_json", {}),
    ("cut_json", {}),
    ("nulls", {}),
    ("unknown_fields", {}),
    ("wrong_types", {}),
    ("reset", {}),
]


class Traces:
    """All that the run has left behind, and the sentinels that went through it."""

    def __init__(self):
        self.places = {}
        self.sentinels = {}

    def add_place(self, name, content):
        self.places[name] = self.places.get(name, b"") + content

    def add_database(self, folder, when):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.add_place(f"{path.name} {when}", path.read_bytes())

    def where(self, sentinel):
        """Where a sentinel was found, and in which form."""
        return [
            f"{place}: {form}"
            for form, needle in forms(sentinel).items()
            for place, content in self.places.items()
            if needle in content.lower()
        ]


def forms(sentinel):
    """The forms in which a text or bytes could be written down, in lower case."""
    raw = sentinel if isinstance(sentinel, bytes) else sentinel.encode()
    found = {"as it is": raw, "in hex": raw.hex().encode(), "as a list of numbers": ", ".join(map(str, raw)).encode()}
    for skip in range(3):  # base64 of it at each of the three offsets that it can have in a longer text
        encoded = base64.b64encode(bytes(skip) + raw)
        inner = encoded[4 if skip else 0 : len(encoded) - 4]
        if len(inner) >= 8:
            found[f"in base64 at offset {skip}"] = inner
    if isinstance(sentinel, str):
        found["in JSON"] = json.dumps(sentinel)[1:-1].encode()
        found["percent-encoded"] = urllib.parse.quote(sentinel, safe="").encode()
        found["in UTF-16"] = sentinel.encode("utf-16-le")
        found["escaped as Rust does"] = "".join(c if c.isascii() else f"\\u{{{ord(c):x}}}" for c in sentinel).encode()
    return {form: needle.lower() for form, needle in found.items()}


SIGNING = """
[[flows]]
name = "signing"
rule_id = "3"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = ["name", "id_number"]
intention = "read_aloud"
evidence = ["intention"]
redirect_allow = ["https://shop.example.com/"]
"""


class Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Shows the caller's token with every call."""

    def intercept_unary_unary(self, continuation, details, request):
        metadata = [*(details.metadata or []), ("authorization", f"Bearer {CALLER_TOKEN}")]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_stream = intercept_unary_unary


class WebhookReceiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent, with the headers."""

    received = b""

    def do_POST(self):  # noqa: N802, the name is http.server's
        body = self.rfile.read(int(self.headers["content-length"]))
        WebhookReceiver.received += str(self.headers).encode() + body
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def webhook_url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebhookReceiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/events"
    server.shutdown()


def caller(webhook_url):
    return f"""
[[callers]]
name = "privacy"
token_sha256 = ["{hashlib.sha256(CALLER_TOKEN.encode()).hexdigest()}"]
flows = ["onboarding", "photo", "signing"]
rights = ["full_view", "evidence", "admin", "audit"]
webhook_url = "{webhook_url}"
webhook_secrets = "whsec_{base64.b64encode(WEBHOOK_KEY).decode()}"
webhook_allow_private = true
"""


@pytest.fixture(scope="module")
def traces(binary, run, module_folder, webhook_url):
    traces = Traces()
    traces.sentinels |= {
        "secret id": SECRET_ID,
        "secret key": SECRET_KEY,
        "key of the vault": base64.b64decode(VAULT_KEYS.partition(":")[2]),
        "token of the caller": CALLER_TOKEN,
        "secret id by the API": API_SECRET_ID,
        "secret key by the API": API_SECRET_KEY,
        "refused JWT": BAD_JWT,
        "secret of the webhook": WEBHOOK_KEY,
        "name": NAME,
        "ID number": ID_NUMBER,
        "extra": EXTRA,
        "text read aloud": SPOKEN,
        "label": LABEL,
        "page to come back to": TARGET,
        "photo": PHOTO_CONTENT,
        "refused ID number": BAD_ID_NUMBER,
        "refused token": BAD_TOKEN,
        "refused MAC": BAD_MAC,
    }
    with (
        running_collector() as collector,
        run(SimulateProcess, binary, module_folder, SECRET_ID, SECRET_KEY, env=TRACE) as simulate,
    ):
        config = ServeConfig(module_folder, simulate.simulator, SECRET_ID, SECRET_KEY, log_level="trace")
        text = config.file.read_text().replace('mode = "none"', 'mode = "tokens"')
        config.file.write_text(text + SIGNING + caller(webhook_url))
        with run(ServeProcess, binary, module_folder, config, env=TRACE | collector.environment) as serve:
            with serve.channel() as channel:
                client = ReflectedClient(grpc.intercept_channel(channel, Bearer()))
                go_the_whole_way(serve, simulate.simulator, client, traces)
                rotate_the_key_pair(channel, simulate.simulator, traces)
                be_refused(serve, client, traces)
                meet_faults(simulate.simulator, client, traces)
                rest(simulate.simulator, client)
                traces.memory_at_rest = memory_of(serve.popen.pid)
                traces.memory_during_a_call = memory_during_a_call(serve, simulate.simulator, client)
            traces.add_place("/metrics", serve.metrics().encode())
            traces.add_database(config.data, "while it runs")
            assert any("-wal" in place for place in traces.places), "the write-ahead log was searched too"
            serve.wait_until("webhooks", lambda: b"verification.settled" in WebhookReceiver.received)
            serve.terminate()
            assert serve.exit_code() == 0
        traces.add_database(config.data, "when it has ended")
        traces.add_place("the gateway's log", serve.log.read_bytes())
    traces.add_place("the simulator's log", simulate.log.read_bytes())
    traces.add_place("the webhooks", WebhookReceiver.received)
    # As they are sent, and as text: names and numbers of a span could stand in either.
    for request in collector.exports():
        traces.add_place("the exported spans", request.SerializeToString() + str(request).encode())
    return traces


def subject():
    return {"name": NAME, "id_number": ID_NUMBER}


def remember(traces, which, created):
    traces.sentinels[f"token of {which}"] = created.biz_token
    traces.sentinels[f"url of {which}"] = created.url


def go_the_whole_way(serve, simulator, client, traces):
    created = client.create(
        flow="onboarding", subject=subject(), extra=EXTRA, success_url=SUCCESS_URL, failure_url=FAILURE_URL,
        request_id="sentinel-run", reference="sentinel-run",
    )  # fmt: skip
    remember(traces, "the whole way", created)
    redirect = simulator.attempt(created.biz_token, 2016)["redirect_url"]
    traces.sentinels["MAC"] = re.search("faceid_mac=([^&]+)", redirect)[1]
    assert serve.follow(redirect).status_code == 303
    redirect = simulator.attempt(created.biz_token, 0)["redirect_url"]
    assert state_of(client.call("HandleCallback", {"callback_url": redirect}).verification) == "PASSED"
    full = client.result(created, view="RESULT_VIEW_FULL").result
    assert (full.identity.name, full.identity.id_number) == (NAME, ID_NUMBER), "the sentinels did go through"
    for place, text in personal_texts(json_format.MessageToDict(full)):
        traces.sentinels.setdefault(f"{place} of the result", text)

    told = wait_for("evidence", lambda: (told := client.result(created)) and not told.evidence_pending and told)
    request = {"verification_id": created.verification.verification_id, "evidence_id": told.evidence[0].evidence_id}
    _, *chunks = client.stream("DownloadEvidence", request)
    content = b"".join(part.chunk for part in chunks)
    assert len(content) > 1000
    traces.sentinels["evidence"] = content[len(content) // 2 :][:32]

    spoken = client.create(
        flow="signing", subject=subject(), intention={"read_aloud": {"text": SPOKEN}}, labels={"seat": LABEL},
        success_url=f"{SUCCESS_URL}/{TARGET}", failure_url=f"{FAILURE_URL}/{TARGET}",
    )  # fmt: skip
    remember(traces, "the intention", spoken)
    simulator.attempt(spoken.biz_token, 0)
    full = client.result(spoken, fresh=True, view="RESULT_VIEW_FULL")
    assert state_of(full.verification) == "PASSED"
    assert SPOKEN in str(json_format.MessageToDict(full.result)), "the sentinel did go through"

    photo = base64.b64encode(jpeg(PHOTO_CONTENT)).decode()
    with_photo = client.create(flow="photo", reference_photo=photo)
    remember(traces, "the photo flow", with_photo)
    simulator.attempt(with_photo.biz_token, 0)
    assert state_of(client.result(with_photo, fresh=True).verification) == "PASSED"


def rotate_the_key_pair(channel, simulator, traces):
    """A pair that the vendor does not know, then the same when it does: first of the credential from then on."""
    service = "faceid.v1.CredentialService"
    client = ReflectedClient(grpc.intercept_channel(channel, Bearer()), service)
    pair = {"secret_id": API_SECRET_ID, "secret_key": API_SECRET_KEY}
    add_refusal(traces, client.refusal("RotateCredential", {"name": "main", "key_pair": pair}))
    simulator.control("POST", "/keys", pair)
    rotated = client.call("RotateCredential", {"name": "main", "key_pair": pair}).credential
    traces.add_place("an answer of CredentialService", rotated.SerializeToString() + str(rotated).encode())
    nobody = ReflectedClient(channel).refusal("GetResult", {}, metadata=[("authorization", f"Bearer {BAD_JWT}")])
    add_refusal(traces, nobody)


def personal_texts(message, path=""):
    """The texts of a result that tell of a person, with their places. Words of a few letters are everywhere."""
    if isinstance(message, dict):
        for key, value in message.items():
            yield from personal_texts(value, f"{path}.{key}")
    elif isinstance(message, list):
        for value in message:
            yield from personal_texts(value, path)
    elif isinstance(message, str) and len(message.encode()) >= 8 and not re.search(NOT_PERSONAL, path):
        yield path, message


def be_refused(serve, client, traces):
    bad_subject = {"name": NAME * 10, "id_number": BAD_ID_NUMBER}
    photo = base64.b64encode(b"no jpeg " + PHOTO_CONTENT).decode()
    refusals = [
        ("CreateVerification", {"flow": "onboarding", "subject": bad_subject, "extra": EXTRA + "e" * 1025}),
        ("CreateVerification", {"flow": "no-such-flow", "subject": subject()}),
        ("CreateVerification", {"flow": "onboarding", "subject": subject(), "intention": {"read_aloud": {"text": SPOKEN * 9}}}),
        ("CreateVerification", {"flow": "onboarding", "subject": subject(), "return_url": f"https://evil.example/?n={NAME}"}),
        ("CreateVerification", {"flow": "photo", "reference_photo": photo}),
        # Another body under a request_id that is taken.
        ("CreateVerification", {"flow": "onboarding", "subject": subject(), "request_id": "sentinel-run"}),
        ("HandleCallback", {"callback_url": f"https://shop.example.com/?BizToken={BAD_TOKEN}&faceid_mac={BAD_MAC}&n={NAME}"}),
        ("HandleCallback", {"tokens": {"verification_id": ID_NUMBER, "biz_token": BAD_TOKEN}}),
        ("GetResult", {"verification_id": NAME}),
        ("GetResult", {"biz_token": BAD_TOKEN}),
    ]  # fmt: skip
    for method, request in refusals:
        add_refusal(traces, client.refusal(method, request))
    forged = f"{serve.http_url}/callback?faceid_verification_id={ID_NUMBER}&faceid_mac={BAD_MAC}&BizToken={BAD_TOKEN}"
    assert serve.follow(forged).status_code == 400
    serve.http.get(f"{serve.http_url}/no-such-page?BizToken={BAD_TOKEN}", timeout=10)


def add_refusal(traces, refused):
    """What a caller is told, as text and as it is sent."""
    details = b"".join(detail.SerializeToString() for detail in refused.details.values())
    told = f"{refused.message} {refused.details}"
    traces.add_place("the errors that callers got", told.encode() + details)


@contextlib.contextmanager
def refusals_in(traces):
    try:
        yield
    except grpc.RpcError as error:
        add_refusal(traces, Refusal(error))


def meet_faults(simulator, client, traces):
    for kind, more in FAULTS:
        which = f"{kind} {more}"
        simulator.fault("DetectAuth", kind, **more)
        with refusals_in(traces):
            remember(traces, f"a create that met {which}", client.create(flow="onboarding", subject=subject()))

        created = client.create(flow="onboarding", subject=subject())
        remember(traces, which, created)
        simulator.attempt(created.biz_token, 0)
        simulator.fault("GetDetectInfoEnhanced", kind, **more)
        with refusals_in(traces):
            client.result(created, fresh=True)


def rest(simulator, client):
    """Until nothing is under way to the vendor: no call, no settling, no evidence."""
    calls = None
    while calls != (calls := simulator.control("GET", "/calls")):
        client.call("ListVerifications", {})
        time.sleep(1.5)


def memory_during_a_call(serve, simulator, client):
    simulator.fault("DetectAuth", "delay", ms=3000)
    creating = client.start("CreateVerification", {"flow": "onboarding", "subject": subject()})
    time.sleep(0.5)
    memory = memory_of(serve.popen.pid)
    assert not creating.done(), "it was under way"
    creating.result()
    return memory


def test_the_search_finds_what_is_there(traces):
    assert traces.where("onboarding"), "the flow's name is written in the clear"
    assert any("gateway.db" in place for place in traces.where("onboarding"))
    assert any("the gateway's log" in place for place in traces.where("CreateVerification"))
    assert any("/metrics" in place for place in traces.where("CreateVerification"))
    assert b"TRACE" in traces.places["the gateway's log"], "it did run at trace level"
    assert any("the exported spans" in place for place in traces.where("DetectAuth"))
    assert any("the errors that callers got" in place for place in traces.where("VENDOR_UNAVAILABLE"))
    assert any("the webhooks" in place for place in traces.where("onboarding"))
    assert {"name", "evidence", ".idCard.address of the result"} <= traces.sentinels.keys()


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(lambda s: s.encode(), id="as-it-is"),
        pytest.param(lambda s: b"xy" + base64.b64encode(b"photo:" + s.encode() + b" and more"), id="base64"),
        pytest.param(lambda s: json.dumps({"name": s}).encode(), id="json"),
        pytest.param(lambda s: urllib.parse.urlencode({"name": s}).encode(), id="url"),
        pytest.param(lambda s: s.encode().hex().upper().encode(), id="hex"),
        pytest.param(lambda s: s.encode("utf-16-le"), id="utf-16"),
        pytest.param(lambda s: repr(list(s.encode())).encode(), id="debug-of-bytes"),
    ],
)
def test_the_search_finds_every_form(hidden):
    planted = Traces()
    planted.add_place("planted", b"before" + hidden(NAME) + b"after")
    assert planted.where(NAME)


def test_nothing_is_left_in_the_clear(traces):
    found = {which: places for which, sentinel in traces.sentinels.items() if (places := traces.where(sentinel))}
    assert found == {}


def test_a_core_dump_holds_the_secret_key_only_while_it_is_used(traces):
    """Where it stays is in the vault, sealed. The keys of the vault themselves are in memory, which docs/SECURITY.md says."""
    assert API_SECRET_KEY.encode() in traces.memory_during_a_call, "the search would find it"
    assert b"onboarding" in traces.memory_at_rest, "the memory was read"
    # The one of the configuration. One that came by an RPC may stay in a buffer of HTTP.
    key = SECRET_KEY.encode()
    assert traces.memory_at_rest.count(key) == 0
    assert key.hex().encode() not in traces.memory_at_rest

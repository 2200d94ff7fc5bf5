"""What must never leave the gateway in the clear: looked for, byte by byte, in everything that it writes.

One run at debug level takes sentinels through every call, through refusals and through the vendor's faults. Then its logs,
its metrics and its database are searched, as `strings` would, for each sentinel in every form in which it could hide.
"""

import base64
import contextlib
import json
import re
import urllib.parse

import grpc
import pytest
from people import FAILURE_URL, SUCCESS_URL, jpeg
from processes import ServeConfig, ServeProcess, SimulateProcess
from reflected import ReflectedClient, state_of

DEBUG = {"RUST_LOG": "debug"}

SECRET_ID = "sentinel-secret-id-6b1f0c"
SECRET_KEY = "sentinel-secret-key-d84e27"
NAME = "哨兵赵𠮷"
ID_NUMBER = "65312419770707919X"
EXTRA = "sentinel-extra-95ac31"
SPOKEN = "sentinel-spoken-77d2f0"
PHOTO_CONTENT = b"sentinel-photo-0123456789-0123456789"
# In requests that are refused.
BAD_ID_NUMBER = "330102199602294040"
BAD_TOKEN = "sentinel-token-40aa9e"
BAD_MAC = "c2VudGluZWwtbWFjLTJi"

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


@pytest.fixture(scope="module")
def traces(binary, run, module_folder):
    traces = Traces()
    traces.sentinels |= {
        "secret id": SECRET_ID,
        "secret key": SECRET_KEY,
        "name": NAME,
        "ID number": ID_NUMBER,
        "extra": EXTRA,
        "text read aloud": SPOKEN,
        "photo": PHOTO_CONTENT,
        "refused ID number": BAD_ID_NUMBER,
        "refused token": BAD_TOKEN,
        "refused MAC": BAD_MAC,
    }
    with run(SimulateProcess, binary, module_folder, SECRET_ID, SECRET_KEY, env=DEBUG) as simulate:
        config = ServeConfig(module_folder, simulate.simulator, SECRET_ID, SECRET_KEY, log_level="debug")
        with run(ServeProcess, binary, module_folder, config, env=DEBUG) as serve:
            with serve.channel() as channel:
                client = ReflectedClient(channel)
                go_the_whole_way(serve, simulate.simulator, client, traces)
                be_refused(serve, client)
                meet_faults(simulate.simulator, client, traces)
            traces.add_place("/metrics", serve.metrics().encode())
            traces.add_database(config.data, "while it runs")
            assert any("-wal" in place for place in traces.places), "the write-ahead log was searched too"
            serve.terminate()
            assert serve.exit_code() == 0
        traces.add_database(config.data, "when it has ended")
        traces.add_place("the gateway's log", serve.log.read_bytes())
    traces.add_place("the simulator's log", simulate.log.read_bytes())
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
    traces.sentinels["address on the card"] = full.id_card.address or ID_NUMBER

    photo = base64.b64encode(jpeg(PHOTO_CONTENT)).decode()
    with_photo = client.create(flow="photo", reference_photo=photo)
    remember(traces, "the photo flow", with_photo)
    simulator.attempt(with_photo.biz_token, 0)
    assert state_of(client.result(with_photo, fresh=True).verification) == "PASSED"


def be_refused(serve, client):
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
        refused = client.refusal(method, request)
        said = f"{refused.message}{refused.details}"
        for secret in (NAME, ID_NUMBER, BAD_ID_NUMBER, BAD_TOKEN, SPOKEN):
            assert secret not in said, f"{method} repeats a value that it refuses"
    forged = f"{serve.http_url}/callback?faceid_verification_id={ID_NUMBER}&faceid_mac={BAD_MAC}&BizToken={BAD_TOKEN}"
    assert serve.follow(forged).status_code == 400
    serve.http.get(f"{serve.http_url}/no-such-page?BizToken={BAD_TOKEN}", timeout=10)


def meet_faults(simulator, client, traces):
    for kind, more in FAULTS:
        which = f"{kind} {more}"
        simulator.fault("DetectAuth", kind, **more)
        with contextlib.suppress(grpc.RpcError):
            remember(traces, f"a create that met {which}", client.create(flow="onboarding", subject=subject()))

        created = client.create(flow="onboarding", subject=subject())
        remember(traces, which, created)
        simulator.attempt(created.biz_token, 0)
        simulator.fault("GetDetectInfoEnhanced", kind, **more)
        with contextlib.suppress(grpc.RpcError):
            client.result(created, fresh=True)


def test_the_search_finds_what_is_there(traces):
    assert traces.where("onboarding"), "the flow's name is written in the clear"
    assert any("gateway.db" in place for place in traces.where("onboarding"))
    assert any("the gateway's log" in place for place in traces.where("CreateVerification"))
    assert any("/metrics" in place for place in traces.where("CreateVerification"))
    assert b"DEBUG" in traces.places["the gateway's log"], "it did run at debug level"


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

"""An engineer with grpcurl, who has no proto file at hand."""

import json
import pathlib
import subprocess
import sys

from people import FAILURE_URL, SUCCESS_URL, onboarding

GRPCURL = pathlib.Path(sys.executable).with_name("grpcurl")
SERVICE = "faceid.v1.VerificationService"


def grpcurl(dev, *args, data=None):
    options = ["-plaintext", "-max-time", "20"]
    if data is not None:
        options += ["-d", json.dumps(data)]
    # The address comes first for a verb (list, describe), and so does it for a method.
    return subprocess.run(
        [str(GRPCURL), *options, dev.grpc_address, *args], capture_output=True, text=True, timeout=60
    )


def ask(dev, *args):
    done = grpcurl(dev, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(dev, method, data):
    done = grpcurl(dev, f"{SERVICE}/{method}", data=data)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_lists_the_services(dev):
    services = ask(dev, "list").split()
    assert SERVICE in services
    assert "grpc.health.v1.Health" in services
    methods = ask(dev, "list", SERVICE).split()
    assert {f"{SERVICE}.{m}" for m in ("CreateVerification", "GetResult", "HandleCallback")} < set(methods)


def test_describes_the_contract(dev):
    assert "rpc CreateVerification" in ask(dev, "describe", SERVICE)
    request = ask(dev, "describe", "faceid.v1.CreateVerificationRequest")
    for field in ("string request_id = 1", "string flow = 2", "bytes reference_photo = 4", "string success_url = 7"):
        assert field in request


def test_walks_one_verification(dev):
    created = call(
        dev,
        "CreateVerification",
        onboarding(request_id="grpcurl-1", success_url=SUCCESS_URL, failure_url=FAILURE_URL, reference="order-42"),
    )
    assert created["verification"]["state"] == "VERIFICATION_STATE_PENDING"
    assert created["verification"]["reference"] == "order-42"
    assert created["url"].startswith(dev.simulator.url)
    verification_id = created["verification"]["verificationId"]

    redirect = dev.simulator.attempt(created["bizToken"], 0)["redirect_url"]
    handled = call(dev, "HandleCallback", {"callback_url": redirect})
    assert handled["verification"]["state"] == "VERIFICATION_STATE_PASSED"
    assert handled["redirectUrl"] == f"{SUCCESS_URL}?faceid_verification_id={verification_id}"

    result = call(dev, "GetResult", {"verification_id": verification_id})
    assert result["verification"]["state"] == "VERIFICATION_STATE_PASSED"
    # An int64, which JSON of protobuf writes as text.
    assert result["result"]["code"] == "0"
    assert result["result"]["identity"]["idNumber"] == "110***********002X"


def test_bad_request_says_what_is_wrong_with_every_field(dev):
    request = {"flow": "onboarding", "subject": {"name": "张" * 33, "id_number": "11010519491231002x"}, "extra": "e" * 1025}
    done = grpcurl(dev, f"{SERVICE}/CreateVerification", data=request)
    assert done.returncode != 0
    assert "Code: InvalidArgument" in done.stderr
    for field in ("subject.name", "subject.id_number", "extra"):
        assert field in done.stderr
    assert "capital X" in done.stderr
    assert "张" not in done.stderr, "a value of the request is never repeated"


def test_unknown_verification_is_not_found(dev):
    nobody = "01890000-0000-7000-8000-000000000000"
    done = grpcurl(dev, f"{SERVICE}/GetResult", data={"verification_id": nobody})
    assert done.returncode != 0
    assert "Code: NotFound" in done.stderr


def test_what_the_vendor_refuses_says_who_should_do_what(dev):
    dev.simulator.fault("DetectAuth", "error_code", code="UnauthorizedOperation.Arrears")
    done = grpcurl(dev, f"{SERVICE}/CreateVerification", data=onboarding())
    assert done.returncode != 0
    assert "Code: FailedPrecondition" in done.stderr
    for shown in ("UnauthorizedOperation.Arrears", "VENDOR_ACCOUNT_BLOCKED", "operator", "hint_en", "settle the bill in the console"):
        assert shown in done.stderr, done.stderr
    assert "hint_zh" in done.stderr and "请在控制台充值" in done.stderr, done.stderr

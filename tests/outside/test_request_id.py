"""A call is found again by its id: in its trailers, in the details of its error, and in the log."""

import uuid

import grpc
import pytest
import scripted
from processes import wait_for
from reflected import Refusal

ID = "order-7f3a:1"


@pytest.fixture(scope="module")
def gateway(binary, run, module_folder):
    with scripted.gateway(binary, run, module_folder) as gateway:
        yield gateway


def trailers_of(call):
    return dict(call.trailing_metadata())


def test_the_callers_own_id_comes_back(gateway):
    call = gateway.client.start("CreateVerification", {"flow": "bare"}, metadata=[("x-request-id", ID)])
    assert call.result().biz_token
    assert trailers_of(call)["x-request-id"] == ID


@pytest.mark.parametrize("given", [None, "two words", "x" * 65])
def test_a_call_without_a_fit_id_gets_one(gateway, given):
    call = gateway.client.start("CreateVerification", {"flow": "bare"}, metadata=[("x-request-id", given)] if given else None)
    assert call.result().biz_token
    assert uuid.UUID(trailers_of(call)["x-request-id"])


def test_an_error_names_the_id_to_search_the_log_for(gateway):
    gateway.vendor.script("DetectAuth", lambda _: {"Error": {"Code": "UnauthorizedOperation.Arrears", "Message": "欠费"}})
    try:
        with pytest.raises(grpc.RpcError) as raised:
            gateway.client.call("CreateVerification", {"flow": "bare"}, metadata=[("x-request-id", ID)])
    finally:
        gateway.vendor.script("DetectAuth", gateway.vendor.open_token)
    refused = Refusal(raised.value)
    assert refused.reason == "VENDOR_ACCOUNT_BLOCKED"
    assert refused.details["RequestInfo"].request_id == trailers_of(raised.value)["x-request-id"] == ID
    assert refused.details["ErrorInfo"].metadata["vendor_request_id"] != ID

    def logged():
        return [line for line in gateway.process.log_text().splitlines() if "call failed" in line and ID in line]

    [line] = wait_for("the line of the log", logged)
    assert "VENDOR_ACCOUNT_BLOCKED" in line


def test_a_stream_that_is_refused_has_it_too(gateway):
    with pytest.raises(grpc.RpcError) as raised:
        gateway.client.stream("WatchVerifications", {"flow": "not-there"})
    refused = Refusal(raised.value)
    assert refused.details["RequestInfo"].request_id == trailers_of(raised.value)["x-request-id"]


@pytest.mark.parametrize(
    ("accepted", "locale", "text"),
    [
        (None, "zh-CN", "身份证号有误，请核对后重新填写。"),
        ("en-GB,zh;q=0.5", "en", "The ID number is mistyped. Check it and enter it again."),
    ],
)
def test_an_error_says_what_to_tell_the_person(gateway, accepted, locale, text):
    request = {"flow": "bare", "subject": {"name": "张三", "id_number": "110105194912310021"}}
    refused = gateway.client.refusal("CreateVerification", request, metadata=[("accept-language", accepted)] if accepted else None)
    told = refused.details["LocalizedMessage"]
    assert (told.locale, told.message) == (locale, text), refused.message

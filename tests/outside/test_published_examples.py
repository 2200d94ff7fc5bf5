"""The vendor's published examples, as they stand, before the real gateway: the right state, and not a leaf of them lost."""

import datetime
import json
import re

import pytest
import scripted
from published import examples, leaves
from reflected import state_of

# Where a leaf of the answer stands in the result. What is not here has to be in `vendor_raw`.
PLACES = {
    "Text.CompareLibType": "comparison.source",
    "Text.Comparemsg": "comparison.message",
    "Text.Comparestatus": "comparison.code",
    "Text.ErrCode": "code",
    "Text.ErrMsg": "message",
    "Text.IdCard": "identity.id_number",
    "Text.IdInfoFrom": "identity.source",
    "Text.LiveMsg": "liveness.message",
    "Text.LiveStatus": "liveness.code",
    "Text.LivenessMode": "liveness.mode",
    "Text.NFCBillingCounts": "nfc_billing_count",
    "Text.Name": "identity.name",
    "Text.Sim": "comparison.similarity",
    "Text.UseIDType": "identity.document_type",
    "Text.LivenessDetail[].CompareLibType": "attempts[].comparison_source",
    "Text.LivenessDetail[].Comparemsg": "attempts[].comparison_message",
    "Text.LivenessDetail[].Comparestatus": "attempts[].comparison_code",
    "Text.LivenessDetail[].Errcode": "attempts[].code",
    "Text.LivenessDetail[].Errmsg": "attempts[].message",
    "Text.LivenessDetail[].Idcard": "attempts[].id_number",
    "Text.LivenessDetail[].IsNeedCharge": "attempts[].charged",
    "Text.LivenessDetail[].Livemsg": "attempts[].liveness_message",
    "Text.LivenessDetail[].LivenessMode": "attempts[].liveness_mode",
    "Text.LivenessDetail[].Livestatus": "attempts[].liveness_code",
    "Text.LivenessDetail[].Name": "attempts[].name",
    "Text.LivenessDetail[].ReqTime": "attempts[].attempt_time",
    "Text.LivenessDetail[].Seq": "attempts[].sequence_id",
    "Text.LivenessDetail[].Sim": "attempts[].similarity",
    "RequestId": "vendor_request_id",
}

REASONS = {
    "InvalidParameter": "VENDOR_TOKEN_GONE",
    "InvalidParameterValue.RuleIdNotExist": "FLOW_MISCONFIGURED",
}


def of(action, fails):
    chosen = [e for e in examples() if e.action == action and bool(e.error) == fails]
    assert chosen, f"no example of {action} is left"
    return pytest.mark.parametrize("example", chosen, ids=[f"{action}-{nth}" for nth, _ in enumerate(chosen, start=1)])


@pytest.fixture
def gateway(binary, run, tmp_path):
    with scripted.gateway(binary, run, tmp_path) as gateway:
        yield gateway
        assert gateway.vendor.problems == []


@of("DetectAuth", fails=False)
def test_a_token_that_is_opened_comes_back_whole(gateway, example):
    gateway.vendor.script("DetectAuth", example.response)
    created = gateway.create()
    assert (created.biz_token, created.url) == (example.response["BizToken"], example.response["Url"])
    assert {path for path, _ in leaves(example.response)} == {"BizToken", "Url", "RequestId"}


@of("DetectAuth", fails=True)
def test_a_token_that_is_refused_is_refused_for_the_same_reason(gateway, example):
    gateway.vendor.script("DetectAuth", example.response)
    refusal = gateway.client.refusal("CreateVerification", {"flow": "bare"})
    assert_told(refusal, example)


@of("GetDetectInfoEnhanced", fails=False)
def test_a_result_is_judged_by_its_code_and_every_leaf_of_it_comes_back(gateway, example):
    told = gateway.asked(example.response)
    assert example.response["Text"]["ErrCode"] == 0, "the examples that succeed are of persons who passed"
    assert state_of(told.verification) == "PASSED"
    charged = [detail for detail in example.response["Text"]["LivenessDetail"] if detail["IsNeedCharge"]]
    assert told.verification.charged_attempts == len(charged)
    raw = raw_leaves(told.result)
    # The flag says that there was no such step, and so the result has none.
    assert example.response["IsVerifyIntention"] is False and not told.result.HasField("intention")
    wanted = [(path, value) for path, value in leaves(example.response) if path != "IsVerifyIntention"]
    assert len(wanted) > 30
    lost = [path for path, value in wanted if value not in (in_result(told.result, path), raw.get(path))]
    assert lost == []


@of("GetDetectInfoEnhanced", fails=False)
def test_an_answer_with_nothing_unusual_leaves_nothing_over(gateway, example):
    asked_for = {name: part for name, part in example.response.items() if name not in ("BestFrame", "VideoData")}
    assert dict(gateway.asked(asked_for).result.vendor_raw) == {}


@of("GetDetectInfoEnhanced", fails=True)
def test_a_token_that_is_not_known_is_told_as_that(gateway, example):
    created = gateway.create()
    gateway.vendor.tell(created.biz_token, example.response)
    request = {"verification_id": created.verification.verification_id, "fresh": True}
    assert_told(gateway.client.refusal("GetResult", request), example)


def test_the_pages_of_a_bill_are_followed_to_their_end(gateway):
    pages = {e.request["Cursor"]: e.response for e in examples() if e.action == "GetWeChatBillDetails" and not e.error}
    gateway.vendor.script("GetWeChatBillDetails", lambda request: pages[request["Cursor"]])
    told = gateway.service("UsageService").call("ReconcileUsage", {"date": two_days_ago(), "flow": "bare"})
    assert [request["Cursor"] for request in gateway.vendor.calls_of("GetWeChatBillDetails")] == sorted(pages)
    billed = [token for page in pages.values() for token in page["WeChatBillDetails"]]
    assert told.vendor_charges == sum(token["ChargeCount"] for token in billed)
    assert (told.our_charges, told.agreeing) == (0, 0)
    tails = [difference.biz_token_tail for difference in told.differences]
    assert len(tails) == len(billed) and all(t["BizToken"].endswith(tail) for t, tail in zip(billed, tails) if tail)


@of("GetWeChatBillDetails", fails=True)
def test_a_bill_that_is_refused_is_refused_for_the_same_reason(gateway, example):
    gateway.vendor.script("GetWeChatBillDetails", example.response)
    usage = gateway.service("UsageService")
    assert_told(usage.refusal("ReconcileUsage", {"date": two_days_ago(), "flow": "bare"}), example)


def test_the_judge_knows_a_wrong_signature(gateway):
    gateway.create()
    (call,) = gateway.vendor.calls
    gateway.vendor.judge(call.headers, call.body)
    with pytest.raises(AssertionError):
        gateway.vendor.judge(call.headers, call.body + b" ")


def assert_told(refusal, example):
    assert refusal.reason == REASONS[example.error]
    metadata = refusal.details["ErrorInfo"].metadata
    assert metadata["vendor_code"] == example.error
    assert metadata["vendor_request_id"] == example.response["RequestId"]


def in_result(result, path):
    """What the result says where the leaf at `path` has its place; None where it says nothing."""
    at = [int(number) for number in re.findall(r"\[(\d+)\]", path)]
    place = PLACES.get(re.sub(r"\[\d+\]", "[]", path))
    if place is None:
        return None
    message = result
    for name in place.split("."):
        if name.endswith("[]"):
            message = getattr(message, name[:-2])[at.pop(0)]
            continue
        field = message.DESCRIPTOR.fields_by_name[name]
        if field.has_presence and not message.HasField(name):
            return None
        message = getattr(message, name)
    return str(message.ToMilliseconds()) if hasattr(message, "ToMilliseconds") else message


def raw_leaves(result):
    """The leaves of `vendor_raw`, whatever part of the answer each of its entries holds."""
    return {path: leaf for at, text in result.vendor_raw.items() for path, leaf in leaves(json.loads(text), at)}


def two_days_ago():
    beijing = datetime.timezone(datetime.timedelta(hours=8))
    return (datetime.datetime.now(beijing) - datetime.timedelta(days=2)).date().isoformat()

"""Answers that are odd in one way each, from the scripted vendor: each is read for what it says, and costs no more than itself."""

import grpc
import pytest
import scripted
from reflected import Refusal, state_of


def passed(text=None, **parts):
    return {"Text": {"ErrCode": 0} | (text or {}), "IsVerifyIntention": False} | parts


@pytest.fixture(scope="module")
def gateway(binary, run, module_folder):
    with scripted.gateway(binary, run, module_folder) as gateway:
        yield gateway
        assert gateway.vendor.problems == []


def test_an_object_of_an_intention_step_that_was_off_says_nothing(gateway):
    for empty in ({}, {"ErrorCode": None}, {"ErrorCode": 0}, {"ErrorCode": -301}):
        assert gateway.verdict(passed(IntentionVerifyData=empty)) == "PASSED", empty


def test_a_default_of_a_step_that_was_off_is_no_consent(gateway):
    off = passed(IntentionVerifyData={"ErrorCode": 0, "AsrResult": "", "ErrorMessage": ""}, IntentionVerifyType="2")
    assert gateway.verdict(off, "read-aloud") != "PASSED"
    on_and_empty = off | {"IsVerifyIntention": True, "IntentionVerifyData": {}}
    assert gateway.verdict(on_and_empty, "read-aloud") != "PASSED"


def test_a_similarity_that_is_a_number_is_readable(gateway):
    told = gateway.asked(passed({"Sim": 95.51}))
    assert state_of(told.verification) == "PASSED"
    assert "95.51" in (told.result.comparison.similarity, told.result.vendor_raw.get("Text.Sim"))


@pytest.mark.parametrize("seq", [{"Seq": ""}, {"Seq": None}, {}], ids=str)
def test_attempts_without_a_seq_are_counted_by_their_places(gateway, seq):
    details = [
        seq | {"Errcode": 2016, "IsNeedCharge": True},
        seq | {"Errcode": 1004, "IsNeedCharge": False},
        seq | {"Errcode": 0, "IsNeedCharge": True},
    ]
    told = gateway.asked(passed({"LivenessDetail": details}))
    assert (state_of(told.verification), told.verification.charged_attempts) == ("PASSED", 2)
    assert [attempt.code for attempt in told.result.attempts] == [2016, 1004, 0]


@pytest.mark.parametrize("time", ["1730444265", 1730444265, "1730444265275", 1730444265275], ids=repr)
def test_times_come_in_seconds_or_milliseconds(gateway, time):
    told = gateway.asked(passed({"LivenessDetail": [{"Seq": "s", "ReqTime": time, "Errcode": 0, "IsNeedCharge": True}]}))
    assert told.result.attempts[0].attempt_time.seconds == 1730444265


def test_odd_answers_cost_other_flows_nothing(gateway):
    odd = passed({"Sim": {"a": 1}, "LivenessMode": "x", "LivenessDetail": {}}, BestFrame=7, Encryption="?")
    verdicts = [gateway.verdict(odd) for _ in range(30)]
    unreadable = [gateway.verdict({"Text": 7}) for _ in range(30)]
    assert verdicts == ["PASSED"] * 30
    assert "PASSED" not in unreadable
    assert gateway.create("filmed").biz_token, "the circuit is not open"
    state = [line for line in gateway.process.metrics().splitlines() if line.startswith("faceid_vendor_breaker_state")]
    assert state and all(line.endswith(" 0") for line in state), state


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://vendor.example.com/h5", "https://a.cn/" + "a" * 200_000, "ftp-like-nothing"])
def test_an_address_that_no_browser_should_go_to_is_not_handed_out(gateway, url):
    asked = len(gateway.vendor.calls_of("DetectAuth"))
    gateway.vendor.script("DetectAuth", {"BizToken": "T-url", "Url": url})
    try:
        refusal = gateway.client.refusal("CreateVerification", {"flow": "bare"})
    finally:
        gateway.vendor.script("DetectAuth", gateway.vendor.open_token)
    assert len(gateway.vendor.calls_of("DetectAuth")) > asked
    assert refusal.code == grpc.StatusCode.UNAVAILABLE
    assert url[:20] not in refusal.message


def test_a_vendor_that_repeats_a_token_is_not_taken_for_a_store_that_is_down(gateway):
    gateway.vendor.script("DetectAuth", {"BizToken": "T-repeated", "Url": "https://vendor.example.com/h5"})
    try:
        first = gateway.create()
        try:
            again = gateway.create()
        except grpc.RpcError as error:
            assert Refusal(error).reason not in ("STORE_UNAVAILABLE", "REASON_UNSPECIFIED", "INTERNAL")
        else:
            assert again.verification.verification_id == first.verification.verification_id
    finally:
        gateway.vendor.script("DetectAuth", gateway.vendor.open_token)

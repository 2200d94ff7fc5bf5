"""Python's grpcio through reflection, without generated code: the contract as an internal service meets it."""

import base64
import uuid

import grpc
import pytest
from people import FAILURE_URL, ID_NUMBER, NAME, SUCCESS_URL, jpeg, onboarding
from reflected import VERIFICATION_SERVICE, ReflectedClient, name_of, state_of


# More often than the gateway tries.
OUTLASTS_RETRIES = 100


@pytest.fixture(scope="module")
def client(dev):
    with dev.channel() as channel:
        yield ReflectedClient(channel)


def with_pages(**more):
    return onboarding(success_url=SUCCESS_URL, failure_url=FAILURE_URL, **more)


def calls_of(dev, action):
    """How often the vendor was asked."""
    return sum(dev.simulator.control("GET", "/calls").get(action, {}).values())


def never_asked_about(client, created):
    """Whether the vendor was not asked about a verification yet. A list asks nobody."""
    listed = client.call("ListVerifications", {"page_size": 500}).verifications
    (found,) = [v for v in listed if v.verification_id == created.verification.verification_id]
    return not found.HasField("check_time")


@pytest.mark.parametrize("service", ["", VERIFICATION_SERVICE])
def test_health_is_serving(dev, service):
    assert dev.health(service) == "SERVING"


def test_health_does_not_know_a_service_that_is_not_there(dev):
    with pytest.raises(grpc.RpcError) as caught:
        dev.health("faceid.v1.NoSuchService", timeout=30)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_whole_way_with_a_failure_between(dev, client):
    created = client.create(**with_pages(reference="order-42", labels={"channel": "app"}))
    assert state_of(created.verification) == "PENDING"
    assert created.verification.labels == {"channel": "app"}
    assert created.expire_time.seconds - created.verification.create_time.seconds == 7200
    assert not created.verification.HasField("last_attempt")

    nothing_yet = client.result(created, fresh=True)
    assert state_of(nothing_yet.verification) == "PENDING"
    assert not nothing_yet.result.HasField("code"), "absent, not 0"

    redirect = dev.simulator.attempt(created.biz_token, 2016)["redirect_url"]
    handled = client.call("HandleCallback", {"callback_url": redirect})
    assert state_of(handled.verification) == "PENDING", "a failed attempt is not final"
    assert handled.verification.last_attempt.code == 2016
    assert handled.redirect_url.startswith(FAILURE_URL)

    redirect = dev.simulator.attempt(created.biz_token, 0)["redirect_url"]
    handled = client.call("HandleCallback", {"callback_url": redirect})
    assert state_of(handled.verification) == "PASSED"
    assert handled.verification.HasField("settle_time")
    assert handled.redirect_url.startswith(SUCCESS_URL)

    replayed = client.call("HandleCallback", {"callback_url": redirect})
    assert replayed == handled

    result = client.result(created).result
    assert (result.code, result.liveness.code, result.comparison.code) == (0, 0, 0)
    assert [attempt.code for attempt in result.attempts] == [2016, 0]
    assert result.attempts[1].charged is True


def test_callback_in_parts(dev, client):
    created = client.create(**with_pages())
    dev.simulator.attempt(created.biz_token, 0)
    tokens = {"verification_id": created.verification.verification_id, "biz_token": created.biz_token}
    handled = client.call("HandleCallback", {"tokens": tokens})
    assert state_of(handled.verification) == "PASSED"


def test_result_by_token(dev, client):
    created = client.create(**onboarding())
    found = client.call("GetResult", {"biz_token": created.biz_token})
    assert found.verification.verification_id == created.verification.verification_id


def test_views_hide_what_they_promise_to(dev, client):
    created = client.create(**onboarding(extra="invented extra"))
    dev.simulator.attempt(created.biz_token, 0)

    basic = client.result(created, view="RESULT_VIEW_BASIC", fresh=True)
    assert state_of(basic.verification) == "PASSED"
    assert not basic.HasField("result")

    masked = client.result(created).result
    assert masked.identity.id_number == "110***********002X"
    assert masked.identity.name == "张*𠮷"
    assert not masked.HasField("extra") and not masked.vendor_raw

    full = client.result(created, view="RESULT_VIEW_FULL").result
    assert (full.identity.name, full.identity.id_number, full.extra) == (NAME, ID_NUMBER, "invented extra")


def test_photo_flow(dev, client):
    created = client.create(flow="photo", reference_photo=base64_of(jpeg()))
    dev.simulator.attempt(created.biz_token, 0)
    assert state_of(client.result(created, fresh=True).verification) == "PASSED"


def test_signing_flow_passes_only_with_the_intention(dev, client):
    created = client.create(**onboarding(flow="signing", intention={"read_aloud": {"text": "我同意开户"}}))
    dev.simulator.attempt(created.biz_token, -301)
    refused = client.result(created, fresh=True)
    assert state_of(refused.verification) == "PENDING"
    assert refused.result.code == 0, "the face passed"
    assert refused.result.intention.code == -301

    dev.simulator.attempt(created.biz_token, 0)
    passed = client.result(created, fresh=True)
    assert state_of(passed.verification) == "PASSED"
    assert name_of(passed.result.intention, "mode") == "INTENTION_MODE_READ_ALOUD"


def test_request_id_makes_create_safe_to_repeat(dev, client):
    request_id = str(uuid.uuid4())
    first = client.create(**onboarding(request_id=request_id))
    again = client.create(**onboarding(request_id=request_id))
    assert again == first

    other = client.refusal("CreateVerification", onboarding(request_id=request_id, reference="another body"))
    assert other.code == grpc.StatusCode.ALREADY_EXISTS
    assert (other.details["ErrorInfo"].domain, bool(other.reason)) == ("faceid-gateway", True)


def test_two_creates_at_once_give_one_verification(dev, client):
    request = onboarding(request_id=str(uuid.uuid4()))
    started = [client.start("CreateVerification", request) for _ in range(8)]
    answers = [call.result() for call in started]
    assert len({answer.verification.verification_id for answer in answers}) == 1
    assert len({answer.biz_token for answer in answers}) == 1


def test_every_bad_field_is_named_and_nothing_is_sent_to_the_vendor(dev, client):
    asked = calls_of(dev, "DetectAuth")
    refused = client.refusal(
        "CreateVerification",
        {
            "request_id": "has a space",
            "flow": "onboarding",
            "subject": {"name": "张" * 33, "id_number": "110105194912310021"},
            "success_url": "https://elsewhere.example.com/",
            "failure_url": "javascript:alert(1)",
            "extra": "e" * 1025,
            "reference": "r" * 129,
            "labels": {"Not A Key": "value"},
        },
    )
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.details["ErrorInfo"].domain == "faceid-gateway"
    assert refused.reason
    fields = "\n".join(refused.bad_fields)
    for field in ("request_id", "subject.name", "subject.id_number", "success_url", "failure_url", "extra", "reference", "labels"):
        assert field in fields
    assert all(refused.bad_fields.values()), "each says what is wrong"
    assert "110105194912310021" not in str(refused.bad_fields) + refused.message
    assert calls_of(dev, "DetectAuth") == asked


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        pytest.param(lambda: {"flow": "onboarding"}, "subject.name", id="subject-missing"),
        pytest.param(lambda: onboarding(flow=""), "flow", id="flow-missing"),
        pytest.param(lambda: onboarding(flow="no-such-flow"), "flow", id="flow-unknown"),
        pytest.param(lambda: onboarding(reference_photo=base64_of(jpeg())), "reference_photo", id="photo-not-wanted"),
        pytest.param(lambda: {"flow": "photo"}, "reference_photo", id="photo-missing"),
        pytest.param(
            lambda: {"flow": "photo", "reference_photo": base64_of(b"GIF89a")}, "reference_photo", id="photo-is-a-gif"
        ),
        pytest.param(
            lambda: {"flow": "photo", "reference_photo": base64_of(jpeg(bytes(2_359_296)))}, "reference_photo", id="photo-too-large"
        ),
        pytest.param(
            lambda: onboarding(flow="signing", intention={"read_aloud": {"text": "字" * 121}}), "intention.read_aloud.text", id="text-too-long"
        ),
        pytest.param(
            lambda: onboarding(
                flow="signing", intention={"questions": {"questions": [{"question": "好？", "answers": ["好"]}] * 11}}
            ),
            "intention.questions",
            id="eleven-questions",
        ),
        pytest.param(
            lambda: onboarding(return_url="https://shop.example.com/" + "r" * 950), "return_url", id="too-long-with-our-parameters"
        ),
        pytest.param(lambda: onboarding(success_url=SUCCESS_URL), "failure_url", id="success-without-failure"),
    ],
)  # fmt: skip
def test_bad_create(dev, client, request_body, field):
    asked = calls_of(dev, "DetectAuth")
    refused = client.refusal("CreateVerification", request_body())
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, refused.message
    assert any(bad.startswith(field) for bad in refused.bad_fields), refused.bad_fields
    assert calls_of(dev, "DetectAuth") == asked


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda url, other: url.split("BizToken=")[0], id="no-token"),
        pytest.param(lambda url, other: url.replace(token_in(url), token_in(other)), id="token-of-another"),
        pytest.param(lambda url, other: url.replace("faceid_mac=", "faceid_mac=AAAA"), id="broken-mac"),
        pytest.param(lambda url, other: f"{url}&BizToken={token_in(other)}", id="another-token-too"),
        pytest.param(lambda url, other: f"{url}&x={'x' * 10_000}", id="too-long"),
        pytest.param(lambda url, other: "", id="empty"),
        pytest.param(lambda url, other: "not a url", id="no-url"),
    ],
)
def test_bad_callback_changes_nothing(dev, client, damage):
    created, other = client.create(**with_pages()), client.create(**with_pages())
    redirect = dev.simulator.attempt(created.biz_token, 0)["redirect_url"]
    redirect_of_other = dev.simulator.attempt(other.biz_token, 2016)["redirect_url"]

    refused = client.refusal("HandleCallback", {"callback_url": damage(redirect, redirect_of_other)})
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, refused.message
    assert refused.reason
    assert never_asked_about(client, created) and never_asked_about(client, other)

    answer = client.call("HandleCallback", {"callback_url": redirect})
    assert state_of(answer.verification) == "PASSED", "the true one still works"


@pytest.mark.parametrize(
    "key",
    [{}, {"verification_id": "42"}, {"biz_token": "not a token!"}],
    ids=["no-key", "no-id", "no-token"],
)
def test_bad_result_key(client, key):
    refused = client.refusal("GetResult", key)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, refused.message
    assert refused.bad_fields


def test_unknown_verification_is_not_found(client):
    refused = client.refusal("GetResult", {"verification_id": "01890000-0000-7000-8000-000000000000"})
    assert refused.code == grpc.StatusCode.NOT_FOUND
    assert refused.details["ErrorInfo"].domain == "faceid-gateway"


def test_vendor_quota_says_when_to_retry(dev, client):
    dev.simulator.fault("DetectAuth", "error_code", times=OUTLASTS_RETRIES, code="RequestLimitExceeded")
    refused = client.refusal("CreateVerification", onboarding())
    dev.simulator.control("DELETE", "/faults")
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "RetryInfo" in refused.details
    assert refused.details["ErrorInfo"].metadata["vendor_request_id"], "what the vendor's support asks for"
    assert refused.details["RequestInfo"].request_id, "what the log is searched for"
    assert refused.details["ErrorInfo"].metadata["acts"] == "caller"
    hints = refused.details["ErrorInfo"].metadata
    assert "retry later" in hints["hint_en"] and "请稍后重试" in hints["hint_zh"]


@pytest.mark.parametrize("kind", ["html_200", "not_json", "cut_json", "huge", "reset", "nulls"])
def test_bad_answer_of_the_vendor_is_never_a_verdict(dev, client, kind):
    created = client.create(**onboarding())
    dev.simulator.attempt(created.biz_token, 0)

    # For this token alone: the evidence of the verifications before it is fetched in the background.
    dev.simulator.fault("GetDetectInfoEnhanced", kind, times=OUTLASTS_RETRIES, biz_token=created.biz_token)
    try:
        answer = client.result(created, fresh=True)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    else:
        assert state_of(answer.verification) == "PENDING"

    dev.simulator.control("DELETE", "/faults")
    # While the vendor fails it is left alone for some seconds.
    dev.wait_until("the vendor to be asked again", lambda: passes(client, created))


def test_unknown_fields_of_the_vendor_are_kept(dev, client):
    created = client.create(**onboarding())
    dev.simulator.attempt(created.biz_token, 0)
    dev.simulator.fault("GetDetectInfoEnhanced", "unknown_fields", biz_token=created.biz_token)
    answer = client.result(created, fresh=True, view="RESULT_VIEW_FULL")
    assert state_of(answer.verification) == "PASSED"
    assert answer.result.vendor_raw


def passes(client, created):
    try:
        return state_of(client.result(created, fresh=True).verification) == "PASSED"
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        return False


def token_in(url):
    return url.split("BizToken=")[1].split("&")[0]


def base64_of(data):
    return base64.b64encode(data).decode()

"""The vendor's official Python SDK against the simulator: whoever satisfies the one satisfies the other."""

import base64
import time
import types
import warnings
from datetime import datetime, timedelta, timezone
from unittest import mock

import pytest
from conftest import SECRET_ID, SECRET_KEY
from tencentcloud.common import abstract_client
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.faceid.v20180301 import models
from tencentcloud.faceid.v20180301.faceid_client import FaceidClient

NAME = "张三𠮷"
ID_NUMBER = "11010519491231002X"
EXTRA = "order 42 & more"


def sdk(simulate, secret_id=SECRET_ID, secret_key=SECRET_KEY, method="POST", unsigned_payload=False):
    http = HttpProfile(protocol="http", endpoint=simulate.simulator.address, reqTimeout=10, reqMethod=method)
    profile = ClientProfile(httpProfile=http)
    profile.unsignedPayload = unsigned_payload
    return FaceidClient(Credential(secret_id, secret_key), "", profile)


def detect_auth(client):
    request = models.DetectAuthRequest()
    request.RuleId = "1"
    request.Name = NAME
    request.IdCard = ID_NUMBER
    request.RedirectUrl = "https://shop.example.com/back?order=42"
    request.Extra = EXTRA
    return client.DetectAuth(request)


def get_result(client, biz_token, info_type="0"):
    request = models.GetDetectInfoEnhancedRequest()
    request.BizToken = biz_token
    request.RuleId = "1"
    request.InfoType = info_type
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = client.GetDetectInfoEnhanced(request)
    # The SDK warns of fields that its models do not know.
    assert [str(w.message) for w in caught if "useless" in str(w.message)] == []
    return answer


def refusal(client):
    with pytest.raises(TencentCloudSDKException) as caught:
        detect_auth(client)
    assert caught.value.requestId, "every refusal has a RequestId"
    return caught.value.code


def tamper_before_sending(client, change):
    """Changes the finished, signed request on its way out."""
    send = client.request.send_request

    def send_changed(request):
        change(request)
        return send(request)

    client.request.send_request = send_changed


def sign_with_headers(client, **headers):
    """Lets the SDK sign other header values than it sends."""
    sign = client._get_tc3_signature

    def sign_others(params, request, *args):
        sent = dict(request.header)
        request.header.update(headers)
        signature = sign(params, request, *args)
        request.header.clear()
        request.header.update(sent)
        return signature

    client._get_tc3_signature = sign_others


def test_right_key_goes_the_whole_way(simulate):
    client = sdk(simulate)
    opened = detect_auth(client)
    assert opened.BizToken and opened.RequestId
    assert opened.Url.startswith("http")

    before = get_result(client, opened.BizToken)
    assert before.Text.ErrCode is None, "null, not 0: nothing is decided"

    failed = simulate.simulator.attempt(opened.BizToken, 2016)
    after_failure = get_result(client, opened.BizToken)
    assert after_failure.Text.ErrCode == 2016
    assert after_failure.Text.ErrMsg

    passed = simulate.simulator.attempt(opened.BizToken, 0)
    assert passed["redirect_url"].startswith("https://shop.example.com/back?order=42&")
    assert opened.BizToken in passed["redirect_url"]

    result = get_result(client, opened.BizToken)
    text = result.Text
    assert (text.ErrCode, text.LiveStatus, text.Comparestatus) == (0, 0, 0)
    assert (text.Name, text.IdCard, text.Extra) == (NAME, ID_NUMBER, EXTRA)
    assert 70 <= float(text.Sim) <= 100
    assert [detail.Seq for detail in text.LivenessDetail] == [failed["seq"], passed["seq"]]
    assert [detail.Errcode for detail in text.LivenessDetail] == [2016, 0]
    assert all(detail.IsNeedCharge in (True, False) for detail in text.LivenessDetail)
    assert text.LivenessDetail[-1].IsNeedCharge is True
    assert all(len(str(detail.ReqTime)) == 13 for detail in text.LivenessDetail)
    assert result.RequestId != before.RequestId


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("unsigned_payload", [False, True])
def test_every_action_is_answered_however_it_is_signed(simulate, method, unsigned_payload):
    client = sdk(simulate, method=method, unsigned_payload=unsigned_payload)
    opened = detect_auth(client)
    seq = simulate.simulator.attempt(opened.BizToken, 0)["seq"]
    result = get_result(client, opened.BizToken, info_type="1")
    assert (result.Text.ErrCode, result.Text.Name, result.Text.Extra) == (0, NAME, EXTRA)
    assert [detail.Seq for detail in result.Text.LivenessDetail] == [seq]

    request = models.GetWeChatBillDetailsRequest()
    beijing = timezone(timedelta(hours=8))
    request.Date, request.Cursor = (datetime.now(beijing) - timedelta(days=2)).date().isoformat(), 0
    bill = client.GetWeChatBillDetails(request)
    assert (bill.HasNextPage, bill.NextCursor, bill.WeChatBillDetails) == (False, 0, [])

    with pytest.raises(TencentCloudSDKException) as caught:
        wrong = sdk(simulate, secret_key=SECRET_KEY + "x", method=method, unsigned_payload=unsigned_payload)
        wrong.GetWeChatBillDetails(request)
    assert caught.value.code == "AuthFailure.SignatureFailure"


def test_evidence_is_in_the_full_answer_only(simulate):
    client = sdk(simulate)
    opened = detect_auth(client)
    simulate.simulator.attempt(opened.BizToken, 0)

    text_only = get_result(client, opened.BizToken, info_type="1")
    assert text_only.Text.ErrCode == 0
    assert not (text_only.BestFrame and text_only.BestFrame.BestFrame)
    assert not (text_only.VideoData and text_only.VideoData.LivenessVideo)

    full = get_result(client, opened.BizToken, info_type="0")
    frame = base64.b64decode(full.BestFrame.BestFrame, validate=True)
    assert frame.startswith(b"\xff\xd8\xff") and len(frame) > 10_000
    video = base64.b64decode(full.VideoData.LivenessVideo, validate=True)
    assert video[4:8] == b"ftyp" and len(video) > 100_000


def test_wrong_key_is_refused(simulate):
    assert refusal(sdk(simulate, secret_key=SECRET_KEY + "x")) == "AuthFailure.SignatureFailure"


def test_unknown_id_is_refused(simulate):
    assert refusal(sdk(simulate, secret_id="invented-other-id")) == "AuthFailure.SecretIdNotFound"


@pytest.mark.parametrize("minutes", [-10, 10])
def test_timestamp_ten_minutes_off_is_refused(simulate, minutes):
    clock = types.SimpleNamespace(time=lambda: time.time() + 60 * minutes)
    with mock.patch.object(abstract_client, "time", clock):
        assert refusal(sdk(simulate)) == "AuthFailure.SignatureExpire"


@pytest.mark.parametrize("minutes", [-4, 4])
def test_timestamp_four_minutes_off_is_accepted(simulate, minutes):
    clock = types.SimpleNamespace(time=lambda: time.time() + 60 * minutes)
    with mock.patch.object(abstract_client, "time", clock):
        assert detect_auth(sdk(simulate)).BizToken


def test_tampered_body_is_refused(simulate):
    def change(request):
        assert '"RuleId": "1"' in request.data
        request.data = request.data.replace('"RuleId": "1"', '"RuleId": "2"')

    client = sdk(simulate)
    tamper_before_sending(client, change)
    assert refusal(client) == "AuthFailure.SignatureFailure"


def test_moved_timestamp_is_refused(simulate):
    def change(request):
        request.header["X-TC-Timestamp"] = str(int(request.header["X-TC-Timestamp"]) + 1)

    client = sdk(simulate)
    tamper_before_sending(client, change)
    assert refusal(client) == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize(
    ("signed", "named"),
    [
        pytest.param({"Host": "127.0.0.1:443"}, "host", id="host-with-another-port"),
        pytest.param({"Host": "faceid.tencentcloudapi.com"}, "host", id="host-of-the-vendor"),
        pytest.param({"Content-Type": "application/json; charset=utf-8"}, "content-type", id="charset"),
    ],
)
def test_log_names_the_line_that_a_signer_got_wrong(simulate, signed, named):
    before = simulate.log_text()
    client = sdk(simulate)
    sign_with_headers(client, **signed)
    assert refusal(client) == "AuthFailure.SignatureFailure"

    simulate.wait_until(
        "the explanation in the log",
        lambda: f"canonical request, {named} differs" in simulate.log_text()[len(before) :],
    )


def test_log_holds_neither_key_nor_person(simulate):
    client = sdk(simulate)
    opened = detect_auth(client)
    refusal(sdk(simulate, secret_key=SECRET_KEY + "x"))
    log = simulate.log_text()
    for secret in (SECRET_KEY, NAME, ID_NUMBER, opened.BizToken):
        assert secret not in log

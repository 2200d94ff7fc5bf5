"""The vendor's official SDK for Node.js against the simulator. It signs a Host without its port, and a GET as well as a POST."""

import json
import os
import pathlib
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import ID_NUMBER, NAME
from processes import ROOT

SCRIPT = pathlib.Path(__file__).parent / "node/call.js"
MODULES = ROOT / ".tools/node/node_modules"
METHODS = ["POST", "GET"]


def call(simulate, method, action, request, secret_key=SECRET_KEY):
    assert MODULES.is_dir(), f"{MODULES} is missing: run scripts/test outside"
    order = {
        "address": simulate.simulator.address, "secretId": SECRET_ID, "secretKey": secret_key, "method": method,
        "action": action, "request": request,
    }  # fmt: skip
    env = {"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES)}
    done = subprocess.run(
        ["node", SCRIPT], input=json.dumps(order), capture_output=True, text=True, encoding="utf-8", env=env, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answer(simulate, method, action, request):
    told = call(simulate, method, action, request)
    assert "answer" in told, told
    return told["answer"]


@pytest.fixture(autouse=True)
def well_again(simulate):
    yield
    simulate.simulator.reset()


@pytest.mark.parametrize("method", METHODS)
def test_a_verification_goes_the_whole_way(simulate, method):
    order = {"RuleId": "1", "Name": NAME, "IdCard": ID_NUMBER, "RedirectUrl": "https://shop.example.com/a?b=1 2&c=%E5%BC%A0"}
    order["Config"] = {"Speed": 2, "MouthOpenRecognition": False}
    opened = answer(simulate, method, "DetectAuth", order)
    assert opened["Url"].startswith("http") and opened["RequestId"]
    seq = simulate.simulator.attempt(opened["BizToken"], 0)["seq"]

    ask = {"BizToken": opened["BizToken"], "RuleId": "1", "InfoType": "13", "BestFramesCount": 1, "IsReturnAllVideo": False}
    told = answer(simulate, method, "GetDetectInfoEnhanced", ask)
    assert (told["Text"]["ErrCode"], told["Text"]["Name"], told["IsVerifyIntention"]) == (0, NAME, False)
    assert [detail["Seq"] for detail in told["Text"]["LivenessDetail"]] == [seq]
    assert len(told["BestFrame"]["BestFrames"]) == 1

    simulate.simulator.advance_clock(2 * 86_400)
    # The SDK's own clock is two days behind now, and its signature is too old.
    refused = call(simulate, method, "GetWeChatBillDetails", {"Date": "2026-01-01", "Cursor": 0})
    assert refused["code"] == "AuthFailure.SignatureExpire" and refused["requestId"]


@pytest.mark.parametrize("method", METHODS)
def test_a_bill_of_a_day_is_told(simulate, method):
    # Moved back the attempt is one of the day before yesterday, whose bill is ready.
    simulate.simulator.advance_clock(-2 * 86_400)
    extra = simulate.simulator.control("POST", "/bill", {"extra_token": {"rule_id": "1", "charges": 2}})
    (first, *_) = simulate.simulator.control("GET", "/ledger")
    simulate.simulator.advance_clock(2 * 86_400)
    bill = answer(simulate, method, "GetWeChatBillDetails", {"Date": beijing_date(first["req_time_ms"]), "Cursor": 0})
    (token,) = bill["WeChatBillDetails"]
    assert (token["BizToken"], token["ChargeCount"], bill["HasNextPage"]) == (extra["biz_token"], 2, False)
    assert [charge["ErrorCode"] for charge in token["ChargeDetails"]] == ["2016", "0"]


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_key_is_refused_with_a_request_id(simulate, method):
    refused = call(simulate, method, "DetectAuth", {"RuleId": "1"}, secret_key=SECRET_KEY + "x")
    assert refused["code"] == "AuthFailure.SignatureFailure" and refused["requestId"]


@pytest.mark.parametrize("method", METHODS)
def test_lists_and_objects_arrive_as_they_were(simulate, method):
    order = {"RuleId": "4", "Name": NAME, "IdCard": ID_NUMBER}
    order["IntentionQuestions"] = [{"Question": "您同意吗", "Answers": ["同意", "是"]}, {"Question": "再问", "Answers": ["是"]}]
    opened = answer(simulate, method, "DetectAuth", order)
    simulate.simulator.attempt(opened["BizToken"], 0)
    told = answer(simulate, method, "GetDetectInfoEnhanced", {"BizToken": opened["BizToken"], "RuleId": "4", "InfoType": "16"})
    assert told["IntentionVerifyType"] == "0"
    assert told["IntentionQuestionResult"]["ResultCode"] == ["0", "0"], "two questions"


def beijing_date(ms):
    return datetime.fromtimestamp(ms / 1000, timezone(timedelta(hours=8))).date().isoformat()

"""The simulator's answers, field by field, against the vendor's published examples and against the official SDK's models."""

import json
import warnings

import pytest
from people import ID_NUMBER, NAME
from published import the_example
from sdk_models import fields_of, model, type_of
from tencentcloud.faceid.v20180301 import models
from test_node_sdk import beijing_date
from test_official_sdk import sdk

DAY_S = 86_400


@pytest.fixture(autouse=True)
def fresh(simulate):
    simulate.simulator.reset()


def ask(simulate, action, request):
    """The content of `Response`, also of an error, as it came."""
    return json.loads(sdk(simulate)._call(action, request, {}, {}).content)["Response"]


def opened(simulate, rule_id, **more):
    order = {"RuleId": rule_id, "Name": NAME, "IdCard": ID_NUMBER} | more
    return ask(simulate, "DetectAuth", order)


def shape(value, path="Response"):
    """The kinds of value at each place of an answer, all elements of a list taken together."""
    kinds = {bool: "flag", int: "number", float: "number", str: "text", list: "list", dict: "object", type(None): "null"}
    yield path, kinds[type(value)]
    if isinstance(value, dict):
        for name, child in value.items():
            yield from shape(child, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from shape(item, f"{path}[]")


def differences(answer, example):
    return sorted(set(shape(answer)) ^ set(shape(example.response)))


def test_a_token_that_is_opened_has_the_published_shape(simulate):
    assert differences(opened(simulate, "6"), the_example("DetectAuth")) == []


def test_a_refusal_has_the_published_shape(simulate):
    example = the_example("DetectAuth", error="InvalidParameterValue.RuleIdNotExist")
    refused = opened(simulate, "999")
    assert differences(refused, example) == []
    assert refused["Error"]["Code"] == example.error


def test_a_result_has_the_published_shape(simulate):
    # The example is one of a flow without photos of the card. Its request asks for text, and yet frames and a video came.
    example = the_example("GetDetectInfoEnhanced")
    token = opened(simulate, "6")["BizToken"]
    simulate.simulator.attempt(token, 0)
    frames = len(example.response["BestFrame"]["BestFrames"])
    request = {"BizToken": token, "RuleId": "6", "InfoType": "134", "BestFramesCount": frames}
    assert differences(ask(simulate, "GetDetectInfoEnhanced", request), example) == []


def test_a_token_that_is_not_known_is_refused_in_the_published_shape(simulate):
    example = the_example("GetDetectInfoEnhanced", error="InvalidParameter")
    refused = ask(simulate, "GetDetectInfoEnhanced", example.request | {"RuleId": "1"})
    assert differences(refused, example) == []
    assert refused["Error"] == example.response["Error"]


def test_a_bill_that_is_refused_has_the_published_shape(simulate):
    example = the_example("GetWeChatBillDetails", error="InvalidParameterValue.RuleIdNotExist")
    refused = ask(simulate, "GetWeChatBillDetails", {"Date": "2026-01-01", "Cursor": 0, "RuleId": "23"})
    assert differences(refused, example) == []
    assert refused["Error"]["Code"] == example.error


def test_a_bill_has_the_published_shape(simulate):
    simulator = simulate.simulator
    simulator.advance_clock(-2 * DAY_S)
    for _ in range(2):
        simulator.control("POST", "/bill", {"page_size": 1, "extra_token": {"rule_id": "1", "charges": 1}})
    day = beijing_date(simulator.control("GET", "/ledger")[0]["req_time_ms"])
    simulator.advance_clock(2 * DAY_S)
    cursor = 0
    for title in ("第一页", "后续页"):
        page = ask(simulate, "GetWeChatBillDetails", {"Date": day, "Cursor": cursor})
        example = the_example("GetWeChatBillDetails", title=title)
        assert differences(page, example) == []
        assert page["HasNextPage"] is example.response["HasNextPage"]
        cursor = page["NextCursor"]


@pytest.mark.parametrize("form", ["published", "nulls", "sparse"])
@pytest.mark.parametrize("rule_id", ["1", "2", "3", "4", "5", "6"])
def test_every_field_is_one_of_the_models_and_of_its_type(simulate, form, rule_id):
    simulate.simulator.control("POST", "/shape", {"shape": form})
    more = {"ImageBase64": "/9j/4AAQSkZJRgABAQAAAQABAAD/2Q=="} if rule_id == "2" else {}
    for codes in ([], [301], [302], [1004], [2016, 0]):
        token = opened(simulate, rule_id, **more)["BizToken"]
        for code in codes:
            simulate.simulator.attempt(token, code)
        request = {"BizToken": token, "RuleId": rule_id, "BestFramesCount": 2, "IsReturnAllVideo": True}
        answer = ask(simulate, "GetDetectInfoEnhanced", request | {"IsCutIdCardImage": True, "IsNeedIdCardAvatar": True})
        assert answer.get("Text", {}).get("ErrCode") == (codes[-1] if codes else None)
        assert list(unlike_the_model(answer, "GetDetectInfoEnhancedResponse", "Response")) == []


def unlike_the_model(value, kind, path):
    """The places at which a value is not of the type that the models say."""
    if value is None:
        return
    if of := model(kind):
        for name, child in value.items():
            if name not in fields_of(of):
                yield f"{path}.{name} is not published"
            else:
                yield from unlike_the_model(child, type_of(of, name), f"{path}.{name}")
    elif kind.startswith("list of "):
        for at, item in enumerate(value if isinstance(value, list) else [{}]):
            yield from unlike_the_model(item, kind.removeprefix("list of "), f"{path}[{at}]")
    elif type(value).__name__ != kind:
        yield f"{path} is {type(value).__name__} and not {kind}"


def test_the_odd_form_is_odd_and_the_sdk_reads_it_all_the_same(simulate):
    simulate.simulator.control("POST", "/shape", {"shape": "odd"})
    token = opened(simulate, "1")["BizToken"]
    simulate.simulator.attempt(token, 0)
    request = {"BizToken": token, "RuleId": "1", "InfoType": "1"}
    answer = ask(simulate, "GetDetectInfoEnhanced", request)
    odd = list(unlike_the_model(answer, "GetDetectInfoEnhancedResponse", "Response"))
    assert "Response.Text.ErrCode is str and not int" in odd and len(odd) > 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = models.GetDetectInfoEnhancedResponse()
        read._deserialize(answer)
    assert (read.Text.ErrCode, read.Text.LivenessDetail[0].Seq) == ("0", "")

"""Each published field of an answer, with each kind of value in its place: the verdict changes for the fields that decide it, and
for no other.

The fields and their types are those of the official SDK's models.
"""

import copy
import json
import re

import grpc
import pytest
import scripted
from google.protobuf import json_format
from reflected import state_of
from sdk_models import fields_of, model, type_of

ABSENT = object()
# Numbers that can be found again in what is told.
VALUES = {
    "absent": ABSENT,
    "null": None,
    "an empty text": "",
    "an empty object": {},
    "an empty list": [],
    "a number": 7654321,
    "a large number": 7654321 << 32,
    "a fraction": 765.4321,
    "a text": "text-7654321",
    "a flag": True,
    "a tree": {"Deep": [7654321, {"Deeper": None}]},
}
NOTHING = ("absent", "null", "an empty text")

# Texts of a published form. All other texts are only themselves.
TEXTS = {
    "Text.Sim": "95.51",
    "Text.LivenessDetail[0].Sim": "95.51",
    "Text.LivenessDetail[0].ReqTime": "1730444265275",
    "Text.IdCard": "11010519491231002X",
    "Text.LivenessDetail[0].Idcard": "11010519491231002X",
    "IntentionVerifyType": "",
    "EncryptedBody": "",
}
# Base64 of the beginning of a JPEG and of an MP4.
PHOTO, VIDEO = "/9j/4AAQSkZJRgABAQAAAQABAAD/2Q==", "AAAAGGZ0eXBpc29tAAACAGlzb21pc28y"
MEDIA = {
    "Avatar": PHOTO, "BestFrame": PHOTO, "BestFrames": PHOTO, "IntentionVerifyBestFrame": PHOTO, "OcrBack": PHOTO,
    "OcrFront": PHOTO, "ProcessedBackImage": PHOTO, "ProcessedFrontImage": PHOTO, "ScreenShot": PHOTO,
    "IntentionVerifyVideo": VIDEO, "LivenessVideo": VIDEO, "Video": VIDEO, "Audios": VIDEO, "IntentionVerifyAudio": VIDEO,
}  # fmt: skip


def is_medium(path):
    """Whether this is a medium, or an object of a list of media."""
    return re.sub(r"\[\d+\]", "", path).rpartition(".")[2] in MEDIA or re.search(r"LivenessVideos|\.Details", path)


def is_about_the_call(path):
    """Whether this is about the call, and no finding."""
    return path == "RequestId" or path.startswith("Encryption")


# The flow, what its vendor says of the intention step, and the field in which it says how the step ended.
STEPS = {
    "bare": (False, "", None),
    "questions": (True, "0", "IntentionQuestionResult.FinalResultDetailCode"),
    "nods": (True, "1", "IntentionActionResult.FinalResultDetailCode"),
    "read-aloud": (True, "2", "IntentionVerifyData.ErrorCode"),
}


def example_of(kind, path):
    """A value of a type of the models, with every field that it has."""
    if of := model(kind):
        return {name: example_of(type_of(of, name), f"{path}.{name}".lstrip(".")) for name in fields_of(of)}
    if item := re.fullmatch(r"list of (.+)", kind):
        return [example_of(item[1], f"{path}[0]")]
    name = re.sub(r"\[\d+\]", "", path).rpartition(".")[2]
    return {"str": TEXTS.get(path, MEDIA.get(name, f"{name} 文")), "int": 0, "bool": True}[kind]


def passing(flow):
    """An answer, every field of it, of a person who passed. Steps that were not taken have codes of failures."""
    answer = example_of("GetDetectInfoEnhancedResponse", "")
    answer["Encryption"] = {"Algorithm": "", "CiphertextBlob": "", "EncryptList": [], "Iv": "", "TagList": []}
    answer["Text"]["LivenessInfoTag"] = ["01"]
    for _, _, code in STEPS.values():
        if code:
            put(answer, code, -999)
    answer["IsVerifyIntention"], answer["IntentionVerifyType"], code = STEPS[flow]
    if code:
        put(answer, code, 0)
    return answer


def paths(value, path=""):
    """Every place of an answer, containers included, but the elements of lists of texts."""
    for name, child in value.items():
        at = f"{path}.{name}".lstrip(".")
        yield at
        if isinstance(child, dict):
            yield from paths(child, at)
        elif isinstance(child, list) and child and isinstance(child[0], dict):
            yield from paths(child[0], f"{at}[0]")


def put(answer, path, value):
    *way, name = re.sub(r"\[(\d+)\]", r".\1", path).split(".")
    place = answer
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    if value is ABSENT:
        del place[name]
    else:
        place[name] = copy.deepcopy(value)


def changed(flow, path, value):
    answer = passing(flow)
    put(answer, path, value)
    return answer


def deciders(flow):
    """The fields on which the verdict of a flow rests, the objects around them included."""
    code = STEPS[flow][2]
    step = {"IntentionVerifyType", code, code.split(".")[0]} if code else set()
    return {"Text", "Text.ErrCode", "IsVerifyIntention"} | step


def others(flow):
    return [path for path in paths(passing(flow)) if path not in deciders(flow)]


@pytest.fixture(scope="module")
def gateway(binary, run, module_folder):
    with scripted.gateway(binary, run, module_folder) as gateway:
        yield gateway
        assert gateway.vendor.problems == []


def test_the_fields_are_those_that_are_published():
    found = list(paths(passing("bare")))
    assert len(found) > 90 and len(set(found)) == len(found)
    for name in ("Text.LivenessDetail[0].IsNeedCharge", "IntentionActionResult.Details[0].Video", "Text.NFCBillingCounts"):
        assert name in found


@pytest.mark.parametrize("flow", STEPS)
def test_the_answer_that_is_changed_is_one_of_a_person_who_passed(gateway, flow):
    assert gateway.verdict(passing(flow), flow) == "PASSED"


@pytest.mark.parametrize("path", others("bare"))
def test_a_field_that_decides_nothing_changes_nothing(gateway, path):
    assert vetoes(gateway, "bare", path) == {}


@pytest.mark.parametrize("path", others("read-aloud"))
def test_a_field_that_decides_nothing_changes_nothing_with_an_intention_step(gateway, path):
    assert vetoes(gateway, "read-aloud", path) == {}


def vetoes(gateway, flow, path):
    """The values at `path` that keep a person from passing, and what becomes of the person."""
    verdicts = {name: gateway.verdict(changed(flow, path, value), flow) for name, value in VALUES.items()}
    return {name: verdict for name, verdict in verdicts.items() if verdict != "PASSED"}


@pytest.mark.parametrize("path", [path for path in others("bare") if not is_medium(path) and not is_about_the_call(path)])
def test_a_value_that_has_no_place_is_told_all_the_same(gateway, path):
    assert lost(gateway, path) == []


@pytest.mark.parametrize("path", [path for path in others("bare") if is_medium(path)])
def test_a_medium_that_has_no_place_is_told_all_the_same(gateway, path):
    assert lost(gateway, path) == []


def lost(gateway, path):
    """The values at `path` that are told nowhere in the result."""
    return [name for name in ("a number", "a fraction", "a text", "a tree") if not is_told(gateway, path, VALUES[name])]


def is_told(gateway, path, value):
    try:
        told = gateway.asked(changed("bare", path, value)).result
    except grpc.RpcError:
        return False
    return re.search(r"7654321|765\.4321", json.dumps(json_format.MessageToDict(told))) is not None


@pytest.mark.parametrize("flow", STEPS)
@pytest.mark.parametrize("path", ["Text", "Text.ErrCode"])
def test_without_the_code_of_the_face_nobody_passes(gateway, flow, path):
    verdicts = {name: gateway.verdict(changed(flow, path, value), flow) for name, value in VALUES.items()}
    assert {name: verdicts[name] for name in NOTHING} == dict.fromkeys(NOTHING, "PENDING")
    assert "PASSED" not in verdicts.values() and "FAILED" not in verdicts.values(), verdicts


@pytest.mark.parametrize(
    ("code", "state"),
    [(0, "PASSED"), ("0", "PASSED"), (2016, "PENDING"), ("2016", "PENDING"), (2**31 + 5, "PENDING"), (-1, "PENDING")],
)
def test_the_code_of_the_face_decides_in_every_spelling(gateway, code, state):
    told = gateway.asked(changed("bare", "Text.ErrCode", code))
    assert state_of(told.verification) == state
    if code in (2016, "2016"):
        assert told.verification.last_attempt.code == 2016


def test_without_a_word_about_the_step_the_face_decides_where_there_is_none(gateway):
    verdicts = {name: gateway.verdict(changed("bare", "IsVerifyIntention", VALUES[name])) for name in NOTHING}
    assert verdicts == dict.fromkeys(NOTHING, "PASSED")


def test_a_step_that_the_flow_does_not_know_of_counts_when_the_vendor_says_that_it_is_on(gateway):
    on = changed("bare", "IsVerifyIntention", True)
    assert gateway.verdict(on) != "PASSED", "its code is one of a failure"
    put(on, "IntentionVerifyType", "2")
    put(on, "IntentionVerifyData.ErrorCode", 0)
    assert gateway.verdict(on) == "PASSED"


@pytest.mark.parametrize("flow", [flow for flow, step in STEPS.items() if step[0]])
def test_nobody_passes_without_the_consent_that_the_flow_demands(gateway, flow):
    is_on, kind, code = STEPS[flow]
    passed = []
    for path in sorted(deciders(flow) - {"Text", "Text.ErrCode"}):
        for name, value in VALUES.items():
            right = (path, name) == ("IsVerifyIntention", "a flag")
            # Which mode it was may go without saying: the flow has one.
            unsaid = path == "IntentionVerifyType" and (name in NOTHING or value in ({}, []))
            if not right and not unsaid and gateway.verdict(changed(flow, path, value), flow) == "PASSED":
                passed.append((path, name))
    for other in {"0", "1", "2"} - {kind}:
        if gateway.verdict(changed(flow, "IntentionVerifyType", other), flow) == "PASSED":
            passed.append(("IntentionVerifyType", other))
    for failed in (-301, "-301", 1):
        if gateway.verdict(changed(flow, code, failed), flow) == "PASSED":
            passed.append((code, failed))
    if gateway.verdict(changed(flow, "IsVerifyIntention", False), flow) == "PASSED":
        passed.append(("IsVerifyIntention", False))
    assert passed == []


@pytest.mark.parametrize("flow", [flow for flow, step in STEPS.items() if step[0]])
def test_the_code_of_the_consent_decides_in_every_spelling(gateway, flow):
    _, kind, code = STEPS[flow]
    assert gateway.verdict(changed(flow, code, "0"), flow) == "PASSED"
    assert gateway.verdict(changed(flow, "IntentionVerifyType", int(kind)), flow) == "PASSED"


@pytest.mark.parametrize("name", VALUES)
def test_what_a_token_is_opened_with_may_lack_all_but_token_and_url(gateway, name):
    opened = gateway.vendor.open_token(None)
    more = {"RequestId": VALUES[name], "More": VALUES[name]}
    gateway.vendor.script("DetectAuth", opened | {key: value for key, value in more.items() if value is not ABSENT})
    try:
        assert gateway.create().biz_token == opened["BizToken"]
    finally:
        gateway.vendor.script("DetectAuth", gateway.vendor.open_token)


@pytest.mark.parametrize("field", ["BizToken", "Url"])
@pytest.mark.parametrize("name", [name for name in VALUES if name != "a text"])
def test_no_token_is_opened_without_token_and_url(gateway, field, name):
    value = VALUES[name]
    if field == "BizToken" and isinstance(value, (int, float)) and value is not True:
        value = {"Number": value}  # a number may be read as a text
    asked = len(gateway.vendor.calls_of("DetectAuth"))
    opened = {"BizToken": "T", "Url": "https://vendor.example.com/h5", field: value}
    gateway.vendor.script("DetectAuth", {key: value for key, value in opened.items() if value is not ABSENT})
    try:
        refusal = gateway.client.refusal("CreateVerification", {"flow": "bare"})
        assert refusal.code == grpc.StatusCode.UNAVAILABLE
        assert len(gateway.vendor.calls_of("DetectAuth")) > asked
    finally:
        gateway.vendor.script("DetectAuth", gateway.vendor.open_token)

"""Encrypted answers in the form that the vendor's own crypto samples show: what is encrypted is named by path, also inside of
`LivenessDetail`, and beside it stand fields that nobody publishes. Keys and ciphertexts are made here.
"""

import contextlib
import types

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import ID_NUMBER, NAME
from processes import ServeConfig, ServeProcess
from reflected import Refusal, ReflectedClient, state_of
from test_encryption import AES, CIPHERS, SM4, MiniVendor, flow, seal

PERSONAL = {
    "Text.IdCard": ID_NUMBER,
    "Text.Name": NAME,
    "Text.OcrIdCard": ID_NUMBER,
    "Text.OcrName": NAME,
    "Text.LivenessDetail[0].Idcard": ID_NUMBER,
    "Text.LivenessDetail[0].Name": NAME,
}
FLOWS = {AES: "aes", SM4: "sm4"}


def answer(code):
    """An answer in the clear, of a person whose one attempt ended with `code`."""
    outcome = {"Comparestatus": code, "Comparemsg": "比对结果", "CompareLibType": "权威库", "LivenessMode": 3, "Sim": "0.00"}
    detail = outcome | {
        "Errcode": code, "Errmsg": "结果", "Idcard": None, "IsNeedCharge": True, "Livemsg": "成功", "Livestatus": 0,
        "Name": None, "ReqTime": "1692272463607", "Seq": "6b5f0f0e-invented",
    }  # fmt: skip
    text = outcome | {
        "ErrCode": code, "ErrMsg": "结果", "Extra": "", "IdCard": None, "IdInfoFrom": "手动输入", "LiveMsg": "成功",
        "LiveStatus": 0, "LivenessDetail": [detail], "Location": None, "Mobile": "", "NFCBillingCounts": 0,
        "NFCRequestIds": [], "Name": None, "OcrIdCard": None, "OcrName": None, "OcrNation": None, "PassNo": None,
        "UseIDType": 0, "VisaNum": None,
    }  # fmt: skip
    return {
        "Text": text, "BestFrame": None, "BucketName": "", "IdCardData": None, "IntentionActionResult": None,
        "IntentionQuestionResult": None, "IntentionVerifyData": None, "IsCustomizeStorage": False, "VideoData": None,
    }  # fmt: skip


def put(content, path, value):
    place = content
    *way, name = path.replace("[", ".").replace("]", "").split(".")
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[name] = value


class SampleVendor(MiniVendor):
    """Answers in the form of the samples: `encrypted` by path, `clear` by path, and `listed` beside what is encrypted."""

    def __init__(self):
        super().__init__()
        self.code, self.encrypted, self.clear, self.listed = 0, PERSONAL, {}, []

    def answer(self, action, body):
        opened = super().answer(action, body)
        if action == "DetectAuth":
            return opened
        cipher = CIPHERS[opened["Encryption"]["Algorithm"]]
        clear = {f"Response.{path}": text for path, text in self.encrypted.items()}
        sealed, encryption = seal(cipher, self.keys[-1], clear)
        content = answer(self.code)
        for path, text in self.clear.items():
            put(content, path, text)
        for path, text in sealed.items():
            put(content, path.removeprefix("Response."), text)
        encryption["EncryptList"] += self.listed
        return content | {"Encryption": encryption}


@pytest.fixture(scope="module")
def vendor():
    vendor = SampleVendor()
    yield vendor
    vendor.server.shutdown()


@pytest.fixture(scope="module")
def client(binary, run, module_folder, vendor):
    folder = module_folder / "gateway"
    config = ServeConfig(folder, types.SimpleNamespace(url=vendor.url), SECRET_ID, SECRET_KEY)
    rsa_file = module_folder / "rsa.pem"
    rsa_file.write_text(vendor.rsa_pem(), encoding="utf-8")
    with config.file.open("a", encoding="utf-8") as file:
        file.write(flow(FLOWS[AES], "aes_256_cbc", f'public_key_file = "{rsa_file}"', "false"))
        file.write(flow(FLOWS[SM4], "sm4_gcm", f'public_key = "{vendor.sm2_point}"', "false"))
    with run(ServeProcess, binary, folder, config) as gateway, gateway.channel() as channel:
        yield ReflectedClient(channel)


@contextlib.contextmanager
def answering(vendor, **script):
    before = dict(vars(vendor))
    vars(vendor).update(script)
    try:
        yield
        assert vendor.problems == []
    finally:
        vars(vendor).update({name: before[name] for name in script})


def ask(client, algorithm):
    created = client.create(flow=FLOWS[algorithm], subject={"name": NAME, "id_number": ID_NUMBER})
    return client.result(created, view="RESULT_VIEW_FULL", fresh=True)


@pytest.mark.parametrize("algorithm", FLOWS)
@pytest.mark.parametrize(("code", "state"), [(0, "PASSED"), (2006, "PENDING")])
def test_what_an_answer_says_is_encrypted_is_opened_in_its_place(client, vendor, algorithm, code, state):
    with answering(vendor, code=code):
        told = ask(client, algorithm)
    assert state_of(told.verification) == state
    assert told.verification.last_attempt.code == code
    (attempt,) = told.result.attempts
    assert (attempt.name, attempt.id_number, attempt.charged) == (NAME, ID_NUMBER, True)
    assert (told.result.identity.name, told.result.identity.id_number) == (NAME, ID_NUMBER)
    assert (told.result.id_card.name, told.result.id_card.id_number) == (NAME, ID_NUMBER)


@pytest.mark.parametrize("algorithm", FLOWS)
def test_a_field_of_no_name_that_is_known_is_opened_too(client, vendor, algorithm):
    new = PERSONAL | {"Text.Mobile": "13800000000", "Text.PassNo": "H00000000"}
    with answering(vendor, encrypted=new):
        told = ask(client, algorithm)
    assert state_of(told.verification) == "PASSED"
    assert told.result.mobile == "13800000000"
    assert told.result.identity.travel_permit_number == "H00000000"


@pytest.mark.parametrize("algorithm", FLOWS)
@pytest.mark.parametrize("path", ["Text.Name", "Text.IdCard", "Text.OcrName", "Text.OcrIdCard"])
def test_what_was_to_be_encrypted_and_comes_in_the_clear_is_refused(client, vendor, algorithm, path):
    rest = {at: text for at, text in PERSONAL.items() if at != path}
    with answering(vendor, encrypted=rest, clear={path: PERSONAL[path]}):
        refusal = refused(client, algorithm)
    assert refusal.reason == "FLOW_MISCONFIGURED"
    assert NAME not in refusal.message and ID_NUMBER not in refusal.message


@pytest.mark.parametrize("listed", ["Response.Text.LivenessDetail[7].Name", "Response.No.Such[0].Field"])
def test_a_path_that_leads_nowhere_is_no_reason_to_lose_a_result(client, vendor, listed):
    with answering(vendor, listed=[listed]):
        told = ask(client, AES)
    assert state_of(told.verification) == "PASSED"
    assert told.result.identity.name == NAME


def refused(client, algorithm):
    try:
        told = ask(client, algorithm)
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"was not refused: {state_of(told.verification)}")

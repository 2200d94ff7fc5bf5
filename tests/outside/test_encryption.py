"""Field encryption, judged by ciphers that are not ours: `cryptography` (OpenSSL) and `gmssl`.

A vendor written here opens what the gateway sends and encrypts what it answers; a client written here does the same with the
simulator. So each of the two is held against a third, and not only against the other.
"""

import base64
import http.server
import json
import secrets
import subprocess
import sys
import threading
import types

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmssl import sm2
from people import ID_NUMBER, NAME
from processes import ROOT, ServeConfig, ServeProcess
from reflected import ReflectedClient, state_of
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.faceid.v20180301 import models
from test_official_sdk import sdk

AES, SM4 = "AES-256-CBC", "SM4-GCM"
# Of a key on the curve SM2, up to its point.
SM2_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")
PERSONAL = {"Text.IdCard": ID_NUMBER, "Text.Name": NAME, "Text.OcrIdCard": ID_NUMBER, "Text.OcrName": NAME}


def b64(data):
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


class Aes:
    """AES-256-CBC, PKCS#7."""

    name, key_bytes, iv_bytes = AES, 32, 16

    @staticmethod
    def encrypt(key, iv, clear):
        padder = padding.PKCS7(128).padder()
        encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
        return encryptor.update(padder.update(clear) + padder.finalize()) + encryptor.finalize(), None

    @staticmethod
    def decrypt(key, iv, ciphertext, tag):
        assert tag is None
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        unpadder = padding.PKCS7(128).unpadder()
        return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()


class Sm4:
    """SM4-GCM, the tags apart."""

    name, key_bytes, iv_bytes = SM4, 16, 12

    @staticmethod
    def encrypt(key, iv, clear):
        encryptor = Cipher(algorithms.SM4(key), modes.GCM(iv)).encryptor()
        return encryptor.update(clear) + encryptor.finalize(), encryptor.tag

    @staticmethod
    def decrypt(key, iv, ciphertext, tag):
        assert len(tag) == 16
        decryptor = Cipher(algorithms.SM4(key), modes.GCM(iv, tag)).decryptor()
        return decryptor.update(ciphertext) + decryptor.finalize()


CIPHERS = {AES: Aes, SM4: Sm4}


def seal(cipher, key, clear_by_path):
    """Ciphertexts by path, and the `Encryption` that belongs to them, without the wrapped key."""
    iv = secrets.token_bytes(cipher.iv_bytes)
    sealed, tags = {}, []
    for path, clear in clear_by_path.items():
        ciphertext, tag = cipher.encrypt(key, iv, clear.encode())
        sealed[path] = b64(ciphertext)
        tags += [b64(tag)] if tag else []
    return sealed, {"EncryptList": list(sealed), "Iv": b64(iv), "Algorithm": cipher.name, "TagList": tags}


def unseal(cipher, key, encryption, sealed_by_path):
    """Opens what is listed, each with the tag at its place."""
    assert encryption["Algorithm"] == cipher.name
    tags = [unb64(tag) for tag in encryption.get("TagList") or []]
    listed = encryption["EncryptList"]
    assert len(tags) == (len(listed) if cipher is Sm4 else 0), "one tag for each field"
    iv = unb64(encryption["Iv"])
    assert len(iv) == cipher.iv_bytes
    return {
        path: cipher.decrypt(key, iv, unb64(sealed_by_path[path]), tags[at] if tags else None).decode()
        for at, path in enumerate(listed)
    }


# --- The gateway, before a vendor written here ------------------------------------------------------------------------


class MiniVendor:
    """Answers DetectAuth and GetDetectInfoEnhanced, keeps the private keys, and notes the keys and texts of every call."""

    def __init__(self):
        self.rsa = rsa.generate_private_key(65537, 2048)
        private = f"{secrets.randbelow(2**255) + 1:064x}"
        public = sm2.CryptSM2(private, "")._kg(int(private, 16), sm2.default_ecc_table["g"])
        self.sm2 = sm2.CryptSM2(private, public, mode=1)  # C1C3C2
        self.sm2_point = "04" + public
        self.bodies, self.keys, self.opened, self.problems = [], [], [], []
        self.whole_asked = []
        vendor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    content = vendor.answer(self.headers["X-TC-Action"], body)
                except Exception as problem:  # noqa: BLE001: the test shows it
                    vendor.problems.append(problem)
                    content = {"Error": {"Code": "FailedOperation.DecryptSystemError", "Message": "see the test"}}
                answer = json.dumps({"Response": content | {"RequestId": "mini-1"}}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rsa_pem(self):
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.rsa.public_key().public_bytes(serialization.Encoding.PEM, public).decode()

    def unwrap(self, encryption):
        cipher, wrapped = CIPHERS[encryption["Algorithm"]], unb64(encryption["CiphertextBlob"])
        if cipher is Aes:
            key = self.rsa.decrypt(wrapped, rsa_padding.PKCS1v15())
        else:
            assert wrapped[0] == 4, "the point of C1 is not compressed"
            key = self.sm2.decrypt(wrapped[1:])
        assert len(key) == cipher.key_bytes and all(0x21 <= byte <= 0x7E for byte in key), "a printable key"
        self.keys.append(key)
        return cipher, key

    def answer(self, action, body):
        self.bodies.append(body)
        request = json.loads(body)
        encryption = request["Encryption"]
        cipher, key = self.unwrap(encryption)
        if action == "DetectAuth":
            self.opened.append(unseal(cipher, key, encryption, request))
            return {"BizToken": "MINI-" + secrets.token_hex(8), "Url": "https://vendor.example.com/h5"}
        assert action == "GetDetectInfoEnhanced"
        self.whole_asked.append(request.get("IsEncryptResponse", False))
        text = {"ErrCode": 0, "ErrMsg": "成功", "LiveStatus": 0, "Comparestatus": 0, "Sim": "98.10"}
        if request.get("IsEncryptResponse"):
            text |= {path.removeprefix("Text."): clear for path, clear in PERSONAL.items()}
            clear = json.dumps({"Text": text}, ensure_ascii=False)
            sealed, encryption = seal(cipher, key, {"EncryptedBody": clear})
            return sealed | {"Encryption": encryption}
        sealed, encryption = seal(cipher, key, {f"Response.{path}": clear for path, clear in PERSONAL.items()})
        text |= {path.removeprefix("Response.Text."): value for path, value in sealed.items()}
        return {"Text": text, "Encryption": encryption}


@pytest.fixture(scope="module")
def mini_vendor():
    vendor = MiniVendor()
    yield vendor
    vendor.server.shutdown()


def flow(name, algorithm, key_line, whole):
    return f"""
[[flows]]
name = "{name}"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = ["name", "id_number"]
redirect_allow = ["https://shop.example.com/"]
[flows.encryption]
algorithm = "{algorithm}"
{key_line}
whole_response = {whole}
"""


FLOWS = ["aes", "aes-whole", "sm4", "sm4-whole"]


@pytest.fixture(scope="module")
def gateway(binary, run, module_folder, mini_vendor):
    """The gateway in front of the vendor above; one key from a file, the other as the console shows it."""
    config = ServeConfig(module_folder / "gateway", types.SimpleNamespace(url=mini_vendor.url), SECRET_ID, SECRET_KEY)
    rsa_file = module_folder / "rsa.pem"
    rsa_file.write_text(mini_vendor.rsa_pem(), encoding="utf-8")
    keys = {
        "aes": ("aes_256_cbc", f'public_key_file = "{rsa_file}"'),
        "sm4": ("sm4_gcm", f'public_key = "{mini_vendor.sm2_point}"'),
    }
    with config.file.open("a", encoding="utf-8") as file:
        for name in FLOWS:
            file.write(flow(name, *keys[name[:3]], str(name.endswith("whole")).lower()))
    with run(ServeProcess, binary, module_folder / "gateway", config) as gateway:
        yield gateway


@pytest.mark.parametrize("name", FLOWS)
def test_another_vendor_opens_what_the_gateway_sends(gateway, mini_vendor, name):
    with gateway.channel() as channel:
        client = ReflectedClient(channel)
        subject = {"name": NAME, "id_number": ID_NUMBER}
        try:
            created = client.create(flow=name, subject=subject)
            told = client.result(created, view="RESULT_VIEW_FULL")
        except grpc.RpcError as error:
            raise AssertionError(f"{error.details()}; {mini_vendor.problems}") from error
    assert mini_vendor.problems == []
    assert mini_vendor.opened[-1] == {"IdCard": ID_NUMBER, "Name": NAME}
    assert mini_vendor.whole_asked[-1] is name.endswith("whole")
    assert state_of(told.verification) == "PASSED"
    assert (told.result.identity.name, told.result.identity.id_number) == (NAME, ID_NUMBER)
    assert (told.result.id_card.name, told.result.id_card.id_number) == (NAME, ID_NUMBER)


def test_no_call_reuses_a_key_and_none_carries_the_person(mini_vendor):
    assert len(mini_vendor.keys) >= 2 * len(FLOWS)
    assert len(set(mini_vendor.keys)) == len(mini_vendor.keys)
    for clear in (NAME, ID_NUMBER):
        forms = (clear.encode(), json.dumps(clear).encode()[1:-1], b64(clear.encode()).encode())
        assert not [body for body in mini_vendor.bodies for form in forms if form in body]


# --- The simulator, before a client written here ----------------------------------------------------------------------


class Session:
    """The key of a call, wrapped for the simulator."""

    def __init__(self, simulator, algorithm):
        public = simulator.control("GET", "/encryption")
        self.cipher = CIPHERS[algorithm]
        self.key = secrets.token_urlsafe(48)[: self.cipher.key_bytes].encode()
        if algorithm == AES:
            key = serialization.load_pem_public_key(public["rsa_public_key"].encode())
            wrapped = key.encrypt(self.key, rsa_padding.PKCS1v15())
        else:
            lines = public["sm2_public_key"].strip().splitlines()
            der = unb64("".join(lines[1:-1]))
            assert der.startswith(SM2_SPKI) and der[len(SM2_SPKI)] == 4
            point = der[len(SM2_SPKI) + 1 :]
            wrapped = b"\x04" + sm2.CryptSM2("", point.hex(), mode=1).encrypt(self.key)
        self.wrapped = b64(wrapped)

    def encryption(self, **more):
        encryption = models.Encryption()
        for name, value in ({"CiphertextBlob": self.wrapped, "Algorithm": self.cipher.name} | more).items():
            setattr(encryption, name, value)
        return encryption


def encrypted_request(session, name=NAME, spoil=lambda sealed, encryption: None):
    sealed, encryption = seal(session.cipher, session.key, {"Name": name, "IdCard": ID_NUMBER})
    spoil(sealed, encryption)
    request = models.DetectAuthRequest()
    request.RuleId = "1"
    request.Name, request.IdCard = sealed["Name"], sealed["IdCard"]
    request.Encryption = session.encryption(**encryption)
    return request


def get_result(client, biz_token, session, whole):
    request = models.GetDetectInfoEnhancedRequest()
    request.BizToken, request.RuleId, request.InfoType = biz_token, "1", "1"
    request.Encryption = session.encryption(EncryptList=[], Iv=b64(secrets.token_bytes(session.cipher.iv_bytes)))
    if whole:
        request.IsEncryptResponse = True
    return client.GetDetectInfoEnhanced(request)


@pytest.mark.parametrize("algorithm", [AES, SM4])
def test_another_client_is_understood_by_the_simulator_and_opens_its_answers(simulate, algorithm):
    client, simulator = sdk(simulate), simulate.simulator
    opened = client.DetectAuth(encrypted_request(Session(simulator, algorithm)))
    token = next(t for t in simulator.control("GET", "/tokens") if t["biz_token"] == opened.BizToken)
    assert (token["encryption"], token["identity_legible"]) == (algorithm, False)
    simulator.attempt(opened.BizToken, 0)

    session = Session(simulator, algorithm)
    answer = get_result(client, opened.BizToken, session, whole=False)
    fields = {f"Response.{path}": getattr(answer.Text, path.removeprefix("Text.")) for path in PERSONAL}
    assert not set(fields.values()) & {NAME, ID_NUMBER}
    clear = unseal(session.cipher, session.key, vars_of(answer.Encryption), fields)
    assert clear == {f"Response.{path}": value for path, value in PERSONAL.items()}

    session = Session(simulator, algorithm)
    answer = get_result(client, opened.BizToken, session, whole=True)
    assert answer.Text is None
    clear = unseal(session.cipher, session.key, vars_of(answer.Encryption), {"EncryptedBody": answer.EncryptedBody})
    text = json.loads(clear["EncryptedBody"])["Text"]
    assert (text["ErrCode"], text["Name"], text["OcrIdCard"]) == (0, NAME, ID_NUMBER)


def vars_of(model):
    return {name: getattr(model, name) for name in ("EncryptList", "Iv", "Algorithm", "TagList")}


def shorten(sealed, _):
    sealed["Name"] = b64(unb64(sealed["Name"])[:-1])


def swap_tags(_, encryption):
    encryption["TagList"].reverse()


def repeat_first_tag(_, encryption):
    encryption["TagList"] = encryption["TagList"][:1] * 2


def list_another_field(_, encryption):
    encryption["EncryptList"][0] = "RuleId"


@pytest.mark.parametrize(
    ("algorithm", "spoil", "code"),
    [
        (AES, shorten, "FailedOperation.DecryptSystemError"),
        (SM4, shorten, "FailedOperation.DecryptSystemError"),
        (SM4, swap_tags, "FailedOperation.DecryptSystemError"),
        (SM4, repeat_first_tag, "FailedOperation.DecryptSystemError"),
        (AES, list_another_field, "InvalidParameter.UnsupportEncryptField"),
    ],
)
def test_the_simulator_refuses_what_does_not_open(simulate, algorithm, spoil, code):
    request = encrypted_request(Session(simulate.simulator, algorithm), spoil=spoil)
    with pytest.raises(TencentCloudSDKException) as caught:
        sdk(simulate).DetectAuth(request)
    assert caught.value.code == code


def test_the_vectors_hold():
    script = ROOT / "tests/vectors/encryption/make_vectors.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

"""Makes encryption.json: known answers for field encryption, by implementations that are not ours.

`--check` makes nothing: it opens what the file holds with the same implementations, and makes again what is not random.
"""

import base64
import json
import pathlib
import secrets
import sys

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmssl import sm2

FILE = pathlib.Path(__file__).with_name("encryption.json")

# SubjectPublicKeyInfo of a key on the curve SM2 (1.2.156.10197.1.301), up to the point.
SM2_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")

# Everything here is invented. The last name is beyond the first plane of Unicode; the lengths lie on both sides of a block.
CLEAR = ["11010519491231002X", "张三", "欧阳一二三", "0123456789abcdef", "𠮷" * 32, '{"Text":{"ErrCode":0}}']


def b64(data):
    return base64.b64encode(data).decode()


def aes_cbc(key, iv, clear):
    padder = padding.PKCS7(128).padder()
    return aes_cbc_padded(key, iv, padder.update(clear) + padder.finalize())


def aes_cbc_padded(key, iv, padded):
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def sm4_gcm(key, iv, clear):
    encryptor = Cipher(algorithms.SM4(key), modes.GCM(iv)).encryptor()
    return encryptor.update(clear) + encryptor.finalize(), encryptor.tag


def bad_paddings(key, iv):
    """Blocks that end in what is no PKCS#7 padding; the last byte alone of some would pass for one."""
    block = b"0123456789abcdef"
    endings = [b"\x00", b"\x11", b"\x02\x01\x02"[1:], b"\x03\x02\x03", b"\x00" * 3 + b"\x04", b"\x0f" + b"\x10" * 15]
    endings += [b"\xff", b"\x20" * 16]
    return [b64(aes_cbc_padded(key, iv, block[: 16 - len(ending)] + ending)) for ending in endings]


def sm2_pair(private_hex):
    public_hex = sm2.CryptSM2(private_hex, "")._kg(int(private_hex, 16), sm2.default_ecc_table["g"])
    return sm2.CryptSM2(private_hex, public_hex, mode=1), public_hex  # mode 1: C1C3C2


def make_aes():
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key()
    # The vendor's own key has been seen with this length.
    short = rsa.generate_private_key(65537, 1024)
    spki, pkcs1 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1

    def pem(key, form):
        return key.public_bytes(serialization.Encoding.PEM, form).decode()

    vectors = []
    for clear in CLEAR:
        key, iv = secrets.token_urlsafe(24).encode(), secrets.token_bytes(16)
        vectors.append(
            {
                "clear": clear,
                "key": key.decode(),
                "iv": b64(iv),
                "ciphertext": b64(aes_cbc(key, iv, clear.encode())),
                "wrapped_key": b64(public.encrypt(key, rsa_padding.PKCS1v15())),
            }
        )
    first = vectors[0]
    return {
        "private_key_pkcs8": b64(
            private.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        ),
        "public_keys": [pem(public, spki), pem(public, pkcs1), b64(pem(public, pkcs1).encode())],
        "short_public_key": pem(short.public_key(), pkcs1),
        "vectors": vectors,
        "bad_paddings": bad_paddings(first["key"].encode(), base64.b64decode(first["iv"])),
    }


def make_sm4():
    private_hex = f"{secrets.randbelow(2**255) + 1:064x}"
    crypt, public_hex = sm2_pair(private_hex)
    point = b"\x04" + bytes.fromhex(public_hex)
    pem = f"-----BEGIN PUBLIC KEY-----\n{base64.encodebytes(SM2_SPKI + point).decode()}-----END PUBLIC KEY-----\n"
    vectors = []
    for clear in CLEAR:
        key, iv = secrets.token_urlsafe(12).encode(), secrets.token_bytes(12)
        ciphertext, tag = sm4_gcm(key, iv, clear.encode())
        vectors.append(
            {
                "clear": clear,
                "key": key.decode(),
                "iv": b64(iv),
                "ciphertext": b64(ciphertext),
                "tag": b64(tag),
                "wrapped_key": b64(b"\x04" + crypt.encrypt(key)),
            }
        )
    return {
        "private_key_hex": private_hex,
        "public_keys": [pem, b64(pem.encode()), point.hex(), point.hex().upper()],
        "vectors": vectors,
    }


def check(made):
    private = serialization.load_der_private_key(base64.b64decode(made["aes_256_cbc"]["private_key_pkcs8"]), None)
    for vector in made["aes_256_cbc"]["vectors"]:
        key, iv = vector["key"].encode(), base64.b64decode(vector["iv"])
        assert private.decrypt(base64.b64decode(vector["wrapped_key"]), rsa_padding.PKCS1v15()) == key, vector
        assert b64(aes_cbc(key, iv, vector["clear"].encode())) == vector["ciphertext"], vector
    first = made["aes_256_cbc"]["vectors"][0]
    again = bad_paddings(first["key"].encode(), base64.b64decode(first["iv"]))
    assert again == made["aes_256_cbc"]["bad_paddings"]

    crypt, _ = sm2_pair(made["sm4_gcm"]["private_key_hex"])
    for vector in made["sm4_gcm"]["vectors"]:
        key, iv = vector["key"].encode(), base64.b64decode(vector["iv"])
        assert crypt.decrypt(base64.b64decode(vector["wrapped_key"])[1:]) == key, vector
        ciphertext, tag = sm4_gcm(key, iv, vector["clear"].encode())
        assert (b64(ciphertext), b64(tag)) == (vector["ciphertext"], vector["tag"]), vector


if sys.argv[1:] == ["--check"]:
    check(json.loads(FILE.read_text(encoding="utf-8")))
else:
    made = {"aes_256_cbc": make_aes(), "sm4_gcm": make_sm4()}
    check(made)
    FILE.write_text(json.dumps(made, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

#!/usr/bin/env python3
"""Writes tc3.json: what the vendor's official Python SDK signs, step by step.

Nothing of TC3 is computed here. The SDK's own client builds and signs each request; this script only stands at three
places of it and writes down what passes:

- `hashlib.sha256`, as the SDK's client sees it: called once with the body and once with the canonical request;
- `Sign.sign_tc3`: called with the string to sign, answers with the signature;
- `send_request`: gets the finished request, Authorization included, and sends it nowhere.

The clock that the SDK reads is a constant of each vector. See README.md beside this file.
"""

import argparse
import hashlib
import importlib.metadata
import json
import pathlib
import sys
import types
from datetime import datetime, timezone
from unittest import mock

from tencentcloud.common import abstract_client
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.faceid.v20180301.faceid_client import FaceidClient

VECTORS_FILE = pathlib.Path(__file__).with_name("tc3.json")

SDK_VERSIONS = {
    "tencentcloud-sdk-python-common": "3.1.195",
    "tencentcloud-sdk-python-faceid": "3.1.179",
}

HOST = "faceid.tencentcloudapi.com"


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())


# Every secret here is invented, and says so.
CASES = [
    {
        "name": "plain_ascii",
        "about": "An everyday DetectAuth, all ASCII.",
        "timestamp": utc("2026-03-14T15:09:26"),
        "action": "DetectAuth",
        "params": {"RuleId": "1", "RedirectUrl": "https://shop.example.com/back?order=42&lang=en"},
    },
    {
        "name": "names_escaped",
        "about": "Names beyond ASCII as the SDK writes them: \\u escapes, a surrogate pair for the 4-byte character.",
        "timestamp": utc("2026-03-14T15:09:26"),
        "action": "DetectAuth",
        "params": {"RuleId": "1", "Name": "张三𠮷", "IdCard": "11010519491231002X", "Extra": "línea \"2\""},
    },
    {
        "name": "name_utf8",
        "about": "The same kind of name as UTF-8 bytes, as most JSON writers put it: three bytes a character.",
        "timestamp": utc("2026-03-14T15:09:26"),
        "action": "DetectAuth",
        "params": {"RuleId": "1", "Name": "张三", "IdCard": "11010519491231002X"},
        "raw_utf8": True,
    },
    {
        "name": "rare_name_utf8",
        "about": "A rare character outside the basic plane: four bytes of UTF-8.",
        "timestamp": utc("2026-03-14T15:09:26"),
        "action": "DetectAuth",
        "params": {"RuleId": "1", "Name": "𠮷野·阿依古丽", "Extra": "第１行\n第２行\t🙂"},
        "raw_utf8": True,
    },
    {
        "name": "session_token",
        "about": "Temporary credentials: X-TC-Token is sent, and is not among the signed headers.",
        "timestamp": utc("2026-03-14T15:09:26"),
        "action": "GetDetectInfoEnhanced",
        "params": {"BizToken": "INVENTED-0000-0000-0000-BIZTOKEN", "RuleId": "1", "InfoType": "1"},
        "session_token": "invented-session-token/with+signs==",
    },
    {
        "name": "last_second_of_day",
        "about": "23:59:59 UTC: the scope still names the old day (in Beijing it is already the next).",
        "timestamp": utc("2026-12-31T23:59:59"),
        "action": "GetDetectInfoEnhanced",
        "params": {"BizToken": "INVENTED-0000-0000-0000-BIZTOKEN", "RuleId": "1"},
    },
    {
        "name": "first_second_of_day",
        "about": "One second later, 00:00:00 UTC: new day, new month, new year, and so another signing key.",
        "timestamp": utc("2027-01-01T00:00:00"),
        "action": "GetDetectInfoEnhanced",
        "params": {"BizToken": "INVENTED-0000-0000-0000-BIZTOKEN", "RuleId": "1"},
    },
    {
        "name": "empty_object",
        "about": "No parameters: the body is the two bytes {}.",
        "timestamp": utc("2026-03-14T15:09:26"),
        "action": "GetFaceIdToken",
        "params": {},
    },
    {
        "name": "host_with_port",
        "about": "A test server on another port: the port belongs to the signed host.",
        "timestamp": utc("2026-03-14T15:09:26"),
        "host": "127.0.0.1:18080",
        "action": "DetectAuth",
        "params": {"RuleId": "3"},
    },
]


class Stop(Exception):
    """Ends the SDK's call once the request is made; nothing is ever sent."""


def make_vector(case):
    host = case.get("host", HOST)
    secret_id = "invented-secret-id-of-nobody"
    secret_key = "invented-secret-key-of-nobody"
    session_token = case.get("session_token")

    # Without the region breaker: it would swallow Stop and go on.
    profile = ClientProfile(httpProfile=HttpProfile(endpoint=host), disable_region_breaker=True)
    client = FaceidClient(Credential(secret_id, secret_key, session_token), "", profile)

    hashed, signed, finished = [], [], []

    def sha256(data=b""):
        hashed.append(data)
        return hashlib.sha256(data)

    sign_tc3 = abstract_client.Sign.sign_tc3

    def record_sign_tc3(key, date, service, string_to_sign):
        signature = sign_tc3(key, date, service, string_to_sign)
        signed.append((service, string_to_sign, signature))
        return signature

    def send_nothing(request):
        finished.append(request)
        raise Stop

    def dumps_utf8(value):
        return json.dumps(value, ensure_ascii=False)

    client.request.send_request = send_nothing
    with (
        mock.patch.object(abstract_client, "time", types.SimpleNamespace(time=lambda: case["timestamp"])),
        mock.patch.object(abstract_client, "hashlib", types.SimpleNamespace(sha256=sha256)),
        mock.patch.object(abstract_client.Sign, "sign_tc3", staticmethod(record_sign_tc3)),
        mock.patch.object(
            abstract_client,
            "json",
            types.SimpleNamespace(dumps=dumps_utf8 if case.get("raw_utf8") else json.dumps, loads=json.loads),
        ),
    ):
        try:
            client.call_json(case["action"], case["params"])
        except Stop:
            pass

    (body, canonical_request), [(service, string_to_sign, signature)], [request] = hashed, signed, finished
    authorization = request.header["Authorization"]
    assert (request.data if isinstance(request.data, bytes) else request.data.encode()) == body
    assert request.header["Host"] == host and int(request.header["X-TC-Timestamp"]) == case["timestamp"]

    vector = {
        "name": case["name"],
        "about": case["about"],
        "secret_id": secret_id,
        "secret_key": secret_key,
        "session_token": session_token,
        "timestamp": case["timestamp"],
        "service": service,
        "host": host,
        "action": request.header["X-TC-Action"],
        "version": request.header["X-TC-Version"],
        "content_type": request.header["Content-Type"],
        "body": body.decode(),
        "signed_headers": authorization.split("SignedHeaders=")[1].split(",")[0],
        "sent_headers": sorted(name.lower() for name in request.header),
        "canonical_request": canonical_request.decode(),
        "string_to_sign": string_to_sign,
        "signature": signature,
        "authorization": authorization,
    }
    if session_token is None:
        del vector["session_token"]
    else:
        assert request.header["X-TC-Token"] == session_token
    return vector


def make_vectors():
    for package, version in SDK_VERSIONS.items():
        found = importlib.metadata.version(package)
        if found != version:
            sys.exit(f"make_vectors: {package} is {found}, the vectors are made with {version}")
    vectors = {"made_with": SDK_VERSIONS, "vectors": [make_vector(case) for case in CASES]}
    return json.dumps(vectors, ensure_ascii=False, indent=2) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Make tc3.json with the vendor's official Python SDK.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if tc3.json would change")
    check = parser.parse_args().check

    vectors = make_vectors()
    if check:
        if VECTORS_FILE.read_text(encoding="utf-8") != vectors:
            sys.exit(f"make_vectors: {VECTORS_FILE.name} is not what the SDK makes")
        print(f"{VECTORS_FILE.name}: {len(CASES)} vectors, byte for byte what the SDK makes")
    else:
        VECTORS_FILE.write_text(vectors, encoding="utf-8")
        print(f"{VECTORS_FILE.name}: {len(CASES)} vectors written")


if __name__ == "__main__":
    main()

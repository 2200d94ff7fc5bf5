"""A vendor that answers what a test scripts, and knows nothing of verifications. It is not the simulator.

Each signature is judged by the official SDK's own code. A call that is wrongly signed or that no script covers is answered with
an error and noted in `problems`.
"""

import http.server
import json
import re
import threading
import time
import types
import uuid
from datetime import datetime, timezone

from tencentcloud.common.credential import Credential
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.faceid.v20180301.faceid_client import FaceidClient

_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<date>[\d-]+)/faceid/tc3_request, "
    r"SignedHeaders=content-type;host, Signature=(?P<signature>[0-9a-f]{64})"
)


def official_signature(secret_key, method, headers, body, query=""):
    """The signature that the official SDK would have put under such a request."""
    sdk = FaceidClient(Credential("nobody", secret_key), "")
    names = ("Content-Type", "Host", "X-TC-Timestamp", "X-TC-Content-SHA256")
    signed = {name: headers[name] for name in names if headers.get(name)}
    request = RequestInternal(method=method, uri="/", header=signed, data=query if method == "GET" else body)
    date = datetime.fromtimestamp(int(headers["X-TC-Timestamp"]), timezone.utc).strftime("%Y-%m-%d")
    return sdk._get_tc3_signature({}, request, date, "faceid", secret_key)


class ScriptedVendor:
    """Answers on loopback, by action. An answer is the content of `Response`, or a function of the request that gives it."""

    def __init__(self, secret_id, secret_key):
        self._secret_id, self._secret_key = secret_id, secret_key
        self._scripts = {}
        self._results = {}
        self.calls, self.problems = [], []
        self.script("DetectAuth", self.open_token)
        self.script("GetDetectInfoEnhanced", self.tell_of)
        vendor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one piece, or each would wait for the acknowledgement of its head
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = vendor._answer(self.headers, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def script(self, action, answer):
        """What an action answers from now on."""
        self._scripts[action] = answer

    def tell(self, biz_token, answer):
        """What is told of one token from now on."""
        self._results[biz_token] = answer

    def open_token(self, _):
        """Answers DetectAuth until another script is given: a token of its own each time."""
        return {"BizToken": str(uuid.uuid4()).upper(), "Url": "https://vendor.example.com/h5"}

    def tell_of(self, request):
        """Answers GetDetectInfoEnhanced until another script is given: what was to be told of the token."""
        return self._results[request["BizToken"]]

    def calls_of(self, action):
        """The requests of an action, in the order in which they came."""
        return [call.request for call in self.calls if call.action == action]

    def judge(self, headers, body):
        """Fails on a request that the official SDK would have signed otherwise."""
        sent = _AUTHORIZATION.fullmatch(headers["Authorization"])
        assert sent, "an Authorization as the SDK writes it"
        assert sent["id"] == self._secret_id
        assert abs(time.time() - int(headers["X-TC-Timestamp"])) < 300
        assert headers["X-TC-Version"] == "2018-03-01"
        expected = official_signature(self._secret_key, "POST", headers, body)
        assert sent["signature"] == expected, "the SDK signs otherwise"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, headers, body):
        try:
            self.judge(headers, body)
            action, request = headers["X-TC-Action"], json.loads(body)
            self.calls.append(types.SimpleNamespace(action=action, request=request, headers=headers, body=body))
            script = self._scripts[action]
            content = script(request) if callable(script) else script
        except Exception as problem:  # noqa: BLE001: the test shows it
            self.problems.append(problem)
            content = {"Error": {"Code": "InternalError", "Message": "The script does not cover this call."}}
        return json.dumps({"Response": {"RequestId": str(uuid.uuid4())} | content}).encode()

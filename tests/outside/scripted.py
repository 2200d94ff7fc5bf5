"""The gateway in front of the scripted vendor: a person goes there, and the vendor says what a test wants it to say."""

import contextlib

import grpc
from conftest import SECRET_ID, SECRET_KEY
from processes import ServeConfig, ServeProcess
from reflected import Refusal, ReflectedClient, state_of
from scripted_vendor import ScriptedVendor

FLOWS = """
[[flows]]
name = "bare"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = []
redirect_allow = ["https://shop.example.com/"]

[[flows]]
name = "filmed"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = []
evidence = ["best_frame", "video"]
redirect_allow = ["https://shop.example.com/"]

[[flows]]
name = "read-aloud"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = []
intention = "read_aloud"
redirect_allow = ["https://shop.example.com/"]

[[flows]]
name = "questions"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = []
intention = "questions"
redirect_allow = ["https://shop.example.com/"]

[[flows]]
name = "nods"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = []
intention = "nods"
redirect_allow = ["https://shop.example.com/"]
"""

# What a caller sends for the intention step of these flows.
SCRIPTS = {
    "read-aloud": {"read_aloud": {"text": "我同意"}},
    "questions": {"questions": {"questions": [{"question": "您同意吗", "answers": ["同意"]}]}},
    "nods": {"nods": {"statements": ["请点头表示同意"]}},
}


@contextlib.contextmanager
def gateway(binary, run, folder, more=""):
    """The gateway, with the flows above and `more` of the configuration file."""
    vendor = ScriptedVendor(SECRET_ID, SECRET_KEY)
    config = ServeConfig(folder, vendor, SECRET_ID, SECRET_KEY)
    with config.file.open("a", encoding="utf-8") as file:
        file.write(FLOWS + more)
    try:
        with run(ServeProcess, binary, folder, config) as process, process.channel() as channel:
            yield Gateway(process, vendor, channel)
    finally:
        vendor.close()


class Gateway:
    def __init__(self, process, vendor, channel):
        self.process, self.vendor, self._channel = process, vendor, channel
        self.client = ReflectedClient(channel)

    def service(self, name):
        return ReflectedClient(self._channel, f"faceid.v1.{name}")

    def create(self, flow="bare", **more):
        script = {"intention": SCRIPTS[flow]} if flow in SCRIPTS else {}
        return self.client.create(flow=flow, **(script | more))

    def asked(self, answer, flow="bare"):
        """What a caller is told of a new verification whose token the vendor answers with this content."""
        created = self.create(flow)
        self.vendor.tell(created.biz_token, answer)
        return self.ask(created)

    def ask(self, created):
        return self.client.result(created, view="RESULT_VIEW_FULL", fresh=True)

    def verdict(self, answer, flow="bare"):
        """The state that such an answer leads to, or the reason why there is none."""
        try:
            return state_of(self.asked(answer, flow).verification)
        except grpc.RpcError as error:
            return Refusal(error).reason

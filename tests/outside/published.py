"""The vendor's own published examples, read out of its command line tool (`tccli` on PyPI); none of them is kept here."""

import importlib.metadata
import json

ACTIONS = ("DetectAuth", "GetDetectInfoEnhanced", "GetWeChatBillDetails")


class Example:
    def __init__(self, action, title, request, response):
        self.action, self.title, self.request, self.response = action, title, request, response

    @property
    def error(self):
        """The code of the error, of an example that shows one."""
        return self.response.get("Error", {}).get("Code")


def examples():
    """All of the three actions, in the order in which they are published."""
    (file,) = [f for f in importlib.metadata.files("tccli") if str(f).endswith("faceid/v20180301/examples.json")]
    published = json.loads(file.read_text(encoding="utf-8"))["actions"]
    found = [_read(action, example) for action in ACTIONS for example in published[action]]
    assert {example.action for example in found} == set(ACTIONS)
    return found


def the_example(action, error=None, title=""):
    """The first one of an action, with this error or with none."""
    return next(e for e in examples() if e.action == action and e.error == error and title in e.title)


def leaves(value, path=""):
    """Every value that is neither a container nor null nor an empty text, by its path: `Text.LivenessDetail[0].Seq`."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from leaves(child, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for at, child in enumerate(value):
            yield from leaves(child, f"{path}[{at}]")
    elif value is not None and value != "":
        yield path, value


def _read(action, example):
    head, _, body = example["input"].partition("\n\n")
    assert f"X-TC-Action: {action}" in head
    return Example(action, example["title"], json.loads(body), json.loads(example["output"])["Response"])

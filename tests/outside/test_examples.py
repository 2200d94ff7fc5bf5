"""The programs of examples/, made and run as their READMEs say: against `dev`, and for webhooks against `serve`."""

import base64
import contextlib
import datetime
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import FAILURE_URL, SUCCESS_URL, onboarding
from processes import ROOT, DevProcess, ServeConfig, ServeProcess, SimulateProcess, free_ports, http_session, wait_for
from reflected import ReflectedClient
from standardwebhooks import Webhook

EXAMPLES = ROOT / "examples"
LANGUAGES = ["go", "java", "node", "python"]
DEBIAN_GOPATH = "/usr/share/gocode"  # without modules Go needs no network
NODE_MODULES = ROOT / ".tools/examples/node_modules"
BUILD_S = 400  # on a new machine Go compiles grpc-go
RUN_S = 60
FENCED = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What needs a network, or a package manager: scripts/test has done that.
INSTALLS = ("pip ", "npm ", "apt ", "go mod ")


class Example:
    """One language's programs in a folder of their own, built."""

    def __init__(self, language, source):
        self.language = language
        # Go finds packages by their folder; the client's sources are in ../../proto for all of them.
        self.folder = source / "example.com/shop" if language == "go" else source / "examples" / language
        shutil.copytree(EXAMPLES / language, self.folder)
        shutil.copytree(ROOT / "proto", source / "proto", dirs_exist_ok=True)
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        self.env = kept | {"PATH": path, "PYTHONUTF8": "1", "GO111MODULE": "off", "GOPATH": f"{source.parent}:{DEBIAN_GOPATH}"}
        [block] = FENCED.findall((self.folder / "README.md").read_text(encoding="utf-8"))
        exports = "\n".join(line for line in block.splitlines() if line.startswith("export "))
        # Java looks for the classes in the folder in which it runs, which is another one here.
        self._exports = exports.replace('"classes:', f'"{self.folder}/classes:')
        self._build("\n".join(line for line in block.splitlines() if not line.startswith(INSTALLS)))
        if language == "go":
            self._build("gofmt -l verify watch webhook | (! grep .)")
            for program in ("verify", "watch", "webhook"):
                self._build(f"go vet ./{program} && go build -o bin/{program} ./{program}")
        if language == "node":
            assert NODE_MODULES.is_dir(), f"{NODE_MODULES} is missing: run scripts/test outside"
            (self.folder / "node_modules").symlink_to(NODE_MODULES)

    def _build(self, line):
        done = subprocess.run(
            ["bash", "-euc", line], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=BUILD_S
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    def command(self, program):
        return {
            "go": [self.folder / "bin" / program],
            "java": ["bash", "-euc", f"{self._exports}\nexec java {program.capitalize()}"],
            "node": ["node", self.folder / f"{program}.js"],
            "python": ["python", self.folder / f"{program}.py"],
        }[self.language]

    @contextlib.contextmanager
    def run(self, program, folder, **env):
        """The program, running in `folder`; ended with the block."""
        program = Program(self.command(program), folder, self.env | env)
        try:
            yield program
        finally:
            program.popen.kill()
            program.popen.wait(RUN_S)


class Program:
    def __init__(self, command, folder, env):
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "printed.log"
        self._start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)

    def printed(self):
        return self._log.read_bytes()[self._start :].decode()

    def lines(self):
        return self.printed().splitlines()

    def line(self, beginning):
        """The rest of the first line that begins so."""

        def found():
            assert self.popen.poll() in (None, 0), f"ended with {self.popen.returncode}:\n{self.printed()}"
            return next((line[len(beginning) :] for line in self.lines() if line.startswith(beginning)), None)

        return wait_for(f"a line that begins with {beginning!r}; printed was:\n{self.printed()}", found, RUN_S)


@pytest.fixture(scope="module")
def pages():
    """For each language the callback page of its program."""
    return {language: f"http://127.0.0.1:{port}/verified" for language, port in zip(LANGUAGES, free_ports(4), strict=True)}


@pytest.fixture(scope="module")
def dev(binary, run, module_folder, pages):
    allowed = [word for page in pages.values() for word in ("--redirect-allow", page)]
    with run(DevProcess, binary, module_folder, args=allowed) as dev:
        yield dev


@pytest.fixture(scope="module", params=LANGUAGES)
def example(request, tmp_path_factory):
    return Example(request.param, tmp_path_factory.mktemp(request.param) / "src")


@pytest.fixture
def client(dev):
    with dev.channel() as channel:
        yield ReflectedClient(channel)


def test_verify_goes_from_create_to_evidence(example, dev, pages, tmp_path):
    browser, page = http_session(), pages[example.language]
    with example.run("verify", tmp_path, FACEID_GATEWAY=dev.grpc_address, CALLBACK_PAGE=page) as caller:
        url = caller.line("send the browser to ")
        assert browser.get(url, timeout=10).status_code == 200
        token = url.rpartition("=")[2]

        forged = browser.get(f"{page}?BizToken={token}", timeout=10)
        assert (forged.status_code, forged.text.replace("_", "").lower().strip()) == (400, "invalidargument")
        redirect = dev.simulator.attempt(token, 2016)["redirect_url"]
        assert redirect.startswith(page)
        assert browser.get(redirect, timeout=10).text == "VERIFICATION_STATE_PENDING"
        redirect = dev.simulator.attempt(token, 0)["redirect_url"]
        assert browser.get(redirect, timeout=10).text == "VERIFICATION_STATE_PASSED"

        assert caller.popen.wait(RUN_S) == 0, caller.printed()
        shown = [line for line in caller.lines() if not line.startswith("kept ")]
        # Which of two comes first: the answer to the browser's return, or to the waiting call?
        assert sorted(shown) == [
            f"send the browser to {url}",
            "state: VERIFICATION_STATE_PASSED",
            "the browser came back: VERIFICATION_STATE_PASSED",
            "the browser came back: VERIFICATION_STATE_PENDING",
        ]
        kept = dict(re.findall(r"^kept (\S+), (\d+ of \d+) bytes$", caller.printed(), re.MULTILINE))
        assert {name.split("-")[0] for name in kept} >= {"best_frame", "id_card_front", "liveness_video"}
        for name, size in kept.items():
            assert size == "{0} of {0}".format((tmp_path / name).stat().st_size)
        [frame] = tmp_path.glob("best_frame-0.*")
        assert frame.suffix in (".jpg", ".jpeg") and frame.read_bytes()[:3] == b"\xff\xd8\xff"


def test_watch_goes_on_where_it_was(example, dev, client, tmp_path):
    def create():
        created = client.create(**onboarding(success_url=dev.shop("a"), failure_url=dev.shop("b")))
        return created.verification.verification_id

    def cancel(verification_id):
        client.call("CancelVerification", {"verification_id": verification_id})

    env = {"FACEID_GATEWAY": dev.grpc_address}
    with example.run("watch", tmp_path, **env) as watch:
        wait_for("the first resume token", lambda: (tmp_path / "resume_token").exists(), RUN_S)
        first = create()
        cancel(first)
        last = create()
        wait_for("the events", lambda: f"CREATED {last} PENDING" in watch.printed(), RUN_S)
        happened = [["CREATED", first], ["CANCELED", first], ["CREATED", last]]
        assert [line.split()[1:3] for line in watch.lines()] == happened
        watch.popen.send_signal(signal.SIGKILL)
        watch.popen.wait(RUN_S)
    missed = create()
    with example.run("watch", tmp_path, **env) as watch:
        wait_for("what was missed", lambda: f"CREATED {missed} PENDING" in watch.printed(), RUN_S)
        cancel(missed)
        wait_for("what happens now", lambda: f"CANCELED {missed} CANCELED" in watch.printed(), RUN_S)
        seen = [line.split()[1:3] for line in watch.lines()]
        # The last one before the kill comes again if its token was not kept in time.
        assert seen[-2:] == [["CREATED", missed], ["CANCELED", missed]] and seen[:-2] in ([], happened[-1:])


def test_watch_outlives_a_restart_of_the_gateway(example, binary, run, tmp_path):
    def create(dev):
        with dev.channel() as channel:
            order = onboarding(success_url=dev.shop("a"), failure_url=dev.shop("b"))
            return ReflectedClient(channel).create(**order).verification.verification_id

    with run(DevProcess, binary, tmp_path) as dev:
        with example.run("watch", tmp_path / "watch", FACEID_GATEWAY=dev.grpc_address) as watch:
            wait_for("the first resume token", lambda: (tmp_path / "watch/resume_token").exists(), RUN_S)
            before = create(dev)
            wait_for("its event", lambda: before in watch.printed(), RUN_S)
            dev.terminate()
            assert dev.exit_code() == 0
            dev.start()
            dev.wait_until_ready()
            after = create(dev)
            # The new start walks three verifications of its own.
            wait_for("the events after the restart", lambda: len(created(watch)) >= 5, RUN_S)
            assert watch.popen.poll() is None
            assert created(watch)[0] == before and after in created(watch) and len(set(created(watch))) == 5


def created(watch):
    return [line.split()[2] for line in watch.lines() if " CREATED " in line]


@pytest.fixture(scope="module")
def receivers():
    """For each language the port and the secret of its receiver."""
    secrets = [f"whsec_{base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()}" for name in LANGUAGES]
    return dict(zip(LANGUAGES, zip(free_ports(4), secrets, strict=True), strict=True))


@pytest.fixture(scope="module")
def serve(binary, run, tmp_path_factory, receivers):
    """A gateway at which each language is a caller with a webhook."""
    folder = tmp_path_factory.mktemp("serve")
    with run(SimulateProcess, binary, folder, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(folder, simulate.simulator, SECRET_ID, SECRET_KEY)
        text = config.file.read_text(encoding="utf-8").replace('mode = "none"', 'mode = "tokens"')
        for name, (port, secret) in receivers.items():
            text += f"""
[[callers]]
name = "{name}"
token_sha256 = ["{hashlib.sha256(f'token-of-{name}'.encode()).hexdigest()}"]
flows = ["onboarding"]
webhook_url = "http://127.0.0.1:{port}/events"
webhook_allow_private = true
webhook_secrets = "{secret}"
"""
        config.file.write_text(text, encoding="utf-8")
        with run(ServeProcess, binary, folder, config) as serve:
            yield serve


def test_webhook_takes_what_the_gateway_has_signed(example, serve, receivers, tmp_path):
    port, secret = receivers[example.language]
    with example.run("webhook", tmp_path, WEBHOOK_SECRET=secret, PORT=str(port)) as receiver:
        wait_until_open(port)
        with serve.channel() as channel:
            token = [("authorization", f"Bearer token-of-{example.language}")]
            created = ReflectedClient(channel).call(
                "CreateVerification", onboarding(success_url=SUCCESS_URL, failure_url=FAILURE_URL), metadata=token
            )
            verification_id = {"verification_id": created.verification.verification_id}
            ReflectedClient(channel).call("CancelVerification", verification_id, metadata=token)
        for kind, state in [("created", "PENDING"), ("canceled", "CANCELED")]:
            line = receiver.line(f"verification.{kind} {created.verification.verification_id} ")
            assert line.upper() == state


def test_webhook_takes_nothing_else(example, receivers, tmp_path):
    port, secret = receivers[example.language]
    other = "whsec_" + base64.b64encode(b"another secret, of another caller").decode()
    body = '{"type": "verification.created", "timestamp": "2026-01-01T00:00:00Z", "data": {"verification_id": "v1", "state": "PENDING"}}'
    http, now = http_session(), datetime.datetime.now(datetime.timezone.utc)

    def send(*secrets, message_id="evt_1", at=now, sent=body, **changed):
        # Judged by the official library: it signs as any sender does.
        signatures = " ".join(Webhook(secret).sign(message_id, at, body) for secret in secrets)
        headers = {"webhook-id": message_id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signatures}
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        return http.post(f"http://127.0.0.1:{port}/events", data=sent.encode(), headers=headers, timeout=10).status_code

    with example.run("webhook", tmp_path, WEBHOOK_SECRET=secret, PORT=str(port)) as receiver:
        wait_until_open(port)
        an_hour = datetime.timedelta(hours=1)
        assert send(other) == 400
        assert send(secret, sent=body.replace("v1", "v2")) == 400
        assert send(secret, at=now - an_hour) == 400
        assert send(secret, at=now + an_hour) == 400
        assert send(secret, webhook_id="evt_2") == 400
        assert send(secret, webhook_signature="") == 400
        assert send(secret, webhook_timestamp="yesterday") == 400
        assert receiver.lines() == [], "nothing was acted upon"
        assert send(other, secret) == 204, "while a secret is replaced, either will do"
        assert send(secret) == 204
        assert send(secret, message_id="evt_3") == 204
        wait_for("the second event", lambda: len(receiver.lines()) == 2)
        assert set(receiver.lines()) == {"verification.created v1 PENDING"}


def wait_until_open(port):
    def is_open():
        with contextlib.suppress(OSError):
            return http_session().get(f"http://127.0.0.1:{port}/", timeout=2) is not None

    wait_for(f"port {port}", is_open, RUN_S)

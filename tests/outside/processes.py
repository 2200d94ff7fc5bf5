"""Real processes of the gateway: started on free loopback ports, waited for, stopped."""

import base64
import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import grpc
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_S = 30
STOP_S = 30

# Everything here is invented.
VAULT_KEYS = f"k1:{base64.b64encode(b'invented-vault-key-of-32-bytes..').decode()}\n"


def find_binary():
    """FACEID_GATEWAY_BIN, else the debug build of this checkout."""
    if binary := os.environ.get("FACEID_GATEWAY_BIN"):
        return pathlib.Path(binary)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "debug/faceid-gateway"


# Below the ports that systems give out by themselves, so that no connection takes one between
# its choice and its use. Two runs at once begin far apart.
PORTS = itertools.cycle(range(12_000, 30_000))
for _ in range(os.getpid() * 397 % 18_000):
    next(PORTS)


def free_ports(count):
    """Loopback ports that nobody listens on, for programs that must be told theirs."""
    ports = []
    while len(ports) < count:
        port = next(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


def wait_for(what, condition, timeout_s=START_S):
    """The first truthy answer of `condition`; fails with `what` when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(0.02)


def http_session():
    session = requests.Session()
    session.trust_env = False  # no proxy stands between loopback and us
    return session


class Process:
    """One run of the binary. What it prints goes to `log`."""

    name = "faceid-gateway"

    def __init__(self, binary, args, folder, env=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{self.name}.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        self._start = lambda log: subprocess.Popen(
            [str(binary), *map(str, args)],
            cwd=folder,
            env=inherited | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.start()

    def start(self):
        """Again too, when it has ended: on the same ports, in the same folder."""
        with self.log.open("ab") as log:
            self.popen = self._start(log)

    def wait_until(self, what, condition, timeout_s=START_S):
        def unless_it_ended():
            assert self.popen.poll() is None, f"{self.name} ended with {self.popen.returncode}, before {what}"
            return condition()

        return wait_for(what, unless_it_ended, timeout_s)

    def log_text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def terminate(self):
        self.popen.send_signal(signal.SIGTERM)

    def kill(self):
        self.popen.kill()
        self.popen.wait(STOP_S)

    def exit_code(self, timeout_s=STOP_S):
        return self.popen.wait(timeout_s)


class Simulator:
    """The vendor, as seen through its API port and its control port."""

    def __init__(self, port, control_port):
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self._control = f"http://127.0.0.1:{control_port}"
        self._http = http_session()

    def control(self, method, path, body=None):
        answer = self._http.request(method, self._control + path, json=body, timeout=10)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def is_up(self):
        try:
            return self.control("GET", "/state") is not None
        except requests.ConnectionError:
            return False

    def attempt(self, biz_token, code):
        """The user makes an attempt that ends with `code`; answers where the browser goes, and the attempt's id."""
        return self.control("POST", f"/tokens/{biz_token}/attempts", {"code": code})

    def fault(self, action, kind, times=1, **more):
        return self.control("POST", "/faults", {"action": action, "kind": kind, "times": times} | more)

    def advance_clock(self, seconds):
        return self.control("POST", "/clock", {"advance_s": seconds})

    def reset(self):
        return self.control("POST", "/reset")


class SimulateProcess(Process):
    """`faceid-gateway simulate`."""

    name = "simulate"

    def __init__(self, binary, folder, secret_id, secret_key, env=None):
        port, control_port = free_ports(2)
        args = ["simulate", "--listen", f"127.0.0.1:{port}", "--control-listen", f"127.0.0.1:{control_port}"]
        if secret_id:
            args += ["--secret-id", secret_id, "--secret-key", secret_key]
        super().__init__(binary, args, folder, env)
        self.simulator = Simulator(port, control_port)

    def wait_until_ready(self):
        self.wait_until("the control port", self.simulator.is_up)


class GatewayProcess(Process):
    """What `dev` and `serve` have in common: the ports for callers, for browsers, and for scrapers and probes."""

    def __init__(self, binary, args, folder, ports, env=None):
        super().__init__(binary, args, folder, env)
        grpc_port, http_port, admin_port = ports
        self.grpc_address = f"127.0.0.1:{grpc_port}"
        self.http_url = f"http://127.0.0.1:{http_port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.http = http_session()

    def channel(self):
        return grpc.insecure_channel(self.grpc_address, options=[("grpc.enable_http_proxy", 0)])

    def health(self, service="", timeout=2):
        """SERVING, NOT_SERVING, …, or None when nobody answers."""
        with self.channel() as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=service), timeout=timeout
                )
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    return None
                raise
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def is_ready(self):
        try:
            ready = self.http.get(f"{self.admin_url}/readyz", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False
        return ready and self.health() == "SERVING"

    def wait_until_ready(self):
        self.wait_until("readyz and health", self.is_ready)

    def metrics(self):
        # By a connection of its own: one that was idle for long may be closed by the gateway just as it is used.
        answer = http_session().get(f"{self.admin_url}/metrics", timeout=10)
        assert answer.status_code == 200
        return answer.text

    def follow(self, url):
        """What the gateway answers to a browser that was redirected to `url`, without following it."""
        assert url.startswith(self.http_url), url
        return self.http.get(url, allow_redirects=False, timeout=10)


class DevProcess(GatewayProcess):
    """`faceid-gateway dev`: gateway and simulator in one process."""

    name = "dev"

    def __init__(self, binary, folder, env=None, args=(), browsers="127.0.0.1"):
        *ports, port, control_port = free_ports(5)
        args = ["dev", "--data-dir", folder / "data", *args]
        for name, host, listen in zip(("grpc", "http", "admin"), ("127.0.0.1", browsers, "127.0.0.1"), ports, strict=True):
            args += [f"--{name}-listen", f"{host}:{listen}"]
        args += ["--simulator-listen", f"{browsers}:{port}", "--control-listen", f"127.0.0.1:{control_port}"]
        super().__init__(binary, args, folder, ports, env)
        self.simulator = Simulator(port, control_port)

    def wait_until_ready(self):
        super().wait_until_ready()
        # It first walks one verification itself; the lines to paste come after that.
        self.wait_until("the lines to paste", lambda: "grpcurl -plaintext" in self.log_text())

    def shop(self, page):
        """A page of the simulator's demo merchant: a redirect target that dev allows."""
        return f"{self.simulator.url}/shop/{page}"


class ServeProcess(GatewayProcess):
    """`faceid-gateway serve --config FILE`."""

    name = "serve"

    def __init__(self, binary, folder, config, env=None):
        super().__init__(binary, ["serve", "--config", config.file], folder, config.ports, env)
        self.simulator = config.simulator


class ServeConfig:
    """A configuration file of `serve` in `folder`, with the secrets as files beside it."""

    def __init__(self, folder, simulator, secret_id, secret_key, log_level="info"):
        self.simulator = simulator
        self.folder = folder
        self.data = folder / "data"
        self.ports = free_ports(3)
        grpc_port, http_port, admin_port = self.ports
        self.file = folder / "gateway.toml"
        self.data.mkdir(parents=True)
        self._write("vault.keys", VAULT_KEYS)
        self._write("secret_id", secret_id)
        self._write("secret_key", secret_key)
        self._write(
            "gateway.toml",
            f"""\
[grpc]
listen = "127.0.0.1:{grpc_port}"

[http]
listen = "127.0.0.1:{http_port}"
public_url = "http://127.0.0.1:{http_port}"

[admin]
listen = "127.0.0.1:{admin_port}"

[store]
url = "sqlite:{self.data}/gateway.db"

[evidence]
url = "file:{self.data}/evidence"

[vault]
keys_file = "{folder}/vault.keys"

[tencent]
endpoint = "{simulator.url}"

[auth]
mode = "none"

# Watched, and out of reach: the tests have one person.
[id_card_limits]
per_minute = 100000
per_day = 100000

[log]
level = "{log_level}"
format = "json"

[[credentials]]
name = "main"
secret_id_file = "{folder}/secret_id"
secret_key_file = "{folder}/secret_key"

[[flows]]
name = "onboarding"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
requires = ["name", "id_number"]
evidence = ["best_frame"]
redirect_allow = ["https://shop.example.com/"]

[[flows]]
name = "photo"
rule_id = "2"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "uploaded_photo"
requires = []
redirect_allow = ["https://shop.example.com/"]
""",
        )

    def _write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

"""The gateway on a real PostgreSQL: how it proves who is at both ends."""

import subprocess

import grpc
import pytest
from conftest import SECRET_ID, SECRET_KEY
from people import onboarding
from postgres import Postgres
from processes import ServeConfig, ServeProcess, SimulateProcess
from reflected import ReflectedClient

# The user `faceid` is the test's own; the gateway's shows a certificate and a password, over TLS.
HBA = """\
host    all faceid  127.0.0.1/32 trust
hostssl all gateway 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
"""


class Authority:
    """Signs certificates, by openssl."""

    def __init__(self, folder):
        folder.mkdir()
        self._folder = folder
        self.certificate = folder / "ca.crt"
        self._openssl("req", "-x509", *self._key("ca"), "-subj", "/CN=ca", "-days", "2", "-out", self.certificate)

    def sign(self, name):
        """The certificate and the key of this name, on loopback."""
        (self._folder / "names").write_text("subjectAltName=IP:127.0.0.1", encoding="utf-8")
        request, certificate = self._folder / f"{name}.csr", self._folder / f"{name}.crt"
        self._openssl("req", "-new", *self._key(name), "-subj", f"/CN={name}", "-out", request)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._folder / "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", self._folder / "names", "-out", certificate,
        )
        return certificate, self._folder / f"{name}.key"

    def _key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self._folder / f"{name}.key"]

    @staticmethod
    def _openssl(*args):
        done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


@pytest.fixture
def server(tmp_path, authority):
    server = Postgres(tmp_path / "postgres", ["ssl=on", f"ssl_ca_file={authority.certificate.name}"], HBA)
    certificate, key = authority.sign("server")
    for file, name in [(certificate, "server.crt"), (key, "server.key"), (authority.certificate, authority.certificate.name)]:
        copy = server.data / name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
        server._own(copy)
    with server:
        server.sql("CREATE ROLE gateway LOGIN PASSWORD 'first'")
        server.sql("GRANT CREATE ON SCHEMA public TO gateway")
        yield server


@pytest.fixture
def simulate(run, binary, tmp_path):
    with run(SimulateProcess, binary, tmp_path / "vendor", SECRET_ID, SECRET_KEY) as simulate:
        yield simulate


def settings(server, authority, folder, **changed):
    certificate, key = authority.sign("client")
    password = folder / "password"
    password.write_text("first\n", encoding="utf-8")
    password.chmod(0o600)
    told = {
        "URL": server.url(query="sslmode=verify-full").replace("faceid@", "gateway@"),
        "PASSWORD_FILE": password,
        "CA_FILE": authority.certificate,
        "CERTIFICATE_FILE": certificate,
        "KEY_FILE": key,
    } | changed
    return {f"FACEID_GATEWAY__STORE__{name}": str(value) for name, value in told.items() if value is not None}


def test_shows_a_certificate_and_a_password_that_rotates(run, binary, tmp_path, server, authority, simulate):
    config = ServeConfig(tmp_path / "gateway", simulate.simulator, SECRET_ID, SECRET_KEY)
    with run(ServeProcess, binary, tmp_path / "gateway", config, settings(server, authority, tmp_path)) as serve:
        with serve.channel() as channel:
            client = ReflectedClient(channel)
            client.create(**onboarding())
            server.sql("ALTER ROLE gateway PASSWORD 'second'")
            (tmp_path / "password").write_text("second\n", encoding="utf-8")
            server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
            serve.wait_until("connections with the new password", lambda: created(client))
        assert server.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'gateway'") == "t"


def created(client):
    try:
        return client.create(**onboarding())
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        return None


def test_a_server_that_it_does_not_know_is_refused(run, binary, tmp_path, server, authority, simulate):
    stranger = Authority(tmp_path / "stranger")
    for name, changed, told in [
        ("another-authority", {"CA_FILE": stranger.certificate}, "invalid peer certificate"),
        ("no-certificate", {"CERTIFICATE_FILE": None, "KEY_FILE": None}, "connection requires a valid client certificate"),
        ("no-password", {"PASSWORD_FILE": None}, "password missing"),
    ]:
        config = ServeConfig(tmp_path / name, simulate.simulator, SECRET_ID, SECRET_KEY)
        serve = ServeProcess(binary, tmp_path / name, config, settings(server, authority, tmp_path, **changed))
        assert serve.exit_code() == 1, name
        log = serve.log_text()
        assert told in log and f"store.url postgres://{server.address}/postgres" in log, (name, log)
        assert "first" not in log

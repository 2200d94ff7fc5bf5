"""`doctor`: what an operator sees, on the way through TLS and beside a gateway that serves."""

import datetime
import json
import socket
import ssl
import subprocess
import threading

import pytest
from conftest import SECRET_ID, SECRET_KEY
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import VAULT_KEYS, ServeConfig, SimulateProcess

ISSUER = "Invented Test CA"
RUN_TIMEOUT_S = 60


def doctor(binary, config, *args, **env):
    """The exit code and what was printed."""
    done = subprocess.run(
        [binary, "doctor", "--config", config.file, *args], env=env, capture_output=True, text=True, timeout=RUN_TIMEOUT_S
    )
    assert done.returncode in (0, 1), done.stderr
    assert "panicked" not in done.stderr
    for secret in (SECRET_ID, SECRET_KEY, VAULT_KEYS.strip().split(":")[1]):
        assert secret not in done.stdout + done.stderr
    return done.returncode, done.stdout


def examined(binary, config, **env):
    code, printed = doctor(binary, config, "--json", **env)
    findings = json.loads(printed)
    assert code == any(finding["status"] == "fail" for finding in findings)
    for finding in findings:
        assert set(finding) == {"check", "subject", "status", "finding", "advice", "manual"}
    return {finding["check"]: finding for finding in findings}


@pytest.fixture(scope="module")
def ca(module_folder):
    """A CA of our own: its certificate's file, and a maker of files with certificate and key for localhost."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.datetime.now(datetime.UTC)

    def build(subject, key, days, is_ca, san=None):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=90))
            .not_valid_after(now + datetime.timedelta(days=days, hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(san)]), critical=False)
        return builder.sign(ca_key, hashes.SHA256())

    def pem(certificate):
        return certificate.public_bytes(serialization.Encoding.PEM)

    ca_file = module_folder / "ca.pem"
    ca_file.write_bytes(pem(build(ca_name, ca_key, 365, True)))

    def leaf(days, host="localhost"):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        plain = serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        file = module_folder / f"leaf-{host}-{days}.pem"
        file.write_bytes(private + pem(build(name, key, days, False, host)))
        return file

    return ca_file, leaf


class TlsFront:
    """TLS on a loopback port, and every byte on to the simulator."""

    def __init__(self, certificate, target):
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        try:
            with self._context.wrap_socket(raw, server_side=True) as near, socket.create_connection(self._target) as far:
                back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
                back.start()
                self._pump(near, far)
                back.join()
        except OSError:
            pass  # the handshake that a test wants to fail

    @staticmethod
    def _pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self._listener.close()


@pytest.fixture
def tls(binary, simulate, tmp_path, request):
    """Examines a configuration whose endpoint is TLS with this certificate."""

    def examine(certificate, **env):
        host, port = simulate.simulator.address.split(":")
        front = TlsFront(certificate, (host, int(port)))
        request.addfinalizer(front.close)
        config = ServeConfig(tmp_path / certificate.stem, simulate.simulator, SECRET_ID, SECRET_KEY)
        endpoint = f"https://localhost:{front.port}"
        return examined(binary, config, FACEID_GATEWAY__TENCENT__ENDPOINT=endpoint, **env)

    return examine


def test_beside_a_gateway_that_serves(binary, serve, tmp_path):
    config = tmp_path / "gateway.toml"
    code, printed = doctor(binary, type("Config", (), {"file": config}))
    assert code == 0, printed
    checks = [tuple(line.split()[:2]) for line in printed.splitlines()]
    seen = "config store keys evidence tcp tls clock credential flow flow quota".split()
    unseen = "console callback account".split()
    assert checks == [("ok", check) for check in seen] + [("note", check) for check in unseen], printed
    assert serve.health() == "SERVING"


def test_trusted_tls_is_told_with_issuer_and_days(tls, ca):
    ca_file, leaf = ca
    found = tls(leaf(100), SSL_CERT_FILE=str(ca_file))
    assert found["dns"]["status"] == "ok" and "127.0.0.1" in found["dns"]["finding"]
    assert found["tls"]["status"] == "ok", found
    assert f"TLS 1.3, certificate of {ISSUER}, valid for 100 more day(s)" == found["tls"]["finding"]
    assert found["clock"]["status"] == "ok"
    assert found["credential"]["status"] == "ok", "the client trusts what the doctor trusts"


def test_a_ca_of_the_configuration_is_trusted(tls, ca):
    ca_file, leaf = ca
    found = tls(leaf(60), FACEID_GATEWAY__TENCENT__CA_FILE=str(ca_file))
    assert found["tls"]["status"] == "ok" and ISSUER in found["tls"]["finding"], found["tls"]
    assert found["credential"]["status"] == "ok"


def test_a_certificate_that_ends_soon_is_a_warning(tls, ca):
    ca_file, leaf = ca
    found = tls(leaf(5), SSL_CERT_FILE=str(ca_file))
    assert found["tls"]["status"] == "warn" and "5 more day(s)" in found["tls"]["finding"]
    assert found["credential"]["status"] == "ok"


@pytest.mark.parametrize("case", ["untrusted", "expired", "other host"])
def test_tls_that_fails_names_the_issuer(tls, ca, case):
    ca_file, leaf = ca
    match case:
        case "untrusted":
            found = tls(leaf(50))
        case "expired":
            found = tls(leaf(-10), SSL_CERT_FILE=str(ca_file))
        case "other host":
            found = tls(leaf(50, "example.invalid"), SSL_CERT_FILE=str(ca_file))
    assert found["tls"]["status"] == "fail"
    assert ISSUER in found["tls"]["finding"]
    assert "intercept" in found["tls"]["advice"]
    assert found["credential"]["status"] == "warn" and "not checked" in found["credential"]["finding"]


def test_a_skewed_clock_and_a_wrong_key(binary, run, tmp_path):
    with run(SimulateProcess, binary, tmp_path, SECRET_ID, SECRET_KEY) as simulate:
        config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
        simulate.simulator.advance_clock(100)
        found = examined(binary, config)
        assert found["clock"]["status"] == "warn" and "behind" in found["clock"]["finding"]
        simulate.simulator.advance_clock(500)
        assert examined(binary, config)["clock"]["status"] == "fail"
        simulate.simulator.reset()
        (tmp_path / "secret_key").write_text("invented-and-wrong")
        found = examined(binary, config)
        assert found["credential"]["status"] == "fail"
        assert "AuthFailure.SignatureFailure" in found["credential"]["finding"]


def test_a_proxy_is_told(binary, simulate, tmp_path):
    config = ServeConfig(tmp_path, simulate.simulator, SECRET_ID, SECRET_KEY)
    proxied = {"FACEID_GATEWAY__TENCENT__ENDPOINT": "https://faceid.invalid", "HTTPS_PROXY": "http://127.0.0.1:1"}
    found = examined(binary, config, **proxied)
    assert found["proxy"]["status"] == "warn" and "HTTPS_PROXY" in found["proxy"]["finding"]
    assert found["credential"]["status"] == "fail"


def test_every_fault_of_the_configuration_is_a_line(binary, tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('[grpc]\nlisten = "nowhere"\n[log]\nshade = "dark"\n')
    code, printed = doctor(binary, type("Config", (), {"file": file}))
    assert code == 1
    lines = printed.splitlines()
    for key in ("grpc.listen", "log.shade", "vault.keys", "flows"):
        assert any(line.startswith("fail  config") and key in line for line in lines), printed

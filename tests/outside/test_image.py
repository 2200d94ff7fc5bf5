"""The image's root, as scripts/bare-root makes it for the Dockerfile: nothing else is needed at run time. No image is built here:
bubblewrap runs the binary in that folder, as another user, without rights, with a read-only root and no network but loopback."""

import json
import shutil
import subprocess

import pytest
from conftest import SECRET_ID, SECRET_KEY
from processes import ROOT, VAULT_KEYS

RUN_TIMEOUT_S = 120
GATEWAY = "/usr/local/bin/faceid-gateway"
DATA = "/var/lib/faceid-gateway"
USER = "65532"
ENDPOINT = "faceid.tencentcloudapi.com"
CONFIG = """
[vault]
keys_file = "/etc/faceid-gateway/vault.keys"
[[credentials]]
name = "main"
secret_id_file = "/etc/faceid-gateway/secret_id"
secret_key_file = "/etc/faceid-gateway/secret_key"
[[flows]]
name = "onboarding"
rule_id = "1"
credential = "main"
access_mode = "wechat_h5_normal"
comparison = "authority"
[[callers]]
name = "orders"
token_sha256 = ["b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"]
flows = ["onboarding"]
"""


@pytest.fixture(scope="module")
def root(binary, module_folder):
    root = module_folder / "root"
    subprocess.run([str(ROOT / "scripts/bare-root"), str(binary), str(root)], check=True, timeout=RUN_TIMEOUT_S)
    return root


def contained(root, *command, mounts=()):
    """Runs a command as a container runtime would, which brings /proc, /dev, an empty /tmp and a volume."""
    for folder in ("proc", "dev", "etc/faceid-gateway"):
        (root / folder).mkdir(exist_ok=True)
    (root / "etc/hosts").touch()
    return subprocess.run(
        ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        + ["--uid", USER, "--gid", USER, "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
        + ["--tmpfs", "/tmp", "--tmpfs", DATA, *map(str, mounts), "--chdir", DATA, *command],
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )


def test_the_root_holds_the_binary_its_libraries_and_little_else(root):
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "hosts"}
    libraries = {path for path in files if path.startswith(("lib/", "lib64/", "usr/lib/"))}
    assert 2 <= len(libraries) <= 8, libraries
    assert files - libraries == {
        "usr/local/bin/faceid-gateway",
        "etc/ssl/certs/ca-certificates.crt",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/group",
        "usr/share/doc/faceid-gateway/Cargo.lock",
    }
    assert contained(root, "/bin/sh", "-c", "true").returncode != 0, "there is a shell"


def test_it_prints_its_defaults(root):
    done = contained(root, GATEWAY, "serve", "--print-defaults")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[tencent]" in done.stdout


def test_a_verification_walks_all_its_way(root):
    done = contained(root, GATEWAY, "dev", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("settled PASSED")


def test_the_root_cannot_be_written(root):
    done = contained(root, GATEWAY, "dev", "--once", "--data-dir", "/data")
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout + done.stderr
    assert not (root / "data").exists()


def test_without_certificates_it_would_not_run(root, tmp_path):
    without = tmp_path / "root"
    shutil.copytree(root, without)
    shutil.rmtree(without / "etc/ssl")
    done = contained(without, GATEWAY, "dev", "--once")
    assert done.returncode != 0
    assert "No CA certificates" in done.stdout + done.stderr


def test_names_are_resolved_without_further_libraries(root, tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    for name, text in {"gateway.toml": CONFIG, "vault.keys": VAULT_KEYS, "secret_id": SECRET_ID, "secret_key": SECRET_KEY}.items():
        (conf / name).write_text(text, encoding="utf-8")
        (conf / name).chmod(0o600)
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 {ENDPOINT}\n")
    mounts = ["--ro-bind", conf, "/etc/faceid-gateway", "--ro-bind", hosts, "/etc/hosts"]
    done = contained(root, GATEWAY, "doctor", "--json", "--config", "/etc/faceid-gateway/gateway.toml", mounts=mounts)
    found = {item["check"]: item for item in json.loads(done.stdout)}
    assert (found["config"]["status"], found["dns"]["status"]) == ("ok", "ok"), done.stdout
    assert found["dns"]["finding"] == "127.0.0.1"
    assert "refused" in found["tcp"]["finding"], "nobody listens there"


def test_the_dockerfile_takes_this_root_and_runs_without_rights():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    build, final = dockerfile.split("\nFROM scratch\n")
    assert "scripts/bare-root target/release/faceid-gateway /bare" in build
    assert "COPY --from=build /bare /\n" in final
    assert f"USER {USER}:{USER}\n" in final
    assert "RUN" not in final, "there is no shell to run it"
    assert "!scripts/bare-root" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

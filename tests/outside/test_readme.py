"""A newcomer who follows the README: what it shows is taken out of it, word for word, and run against `dev`."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import types
import unicodedata

import pytest
from conftest import SECRET_ID, SECRET_KEY
from processes import ROOT, ServeProcess, free_ports

README = (ROOT / "README.md").read_text(encoding="utf-8")
README_ZH = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What `dev` listens on by default, and so what the README says.
GRPC_ADDRESS = "127.0.0.1:50051"
SIMULATOR_ADDRESS = "127.0.0.1:8081"

RUN_TIMEOUT_S = 60
PAGE_COLUMNS = 120  # of a table; a Chinese character has two


def fenced(text, language, containing=""):
    """The one code block of this language that has `containing` in it."""
    found = [code for tag, code in FENCED.findall(text) if tag == language and containing in code]
    assert len(found) == 1, f"{len(found)} blocks of {language} contain {containing!r}"
    return found[0]


def at_dev(code, dev):
    """The code with the addresses of the README replaced by those of this `dev`."""
    for address, ours in ((GRPC_ADDRESS, dev.grpc_address), (SIMULATOR_ADDRESS, dev.simulator.address)):
        assert address in code, f"the README no longer says {address}"
        code = code.replace(address, ours)
    return code


def run_in(folder, *command, timeout_s=RUN_TIMEOUT_S, typed="", **env):
    """What a command prints, when `typed` is its standard input.

    `python` and the tools of pip are this virtual environment's; no proxy is in between.
    """
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": path, "PYTHONUTF8": "1"} | kept | env,
        input=typed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout_s,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def run_shell(folder, code, **kwargs):
    return run_in(folder, "sh", "-eu", "-c", code, **kwargs)


def region(path):
    """What stands in an example between the marks: its lines are the README's."""
    text = (ROOT / "examples" / path).read_text(encoding="utf-8")
    [found] = re.findall(r"^ *(?://|#) README: create and wait\n(.*?)^ *(?://|#) README: end$", text, re.MULTILINE | re.DOTALL)
    return found.strip("\n") + "\n"


@pytest.mark.parametrize(("language", "path"), [("python", "python/verify.py"), ("go", "go/verify/main.go")])
def test_snippets_are_cut_from_the_examples(language, path):
    # That the examples work is told by test_examples.py.
    assert fenced(README, language) == region(path)


def test_one_line_makes_the_client():
    lines = fenced(README, "sh", "--go_out").splitlines()
    for line, language in zip(lines, ("python", "go", "java"), strict=True):
        cd, _, command = line.partition(" && ")
        assert cd == f"cd examples/{language}"
        assert command in (ROOT / cd.removeprefix("cd ") / "README.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("text", [README, README_ZH], ids=["en", "zh-CN"])
def test_tables_fit_the_page(text):
    def width(row):
        return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in row)

    rows = re.findall(r"^\|.*$", FENCED.sub("", text), re.MULTILINE)
    assert rows and [row for row in rows if width(row) > PAGE_COLUMNS] == []


def test_grpcurl(dev, tmp_path):
    printed = run_shell(tmp_path, at_dev(fenced(README, "sh", "grpcurl -plaintext 127.0.0.1:50051 list"), dev))
    services, _, rest = printed.partition("faceid.v1.CreateVerificationRequest is a message:")
    assert "faceid.v1.VerificationService" in services.split()
    created = json.loads(rest[rest.index("\n{\n") :])
    assert created["url"].startswith(f"http://{dev.simulator.address}/h5?token=")

    ask = fenced(README, "sh", "VerificationService/GetResult")
    assert ask.count("…") == 1
    ask = ask.replace(GRPC_ADDRESS, dev.grpc_address).replace("…", created["verification"]["verificationId"])
    told = json.loads(run_shell(tmp_path, ask))
    assert told["verification"]["state"] == "VERIFICATION_STATE_PENDING"


@pytest.fixture
def minimal(tmp_path):
    """A folder as the README has it made: secrets that only their owner reads, and gateway.toml."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    printed = run_shell(folder, fenced(README, "sh", "umask 077"), typed=f"{SECRET_ID}\n{SECRET_KEY}\n")
    hashes = dict(re.findall(r"(\w+): ([0-9a-f]{64})$", printed, re.MULTILINE))
    assert list(hashes) == ["orders", "operators"], printed

    text = fenced(README, "toml")
    assert text == (ROOT / "docs/going-live/gateway.toml").read_text(encoding="utf-8")
    assert text.count("…") == len(tomllib.loads(text)["callers"]) == 2
    for value in hashes.values():
        text = text.replace("…", value, 1)
    (folder / "gateway.toml").write_text(text, encoding="utf-8")
    return folder


def test_secrets(minimal):
    keys = (minimal / "vault.keys").read_text(encoding="ascii")
    assert re.fullmatch(r"k1:[A-Za-z0-9+/]{43}=\n", keys)
    assert (minimal / "secret_id").read_text(encoding="ascii") == SECRET_ID
    assert (minimal / "secret_key").read_text(encoding="ascii") == SECRET_KEY
    for name in ("vault.keys", "secret_id", "secret_key", "orders.token"):
        assert (minimal / name).stat().st_mode & 0o077 == 0, f"{name} can be read by others"


def test_serve_in_five_minutes(binary, run, simulate, minimal):
    ports = free_ports(3)
    env = {
        "FACEID_GATEWAY__TENCENT__ENDPOINT": simulate.simulator.url,
        "FACEID_GATEWAY__GRPC__LISTEN": f"127.0.0.1:{ports[0]}",
        "FACEID_GATEWAY__HTTP__LISTEN": f"127.0.0.1:{ports[1]}",
        "FACEID_GATEWAY__ADMIN__LISTEN": f"127.0.0.1:{ports[2]}",
    }
    doctor, serve = fenced(README, "sh", "doctor --config gateway.toml\nfaceid").splitlines()
    assert serve == "faceid-gateway serve --config gateway.toml"
    printed = run_shell(minimal, doctor.replace("faceid-gateway", str(binary)), **env)
    assert "fail " not in printed

    config = types.SimpleNamespace(file="gateway.toml", ports=ports, simulator=simulate.simulator)
    with run(ServeProcess, binary, minimal, config, env) as served:
        call = fenced(README, "sh", "orders.token)").replace(GRPC_ADDRESS, served.grpc_address)
        created = json.loads(run_shell(minimal, call))
        assert created["url"].startswith(f"{simulate.simulator.url}/h5?token=")


def test_systemd_paths_are_absolute(minimal):
    [command] = re.findall(r"^(sed .*) \|$", fenced(README, "sh", "useradd"), re.MULTILINE)
    config = tomllib.loads(run_shell(minimal, command))
    [credential] = config["credentials"]
    files = [config["vault"]["keys_file"], credential["secret_id_file"], credential["secret_key_file"]]
    assert files == [f"/etc/faceid-gateway/{name}" for name in ("vault.keys", "secret_id", "secret_key")]


def test_chinese_readme_has_the_same_code():
    assert FENCED.findall(README_ZH) == FENCED.findall(README)


def test_chinese_readme_names_the_same_things():
    def structure(text):
        prose = FENCED.sub("", text)
        return {
            "headings": re.findall(r"^#+(?= )", prose, re.MULTILINE),
            "rows of tables": len(re.findall(r"^\|", prose, re.MULTILINE)),
            "names": set(re.findall(r"`([^`]+)`", prose)),
            "links": {link.replace(".zh-CN", "") for link in re.findall(r"\]\(([^)]+)\)", prose)} - {"README.md"},
        }

    assert structure(README_ZH) == structure(README)
    assert "[中文](README.zh-CN.md)" in README and "[English](README.md)" in README_ZH

"""What the binary tells of its settings, judged by a JSON Schema validator and by the binary's own start."""

import copy
import json
import subprocess
import tomllib

import pytest
from conftest import SECRET_ID, SECRET_KEY
from jsonschema import Draft202012Validator
from processes import ROOT, ServeConfig, Simulator


def printed(binary, *args):
    return subprocess.run([binary, "serve", *args], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def validator(binary):
    schema = json.loads(printed(binary, "--print-schema"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture
def sample(tmp_path):
    """A configuration that `serve` takes."""
    config = ServeConfig(tmp_path, Simulator(1, 2), SECRET_ID, SECRET_KEY)
    return tomllib.loads(config.file.read_text(encoding="utf-8"))


def test_schema_is_the_one_of_the_documents(validator):
    assert validator.schema == json.loads((ROOT / "docs/configuration.schema.json").read_text(encoding="utf-8"))


def test_samples_keep_to_the_schema(binary, validator, sample):
    defaults = printed(binary, "--print-defaults")
    everything = "".join(
        line[1:] if line.startswith("#") and line[1:2] not in ("", " ", "\n") else line
        for line in defaults.splitlines(keepends=True)
    )
    for text in (defaults, everything):
        validator.validate(tomllib.loads(text))
    assert {"name", "rule_id", "encryption"} <= set(tomllib.loads(everything)["flows"][0])
    validator.validate(sample)


# What a schema can know to be wrong, as a change of a good configuration.
WRONG = {
    "an unknown section": lambda config: config.update(surprise={}),
    "an unknown setting": lambda config: config["grpc"].update(port=1),
    "a number that is a text": lambda config: config["tencent"].update(timeout_ms="5000"),
    "a number out of its bounds": lambda config: config["tencent"].update(timeout_ms=99),
    "a level that is none": lambda config: config["log"].update(level="warning"),
    "a list that is a text": lambda config: config["flows"][0].update(evidence="best_frame"),
    "an intention among the demands": lambda config: config["flows"][0]["requires"].append("intention"),
    "a flow without a name": lambda config: config["flows"][0].pop("name"),
    "a list of numbers out of their bounds": lambda config: config.update(reconcile={"poll_after_minutes": [1, 120]}),
    "a mode that is none": lambda config: config["auth"].update(mode=["none", "password"]),
}


def toml(value):
    """TOML, inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("what", WRONG)
def test_what_the_schema_refuses_is_refused_at_a_start(binary, validator, sample, tmp_path, what):
    wrong = copy.deepcopy(sample)
    WRONG[what](wrong)
    assert validator.is_valid(sample) and not validator.is_valid(wrong)
    file = tmp_path / "wrong.toml"
    file.write_text("".join(f"{name} = {toml(section)}\n" for name, section in wrong.items()), encoding="utf-8")
    done = subprocess.run([binary, "serve", "--config", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "the configuration has 1 fault(s):" in done.stderr, done.stderr
    assert not (tmp_path / "data/gateway.db").exists(), "nothing is written before the configuration is right"


def test_a_fault_of_the_toml_has_its_line_and_column(binary, tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text("[vault]\nkeys = not quoted\n", encoding="utf-8")
    done = subprocess.run([binary, "serve", "--config", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"{file}:2:8: not TOML: " in done.stderr
    assert "not quoted" not in done.stderr


@pytest.mark.parametrize("name", ["vault.keys", "secret_id", "secret_key"])
def test_files_that_others_can_read_are_refused_and_named(binary, sample, tmp_path, name):
    (tmp_path / name).chmod(0o644)
    for command in ("serve", "doctor"):
        args = [binary, command, "--config", tmp_path / "gateway.toml"]
        done = subprocess.run(args, capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        told = done.stdout + done.stderr
        assert f"{tmp_path / name} can be read by every user of this machine (mode 0644)" in told, told
    assert not (tmp_path / "data/gateway.db").exists()

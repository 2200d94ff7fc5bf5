"""The chart as a real Helm renders it."""

import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/faceid-gateway"
VALUES = ROOT / "tests/helm/values"
HELM = os.environ.get("HELM", str(ROOT / ".tools/bin/helm"))
PROMTOOL = os.environ.get("PROMTOOL", str(ROOT / ".tools/bin/promtool"))
RUN_TIMEOUT_S = 60


def helm(command, values, *args, binary=HELM):
    return subprocess.run(
        [binary, *command, str(CHART), "--values", str(VALUES / f"{values}.yaml"), *args],
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )


def template(values, *args, binary=HELM):
    done = helm(["template", "rel"], values, "--namespace", "identity", *args, binary=binary)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(values, *args, binary=HELM):
    return [item for item in yaml.safe_load_all(template(values, *args, binary=binary)) if item]


def objects(values, *args, binary=HELM):
    """By kind, and where there are several of a kind, by kind and the end of their name."""
    made = {}
    for item in manifests(values, *args, binary=binary):
        kind, name = item["kind"], item["metadata"]["name"]
        made[kind if kind not in made else f"{kind} {name}"] = item
    return made


def promtool(*args, cwd=None):
    done = subprocess.run([PROMTOOL, *args], capture_output=True, text=True, timeout=RUN_TIMEOUT_S, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

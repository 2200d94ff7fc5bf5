"""The signing vectors are what the official SDK makes."""

import subprocess
import sys

from processes import ROOT


def test_the_official_sdk_makes_the_same_vectors():
    script = ROOT / "tests/vectors/tc3/make_vectors.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

"""What a scrape brings, as Prometheus' own promtool and the chart's alerts and dashboard see it."""

import json
import os
import re
import subprocess

import pytest
import yaml
from processes import ROOT

HELM = os.environ.get("HELM", str(ROOT / ".tools/bin/helm"))
PROMTOOL = os.environ.get("PROMTOOL", str(ROOT / ".tools/bin/promtool"))
RUN_TIMEOUT_S = 60
# What Prometheus adds to what it scrapes.
TARGET = {"namespace", "pod"}


@pytest.fixture(scope="module")
def scraped(dev):
    return dev.metrics()


def test_promtool_takes_the_metrics(scraped):
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=scraped, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def queries():
    dashboard = json.loads((ROOT / "helm/faceid-gateway/dashboards/faceid-gateway.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]
    values = ["--values", str(ROOT / "tests/helm/values/sqlite.yaml"), "--set", "prometheusRule.enabled=true"]
    done = subprocess.run(
        [HELM, "template", "rel", str(ROOT / "helm/faceid-gateway"), "--show-only", "templates/prometheusrule.yaml", *values],
        check=True,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    for group in yaml.safe_load(done.stdout)["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def test_alerts_and_dashboard_ask_for_labels_that_a_scrape_has(scraped):
    """Of metrics that one walk through a verification brings; the others are compared with the source, in tests/helm."""
    there = {}
    for name, labels in re.findall(r"^(faceid_\w+)(?:{(.*)})? ", scraped, re.MULTILINE):
        there.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    seen = set()
    for query in queries():
        asked = set(re.findall(r"\bfaceid_\w+", query))
        grouped = {label for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r",\s*", labels)}
        if asked <= set(there):
            seen |= asked
            assert grouped <= TARGET.union(*(there[name] for name in asked)), query
    assert {"faceid_rpcs_total", "faceid_vendor_call_duration_seconds_bucket", "faceid_unsettled"} <= seen

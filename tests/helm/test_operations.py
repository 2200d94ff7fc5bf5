"""The runbook, in both languages, names every metric and every alert that there is, and none that is not."""

import re

import pytest
from metrics import described_metrics
from rendering import CHART, ROOT

ALERTS = set(re.findall(r"- alert: (\w+)", (CHART / "templates/prometheusrule.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", ["OPERATIONS.md", "OPERATIONS.zh-CN.md"])
def test_the_runbook_names_every_metric_and_alert(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert set(re.findall(r"`(Faceid\w+)`", text)) == ALERTS
    assert {name for name in re.findall(r"`(faceid_\w+)", text)} == described_metrics()

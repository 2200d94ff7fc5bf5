"""The alerts of the chart, judged by Prometheus' own promtool: each fires when it should, and only then."""

import dataclasses
import re

import pytest
import yaml
from metrics import check_query, metrics_of_the_source
from rendering import objects, promtool

# What Prometheus adds to every series that it scrapes.
TARGET = {"namespace": "identity", "pod": "gateway-0"}


@dataclasses.dataclass
class Case:
    """Series with a sample a minute, and the minutes at which the alert is silent and at which it fires."""

    alert: str
    series: dict[str, str]
    silent: list[int]
    firing: list[int]
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    value: str = ""


def rises(alert, selector, window_min, hold_min, labels):
    """A counter that is born with its first event, and one that was there before: the alert fires until the window has passed."""
    first_min = window_min + 5
    # Where it has to go on for a while: an event a minute.
    last_min = first_min + 2 * hold_min
    for before, at_first in (("_", 1), ("3", 4)):
        counts = [before] * first_min
        counts += [str(at_first + minute) for minute in range(last_min - first_min + 1)]
        counts += [counts[-1]] * 3 * window_min
        yield Case(
            alert,
            {selector: " ".join(counts)},
            silent=[first_min - 1, first_min + hold_min - 1, last_min + window_min + 1],
            firing=[first_min + hold_min, first_min + hold_min + 2, last_min + window_min - 2],
            labels=labels,
        )


def cases():
    left = {"namespace": "identity"}
    yield Case("FaceidResultsLate", {"faceid_unsettled_time_left_seconds": "259200x5 172000x20"}, [5, 14], [17, 25], left)
    yield Case("FaceidResultsAboutToBeLost", {"faceid_unsettled_time_left_seconds": "43300x5 43100x20"}, [5, 9], [12, 25], left)
    yield from rises("FaceidResultsLost", "faceid_results_lost_total", 60, 0, left)
    yield from rises("FaceidEvidenceLost", "faceid_evidence_lost_total", 60, 0, left)
    yield from rises("FaceidJobsFail", 'faceid_jobs_total{kind="settle",outcome="failed"}', 10, 20, left | {"kind": "settle"})
    yield Case("FaceidJobsFail", {'faceid_jobs_total{kind="settle",outcome="ok"}': "0+1x60"}, [30, 60], [], left | {"kind": "settle"})
    rpcs = 'faceid_rpcs_total{method="M",code="%s"}'
    yield Case("FaceidCallsFail", {rpcs % "OK": "0+90x30", rpcs % "UNAVAILABLE": "0x10 10+10x20"}, [10, 12], [20, 30], left)
    yield Case("FaceidCallsFail", {rpcs % "OK": "0+90x30", rpcs % "INVALID_ARGUMENT": "0+90x30"}, [20, 30], [])
    yield Case("FaceidGatewayMissing", {"faceid_store_ready": "1x9 _x30"}, [9, 16], [25, 35], left)

    credential = left | {"credential": "main"}
    yield from rises("FaceidCredentialFallback", 'faceid_credential_fallback_total{credential="main"}', 10, 0, credential)
    # The end is at minute 60 of time 0.
    expiry = 'faceid_credential_expiry_timestamp_seconds{credential="main"}'
    yield Case("FaceidCredentialEnds", {expiry: "3600x70"}, [30, 54, 56], [58, 65], credential)
    flow = left | {"flow": "onboarding", "problem": "step_off"}
    yield from rises("FaceidFlowMisconfigured", 'faceid_flow_misconfigured_total{flow="onboarding",problem="step_off"}', 15, 0, flow)

    breaker = 'faceid_vendor_breaker_state{endpoint="%s"}'
    endpoint = left | {"endpoint": "https://a"}
    yield Case("FaceidVendorEndpointOpen", {breaker % "https://a": "0x9 2x3 1x0 2x6 0x10", breaker % "https://b": "0x40"}, [9, 11, 23], [12, 14, 19], endpoint)
    yield Case("FaceidVendorUnreachable", {breaker % "https://a": "0x9 2x10 0x10", breaker % "https://b": "0x40"}, [9, 15], [])
    yield Case("FaceidVendorUnreachable", {breaker % "https://a": "0x9 2x10 0x10", breaker % "https://b": "0x9 2x10 0x10"}, [9, 11, 22], [12, 19], left)
    quota = left | {"action": "DetectAuth", "priority": "interactive"}
    yield from rises("FaceidVendorQuotaExhausted", 'faceid_vendor_quota_exhausted_total{action="DetectAuth",priority="interactive"}', 10, 5, quota)
    yield from rises("FaceidVendorCallsShed", 'faceid_vendor_calls_shed_total{priority="interactive"}', 10, 5, left | {"priority": "interactive"})
    yield Case("FaceidClockOff", {"faceid_vendor_clock_offset_seconds": "0x5 -75x20"}, [5, 10], [12, 20], TARGET)

    yield Case("FaceidStoreNotWritable", {"faceid_store_ready": "1x5 0x10 1x10"}, [5, 17], [6, 15], TARGET)
    yield Case(
        "FaceidErasureIncomplete",
        {"faceid_store_scrub_pending": "0x5 1x40 0x10"},
        silent=[5, 34, 50],
        firing=[37, 44],
        labels=TARGET,
    )
    yield from rises("FaceidStoreRefusesWrites", 'faceid_store_refused_writes_total{kind="disk_full"}', 10, 0, left | {"kind": "disk_full"})
    yield from rises("FaceidRowsUnreadable", "faceid_unreadable_rows_total", 60, 0, left)
    yield Case("FaceidEvidenceOfAnotherStore", {"faceid_evidence_foreign_blobs": "0x5 1x10"}, [5], [6], left)
    yield Case("FaceidEvidenceOfAnotherStore", {"faceid_evidence_orphans": "1000x5 1001x10"}, [5], [6], left)
    yield Case("FaceidWebhooksParked", {"faceid_webhooks_parked": "0x5 3x10 0x5"}, [5, 17], [6, 15], left, value="3")
    late = 'faceid_jobs_overdue_seconds{kind="%s"}'
    yield Case("FaceidJobsLate", {late % "redact": "0x5 2000x30 0x10"}, [5, 14, 40], [17, 30], left | {"kind": "redact"})
    yield Case("FaceidJobsLate", {late % "sweep_evidence": "2000x40"}, [30], [], left | {"kind": "sweep_evidence"})

    certificate = "faceid_tls_certificate_expiry_timestamp_seconds"
    day = 24 * 60
    yield Case("FaceidCertificateEnds", {certificate: f"{15 * 86400}x{2 * day}"}, [day, day + 8], [day + 12], TARGET)
    yield Case("FaceidCertificateEndsSoon", {certificate: f"{3 * 86400}x{2 * day}"}, [day, day + 8], [day + 12], TARGET)
    yield from rises("FaceidTlsReloadFails", "faceid_tls_reload_failures_total", 15, 0, TARGET)
    yield Case("FaceidConfigReloadFails", {"faceid_config_reload_failed": "0x5 1x10 0x5"}, [5, 17], [6, 15], TARGET)
    jwks = 'faceid_jwks_refreshes_total{outcome="%s"}'
    slow = " ".join(str(n // 5) for n in range(0, 120))
    yield Case("FaceidJwtKeysOutOfReach", {jwks % "ok": f"{slow} 24x60", jwks % "failed": f"0x120 {slow}"}, [60, 119, 140], [175, 180], TARGET)


CASES = list(cases())


@pytest.fixture(scope="module")
def rules():
    return objects("sqlite", "--set", "prometheusRule.enabled=true")["PrometheusRule"]["spec"]


def alerts_of(rules):
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}


def with_target(selector):
    """As it is after a scrape."""
    name, _, labels = selector.partition("{")
    ours = [labels.rstrip("}")] if labels else []
    return name + "{" + ",".join(ours + [f'{key}="{value}"' for key, value in TARGET.items()]) + "}"


def promtool_test(case, rule):
    def told(text):
        text = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: case.labels[found[1]], text)
        return text.replace("{{ $value }}", case.value)

    fired = {
        "exp_labels": rule["labels"] | case.labels,
        "exp_annotations": {key: told(text) for key, text in rule["annotations"].items()},
    }
    at = [(minute, []) for minute in case.silent] + [(minute, [fired]) for minute in case.firing]
    return {
        "interval": "1m",
        "input_series": [{"series": with_target(key), "values": values} for key, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": expected} for minute, expected in at
        ],
    }


def test_promtool_takes_the_rules(rules, tmp_path):
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    assert f"{len(alerts_of(rules))} rules found" in promtool(
        "check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yml")
    )


def test_every_alert_fires_in_a_case_and_is_silent_in_one(rules):
    assert {case.alert for case in CASES if case.firing} == set(alerts_of(rules))
    assert {case.alert for case in CASES if case.silent} == set(alerts_of(rules))


@pytest.mark.parametrize("alert", sorted({case.alert for case in CASES}))
def test_alert(alert, rules, tmp_path):
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    tests = [promtool_test(case, alerts_of(rules)[alert]) for case in CASES if case.alert == alert]
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    promtool("test", "rules", "tests.yml", cwd=tmp_path)


def test_every_metric_and_label_of_an_alert_is_one_of_the_gateway(rules):
    there = metrics_of_the_source()
    assert len(there) > 40, "the source no longer names its metrics as this test reads them"
    for rule in alerts_of(rules).values():
        check_query(rule["expr"], there)


@pytest.mark.parametrize("query", ["rate(faceid_no_such_total[5m])", "sum by (colour) (faceid_webhooks_parked)", 'faceid_jobs_total{colour="red"}'])
def test_a_query_of_what_is_not_there_is_noticed(query):
    with pytest.raises(AssertionError):
        check_query(query, metrics_of_the_source())

"""The dashboard: every query is one that Prometheus takes, of metrics and labels that the gateway has."""

import json
import re

import yaml
from metrics import check_query, described_metrics, metrics_of_the_source
from rendering import CHART, manifests, promtool

FILE = CHART / "dashboards/faceid-gateway.json"
DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]


def as_prometheus_gets_it(query):
    for variable, value in {"$__rate_interval": "5m", "$__range": "6h", "$namespace": "identity"}.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query


def test_promtool_takes_every_query(tmp_path):
    queries = [as_prometheus_gets_it(target["expr"]) for target in TARGETS]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", "--lint=none", str(tmp_path / "rules.yml"))
    assert len(rules) > 40


def test_every_metric_and_label_of_a_query_is_one_of_the_gateway():
    there = metrics_of_the_source()
    for target in TARGETS:
        check_query(target["expr"], there)


def test_every_metric_says_what_it_is():
    assert described_metrics() == set(metrics_of_the_source())


def test_every_legend_names_labels_that_the_query_keeps():
    for target in TARGETS:
        kept = {label for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in re.split(r",\s*", labels)}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, target
        assert 'namespace=~"$namespace"' in target["expr"]


def test_panels_have_their_own_numbers_and_places():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_grafana_s_sidecar_finds_it_as_it_is():
    assert not [item for item in manifests("sqlite") if item["metadata"]["name"].endswith("-dashboard")]
    (made,) = [item for item in manifests("full") if item["metadata"]["name"].endswith("-dashboard")]
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "Identity"}
    # Grafana's own placeholders, {{flow}} and $namespace, come through Helm.
    assert json.loads(made["data"]["faceid-gateway.json"]) == DASHBOARD

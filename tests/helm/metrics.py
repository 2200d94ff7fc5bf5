"""The metrics that the source counts and measures, and those that a query names."""

import re

from rendering import ROOT

# What Prometheus adds to what it scrapes, and to a histogram.
ADDED_LABELS = {"namespace", "pod", "le"}


def metrics_of_the_source():
    """The labels of each metric; None where they are made elsewhere."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.rs")))
    found = {}
    for name, rest in re.findall(r'metrics::(?:counter|gauge|histogram)!\(\s*"(faceid_\w+)"(.*?)\)\s*[.;]', source, re.DOTALL):
        labels = None if "&labels" in rest else set(re.findall(r'"(\w+)"\s*=>', rest))
        known = found.setdefault(name, labels)
        found[name] = None if known is None or labels is None else known | labels
    return found


def metrics_in(query):
    """Without what Prometheus adds to a histogram's name."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bfaceid_\w+", query)}


def labels_in(query):
    grouped = [label for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in re.split(r",\s*", labels)]
    return {*grouped, *re.findall(r"[{,]\s*(\w+)(?:=~|!~|!=|=)", query)}


def check_query(query, there):
    """Fails where a query names what no gateway has."""
    assert metrics_in(query), query
    assert metrics_in(query) <= set(there), query
    labels = [there[name] for name in metrics_in(query)]
    if None not in labels:
        assert labels_in(query) <= ADDED_LABELS.union(*labels), query


def described_metrics():
    """Those with a help text."""
    source = (ROOT / "src/telemetry/mod.rs").read_text(encoding="utf-8")
    return set(re.findall(r'describe_(?:counter|gauge|histogram)!\(\s*"(faceid_\w+)"', source))

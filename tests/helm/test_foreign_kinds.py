"""Objects of kinds that are not Kubernetes' own, judged by models made from their projects' published CRDs."""

import json
import os
import subprocess

from rendering import CHART, ROOT, VALUES, manifests

MODULES = os.environ.get("CRD_MODELS", str(ROOT / ".tools/crd-models"))
GROUPS = ("istio.io", "coreos.com", "gateway.networking.k8s.io", "external-secrets.io")
EXAMPLE = ["--values", str(CHART / "examples/external-secrets.yaml")]
RUN_TIMEOUT_S = 120


def foreign(objects):
    return [item for item in objects if item["apiVersion"].split("/")[0].endswith(GROUPS)]


def judge(objects, folder):
    return subprocess.run(
        ["node", str(ROOT / "tests/helm/node/judge.mjs"), MODULES, str(folder)],
        input=json.dumps(objects),
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )


def everything():
    return [item for path in sorted(VALUES.glob("*.yaml")) for item in foreign(manifests(path.stem))] + foreign(
        manifests("sqlite", *EXAMPLE)
    )


def test_every_object_is_one_of_its_kind(tmp_path):
    objects = everything()
    assert len({item["kind"] for item in objects}) == 10
    done = judge(objects, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(objects)} objects judged\n"


SPOILT = {
    "VirtualService": (["spec", "http", 0, "retry"], {}),
    "DestinationRule": (["spec", "trafficPolicy", "tls", "mode"], "MUTUALLY"),
    "PeerAuthentication": (["spec", "mtls", "mode"], "STRICTER"),
    "AuthorizationPolicy": (["spec", "action"], "LET_IN"),
    "HTTPRoute": (["spec", "rules", 0, "match"], []),
    "GRPCRoute": (["spec", "rules", 0, "backendRefs", 0, "port"], 70000),
    "ServiceMonitor": (["spec", "endpoints", 0, "interval"], "soon"),
    "PodMonitor": (["spec", "podMetricEndpoints"], []),
    "PrometheusRule": (["spec", "groups", 0, "rules", 0, "for"], "soon"),
    "ExternalSecret": (["spec", "data", 0, "secretKey"], None),
}


def test_a_wrong_one_of_each_kind_is_noticed(tmp_path):
    spoilt = list({item["kind"]: item for item in everything()}.values())
    for item in spoilt:
        (*path, last), value = SPOILT[item["kind"]]
        place = item
        for step in path:
            place = place[step]
        place[last] = value
    done = judge(spoilt, tmp_path)
    assert done.returncode == 1
    assert {fault.split()[0] for fault in done.stderr.splitlines() if fault[0] != " "} == set(SPOILT)

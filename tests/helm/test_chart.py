"""The chart, rendered by a real Helm: what it makes, and what it refuses."""

import copy
import json
import os
import re
import subprocess
import sys
import tomllib

import jsonschema
import pytest
import yaml
from rendering import CHART, HELM, ROOT, VALUES, helm, manifests, objects, template

VALIDATE = os.environ.get("KUBERNETES_VALIDATE", str(ROOT / ".venv/bin/kubernetes-validate"))
# Each name is a file in values/.
ALL_VALUES = sorted(path.stem for path in VALUES.glob("*.yaml"))
HELMS = {"helm": HELM, "helm3": os.environ.get("HELM3", str(ROOT / ".tools/bin/helm3"))}
# Of kinds that are not Kubernetes' own: see test_foreign_kinds.py.
FOREIGN = r"\.(istio\.io|coreos\.com|gateway\.networking\.k8s\.io|external-secrets\.io)/"
KUBERNETES = ["1.30", "1.35"]  # the oldest that the chart allows, and the newest that Helm 4.1 knows


def gateway_toml(values, *args):
    return tomllib.loads(objects(values, *args)["ConfigMap"]["data"]["gateway.toml"])


def pod_of(made):
    return made["StatefulSet"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("values", ALL_VALUES)
def test_lints_without_a_warning(values, binary):
    done = helm(["lint", "--strict"], values, binary=HELMS[binary])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_two_helms_are_two():
    versions = [subprocess.run([path, "version", "--short"], capture_output=True, text=True).stdout for path in HELMS.values()]
    assert [version[:3] for version in versions] == ["v4.", "v3."]


@pytest.mark.parametrize("values", ALL_VALUES)
def test_helm_3_and_4_make_the_same(values):
    assert template(values, binary=HELMS["helm3"]) == template(values, binary=HELMS["helm"])


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("values", ALL_VALUES)
def test_is_valid_for_kubernetes(values, kubernetes, tmp_path):
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(template(values, "--kube-version", f"{kubernetes}.0"))
    done = subprocess.run(
        [VALIDATE, "--strict", "-k", kubernetes, str(manifest)], capture_output=True, text=True
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    made = manifests(values)
    foreign = [item["kind"] for item in made if re.search(FOREIGN, "." + item["apiVersion"])]
    assert sorted(re.findall(r"Couldn't find schema for kind (\w+)", output)) == sorted(foreign)
    assert output.count("passed for resource") == len(made) - len(foreign)


def test_sqlite_is_a_stateful_set_of_one_with_a_volume():
    made = objects("sqlite")
    assert {item["kind"] for item in made.values()} == {"StatefulSet", "ConfigMap", "Service", "ServiceAccount", "Pod"}
    spec = made["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    (container,) = spec["template"]["spec"]["containers"]
    (path,) = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == claim["metadata"]["name"]]
    assert gateway_toml("sqlite")["store"]["url"] == f"sqlite:{path}/gateway.db"
    # Its pods have names by a Service without an address.
    (headless,) = [item for item in made.values() if item["kind"] == "Service" and item["spec"].get("clusterIP") == "None"]
    assert spec["serviceName"] == headless["metadata"]["name"]


@pytest.mark.parametrize("values", ["sqlite", "linkerd"])
def test_pod_is_restricted(values):
    made = objects(values)
    pod = pod_of(made)
    assert pod["automountServiceAccountToken"] is False
    assert made["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("values", ["sqlite", "full"])
def test_probes_have_a_port_of_their_own_and_a_pod_has_time_to_drain(values):
    made = objects(values)
    pod = pod_of(made)
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [probe["path"] for probe in probes] == ["/livez", "/livez", "/readyz"]
    assert {probe["port"] for probe in probes} == {"admin"}
    drain = gateway_toml(values)["drain"]
    assert drain["delay_s"] > 0
    assert drain["delay_s"] + drain["timeout_s"] < pod["terminationGracePeriodSeconds"]
    for listener in ("grpc", "http", "admin"):
        assert gateway_toml(values)[listener]["listen"] == f"0.0.0.0:{ports[listener]}"


def test_service_names_the_protocol_of_each_port():
    ports = {p["name"]: p for p in objects("full")["Service"]["spec"]["ports"]}
    assert (ports["grpc"]["port"], ports["grpc"]["targetPort"], ports["grpc"]["appProtocol"]) == (443, "grpc", "grpc")
    assert (ports["http"]["port"], ports["http"]["targetPort"], ports["http"]["appProtocol"]) == (80, "http", "http")
    assert (ports["admin"]["targetPort"], ports["admin"]["appProtocol"]) == ("admin", "http")


@pytest.mark.parametrize("values", ALL_VALUES)
def test_every_secret_file_of_the_configuration_is_mounted(values):
    made = objects(values)
    pod = pod_of(made)
    (mount,) = [m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "secrets"]
    (volume,) = [v["projected"] for v in pod["volumes"] if v["name"] == "secrets"]
    items = [item for source in volume["sources"] for kind in source.values() for item in kind["items"]]
    mounted = {f"{mount}/{item['path']}" for item in items}
    config = gateway_toml(values)
    named = {config["vault"]["keys_file"]}
    for credential in config["credentials"]:
        if "source" not in credential:
            named |= {credential["secret_id_file"], credential["secret_key_file"]}
    for section in (config["grpc"].get("tls", {}), config["store"], config["tencent"], config["auth"].get("jwt", {})):
        named |= {file for key, file in section.items() if key.endswith("_file")}
    named |= {c["webhook_secrets_file"] for c in config["callers"] if "webhook_secrets_file" in c}
    assert named == mounted


def test_configuration_carries_the_values_over():
    config = gateway_toml("full")
    assert config["http"]["public_url"] == "https://faceid.example.com/gateway"
    assert config["tencent"] == {
        "endpoint": "https://faceid.internal.tencentcloudapi.com",
        "backup_endpoints": ["https://faceid.ap-guangzhou.tencentcloudapi.com"],
        "host": "faceid.tencentcloudapi.com",
        "service": "faceid",
        "proxy_file": "/var/run/secrets/faceid-gateway/tencent/proxy",
        "ca_file": "/var/run/secrets/faceid-gateway/tencent/ca.crt",
        "connect_timeout_ms": 1000,
        "first_byte_timeout_ms": 3000,
        "timeout_ms": 5000,
        "max_in_flight": 500,
        "quotas": {"detect_auth": 50, "get_detect_info_enhanced": 40, "get_wechat_bill_details": 10},
        "sts_endpoint": "https://sts.internal.tencentcloudapi.com",
        "metadata_endpoint": "http://metadata.internal.example.com",
    }
    assert config["drain"] == {"delay_s": 15, "timeout_s": 60}
    assert config["log"] == {"level": "debug", "format": "text"}
    assert config["telemetry"] == {"otlp_endpoint": "http://otel-collector.observability:4317"}
    assert config["auth"] == {"mode": ["tokens"], "open": ["health", "reflection"]}
    assert config["id_card_limits"] == {"per_minute": 15, "per_day": 30}
    assert config["flows"][0] == {
        "name": "onboarding",
        "rule_id": "1",
        "credential": "main",
        "access_mode": "wechat_h5_native_overlay",
        "comparison": "authority",
        "requires": ["name", "id_number"],
        "intention": "read_aloud",
        "redirect_allow": ["https://shop.example.com/", "https://app.example.com/verify"],
        "evidence": ["best_frame", "video"],
        "evidence_retention_days": 7,
        "result_retention_days": 30,
    }
    assert config["evidence"] == {"url": "s3://faceid-evidence/prod"}
    assert config["reconcile"] == {"poll_after_minutes": [1, 10], "concurrency": 4}
    assert config["flows"][1]["requires"] == []
    encryption = config["flows"][1]["encryption"]
    assert (encryption["algorithm"], encryption["whole_response"]) == ("sm4_gcm", True)
    assert encryption["public_key"].startswith("-----BEGIN PUBLIC KEY-----\n")
    assert [caller["name"] for caller in config["callers"]] == ["orders", "support"]
    assert config["callers"][0]["flows"] == ["onboarding", "photo"]
    assert config["callers"][0]["rights"] == ["full_view"]
    assert len(config["callers"][0]["token_sha256"]) == 2
    assert config["callers"][0]["webhook_url"] == "https://orders.example.com/faceid-events"
    assert config["callers"][0]["webhook_allow_private"] is True
    assert config["callers"][0]["webhook_secrets_file"].endswith("/webhooks/orders")
    assert "webhook_url" not in config["callers"][1]
    assert (config["callers"][1]["requests_per_minute"], config["callers"][1]["creates_per_minute"]) == (600, 60)


def test_configuration_has_every_way_to_show_who_calls():
    config = gateway_toml("mtls")
    assert config["grpc"]["tls"]["client_cert"] == "required"
    assert config["auth"] == {
        "mode": ["tokens", "jwt", "mtls"],
        "open": ["health"],
        "jwt": {
            "jwks_url": "https://issuer.example.com/jwks.json",
            "issuer": "https://issuer.example.com",
            "audience": ["faceid"],
            "leeway_s": 10,
            "refresh_s": 60,
        },
        "mtls": {"trusted_proxies": ["127.0.0.6", "spiffe://mesh/ns/istio-system/sa/gateway"]},
    }
    assert config["id_card_limits"] == {"per_minute": 5, "per_day": 0}
    assert config["callers"][0]["jwt_subject"] == ["orders", "orders-batch"]
    assert config["callers"][1]["identities"] == ["spiffe://mesh/ns/bank/sa/loans", "dns:loans.internal"]
    assert config["callers"][1]["requests_per_minute"] == 0


# Made of the code: see src/config/schema.rs.
SETTINGS = json.loads((ROOT / "docs/configuration.schema.json").read_text(encoding="utf-8"))
NOT_OF_A_CHART = {
    "credentials[].profile": "a pod has no file of the vendor's command line",
    "credentials[].profile_file": "a pod has no file of the vendor's command line",
    "flows[].encryption.public_key_file": "the key is no secret, and is a value",
}


def settings_of(schema, path=""):
    """The path of every setting; a secret is one that is given in a file."""
    for name, setting in schema["properties"].items():
        here = f"{path}.{name}" if path else name
        if "properties" in setting:
            yield from settings_of(setting, here)
        elif "properties" in setting.get("items", {}):
            yield from settings_of(setting["items"], f"{here}[]")
        elif not setting.get("writeOnly"):
            yield here


def settings_in(config, path=""):
    """The path of every setting that a configuration sets."""
    for name, value in config.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield from settings_in(value, here)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in value:
                yield from settings_in(entry, f"{here}[]")
        else:
            yield here


def out_of_reach(schema):
    """Settings that no value of the chart leads to."""
    reached = {path for values in ALL_VALUES for path in settings_in(gateway_toml(values))}
    return set(settings_of(schema)) - reached


def test_every_setting_is_reached_from_the_chart():
    assert out_of_reach(SETTINGS) == set(NOT_OF_A_CHART)


def test_a_setting_that_the_chart_leaves_out_is_noticed():
    more = copy.deepcopy(SETTINGS)
    more["properties"]["log"]["properties"]["shade"] = {"type": "string"}
    more["properties"]["flows"]["items"]["properties"]["colour"] = {"type": "string"}
    assert out_of_reach(more) - set(NOT_OF_A_CHART) == {"log.shade", "flows[].colour"}


@pytest.mark.parametrize("values", ALL_VALUES)
def test_configuration_keeps_to_the_schema_of_the_settings(values):
    jsonschema.Draft202012Validator(SETTINGS).validate(gateway_toml(values))


def test_strings_come_through_toml_as_they_are():
    awkward = 'a"b\\c&d<e>\'f\'\t字𠮷'
    flow = json.dumps(awkward, ensure_ascii=False)
    config = gateway_toml("sqlite", "--set-json", f"flows[0].ruleId={flow}")
    assert config["flows"][0]["rule_id"] == awkward


def test_notes_name_every_secret_that_must_exist():
    done = helm(["install", "rel", "--dry-run=client"], "full", "--namespace", "identity")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.split("NOTES:")[1]
    named = re.findall(r"^  (\S*)  \(keys? ", notes, re.MULTILINE)
    expected = ["faceid-vault", "faceid-tencent", "faceid-tencent-bank", "orders-webhook", "faceid-bucket", "faceid-proxy"]
    assert named == expected, "each once, and no credential of a source"
    assert "https://faceid.example.com/gateway/callback" in notes


def test_new_configuration_makes_new_pods():
    def checksum(*args):
        return objects("sqlite", *args)["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum() == checksum()
    assert checksum() != checksum("--set", "log.level=debug")


def test_callers_are_read_again_without_new_pods_but_for_their_webhooks():
    def checksum(*args):
        return objects("full", *args)["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    token = f"callers[1].tokenSha256[0]={'ab' * 32}"
    assert gateway_toml("full", "--set", token)["callers"][1]["token_sha256"] == ["ab" * 32]
    assert checksum() == checksum("--set", token)
    assert checksum() != checksum("--set", "callers[0].webhook.existingSecret=other")


@pytest.mark.parametrize(
    ("values", "args", "message"),
    [
        pytest.param(
            "sqlite", ["--set", "replicas=2"],
            "replicas is 2, but SQLite has one writer",
            id="sqlite-with-two-replicas",
        ),
        pytest.param(
            "sqlite", ["--set", "autoscaling.enabled=true"],
            "autoscaling.enabled is true, but SQLite has one writer",
            id="sqlite-scaled",
        ),
        pytest.param(
            "postgres", ["--set", "evidence.url="], "store.postgres.url is set, and evidence.url names no bucket",
            id="postgres-without-a-bucket",
        ),
        pytest.param(
            "postgres", ["--set", "store.postgres.url=postgres://faceid:secret@db/faceid"], "does not match pattern",
            id="password-in-the-url",
        ),
        pytest.param(
            "sqlite", ["--set", "store.urlSecret.name=faceid-database"],
            "additional properties 'urlSecret' not allowed",
            id="another-database",
        ),
        pytest.param(
            "sqlite", ["--set", "service.httpPort=50051"],
            "service.grpcPort, httpPort and adminPort must differ",
            id="one-port-twice",
        ),
        pytest.param(
            "sqlite", ["--set", "extraEnv[0].name=FACEID_GATEWAY__VAULT__KEYS,extraEnv[0].value=k1:in-the-clear"],
            "extraEnv: FACEID_GATEWAY__VAULT__KEYS is a setting",
            id="setting-in-the-environment",
        ),
        pytest.param(
            "full", ["--set", "ingress.enabled=true"],
            "ingress.enabled with a path in http.publicUrl",
            id="ingress-with-a-path",
        ),
        pytest.param(
            "full", ["--set-json", "httpRoute.parentRefs=[]"],
            "httpRoute.parentRefs is empty",
            id="route-without-a-gateway",
        ),
        pytest.param(
            "sqlite", ["--set", "grpcRoute.enabled=true"],
            "grpcRoute.parentRefs is empty",
            id="grpc-route-without-a-gateway",
        ),
        pytest.param(
            "full", ["--set", "podMonitor.enabled=true"],
            "serviceMonitor and podMonitor are both enabled",
            id="scraped-twice",
        ),
        pytest.param(
            "istio", ["--set", "linkerd.enabled=true"],
            "istio and linkerd are both enabled",
            id="two-meshes",
        ),
        pytest.param(
            "istio", ["--set", "grpc.tls.existingSecret=faceid-tls"],
            "istio.enabled with grpc.tls.existingSecret",
            id="tls-inside-of-the-mesh",
        ),
        pytest.param(
            "full", ["--set-json", "networkPolicy.adminFrom=[]"],
            "networkPolicy/adminFrom",
            id="admin-port-for-everybody",
        ),
        pytest.param(
            "full", ["--set", "commonLabels.team=not a label"],
            "commonLabels/team",
            id="no-label",
        ),
        pytest.param(
            "sqlite", ["--set", "vault.existingSecret.name="],
            "vault.existingSecret.name is required",
            id="no-vault-secret",
        ),
        pytest.param(
            "sqlite", ["--set", "http.publicUrl="],
            "http.publicUrl is required",
            id="no-public-url",
        ),
        pytest.param(
            "sqlite", ["--set-json", "callers=[]"],
            "callers is empty",
            id="no-callers",
        ),
        pytest.param(
            "sqlite", ["--set-json", 'auth.modes=["jwt"]'],
            "auth.jwt.jwksUrl (or jwksConfigMap), issuer and audience are required with the mode jwt",
            id="jwt-of-nobody",
        ),
        pytest.param(
            "sqlite", ["--set-json", 'auth.modes=["tokens","mtls"]'],
            "the mode mtls needs grpc.tls.existingSecret and grpc.tls.clientCa.name, or auth.trustedProxies",
            id="mtls-without-certificates",
        ),
        pytest.param(
            "mtls", ["--set-json", 'auth.modes=["tokens","jwt"]'],
            'callers: "loans" has no tokenSha256, jwtSubjects or identities of a mode in auth.modes',
            id="caller-that-cannot-call",
        ),
        pytest.param(
            "sqlite", ["--set-json", 'auth.modes=["none"]'],
            "auth/modes/0",
            id="no-authentication",
        ),
        pytest.param(
            "sqlite", ["--set", "flows[0].credential=other"],
            'flows: "onboarding" uses the credential "other", which is not among credentials',
            id="flow-with-unknown-credential",
        ),
        pytest.param(
            "sqlite", ["--set", "callers[0].flows[0]=other"],
            'callers: "orders" may use the flow "other", which is not among flows',
            id="caller-with-unknown-flow",
        ),
        pytest.param(
            "full", ["--set", "credentials[1].name=main"],
            'credentials: the name "main" is used twice',
            id="name-used-twice",
        ),
        pytest.param(
            "sqlite", ["--set", "drain.timeoutSeconds=40"],
            "gracePeriodSeconds must be longer than drain.delaySeconds and drain.timeoutSeconds together",
            id="no-time-to-drain",
        ),
        pytest.param(
            "sqlite", ["--set", "replicaCount=2"],
            "additional properties 'replicaCount' not allowed",
            id="unknown-key",
        ),
        pytest.param(
            "sqlite", ["--set", "http.publicURL=https://faceid.example.com"],
            "additional properties 'publicURL' not allowed",
            id="misspelt-key",
        ),
        pytest.param(
            "sqlite", ["--set", "credentials[0].secretKey=in-the-clear"],
            "additional properties 'secretKey' not allowed",
            id="credential-in-the-clear",
        ),
        pytest.param(
            "sqlite", ["--set", "store.url=postgres://user:password@host/db"],
            "additional properties 'url' not allowed",
            id="database-url-in-the-clear",
        ),
        pytest.param(
            "sqlite", ["--set", "vault.keys=k1:in-the-clear"],
            "additional properties 'keys' not allowed",
            id="vault-keys-in-the-clear",
        ),
        pytest.param(
            "sqlite", ["--set", "callers[0].tokenSha256[0]=a-token-in-the-clear"],
            "does not match pattern '^[0-9a-f]{64}$'",
            id="caller-token-in-the-clear",
        ),
        pytest.param(
            "sqlite", ["--set", "flows[0].ruleId=1"],
            "got number, want string",
            id="rule-id-not-quoted",
        ),
        pytest.param(
            "sqlite", ["--kube-version", "1.29.0"],
            "chart requires kubeVersion: >=1.30.0-0",
            id="kubernetes-too-old",
        ),
    ],
)  # fmt: skip
def test_refuses(values, args, message):
    done = helm(["template", "rel"], values, *args)
    assert done.returncode != 0, done.stdout
    assert message in done.stderr
    assert done.stdout == ""


def test_names_every_fault_at_once():
    done = helm(["template", "rel"], "sqlite", "--set", "replicas=2,vault.existingSecret.name=,http.publicUrl=")
    assert done.returncode != 0
    for fault in ("replicas is 2", "vault.existingSecret.name is required", "http.publicUrl is required"):
        assert fault in done.stderr


def test_a_credential_may_come_from_a_source():
    role = ["--set", "credentials[1].name=role", "--set", "credentials[1].source.kind=sts_assume_role"]
    role += ["--set", "credentials[1].source.roleArn=qcs::cam::uin/1:roleName/r"]
    role += ["--set", "credentials[1].source.basedOn=main", "--set", "credentials[1].source.durationS=3600"]
    made = gateway_toml("sqlite", *role)["credentials"]
    assert made[1] == {
        "name": "role",
        "source": "sts_assume_role",
        "role_arn": "qcs::cam::uin/1:roleName/r",
        "based_on": "main",
        "duration_s": 3600,
    }
    both = helm(["template", "rel"], "sqlite", *role, "--set", "credentials[1].existingSecret=x")
    assert both.returncode != 0


def test_alerts_are_made_when_asked_for():
    assert "PrometheusRule" not in objects("sqlite")
    rule = objects("sqlite", "--set", "prometheusRule.enabled=true", "--set", "prometheusRule.labels.release=prom")
    made = rule["PrometheusRule"]
    assert made["metadata"]["labels"]["release"] == "prom"
    # Helm leaves Prometheus' own placeholders alone.
    assert "{{ $labels.credential }}" in json.dumps(made["spec"])


def by_kind(values, *args):
    made = {}
    for item in manifests(values, *args):
        made.setdefault(item["kind"], []).append(item)
    return made


def test_only_what_is_asked_for_is_made():
    optional = {"PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PodMonitor", "PrometheusRule", "Ingress"}
    optional |= {"HTTPRoute", "GRPCRoute", "VirtualService", "DestinationRule", "PeerAuthentication", "AuthorizationPolicy"}
    assert not optional & set(by_kind("sqlite"))
    assert optional <= set(by_kind("full")) | set(by_kind("istio")) | set(by_kind("linkerd"))


def test_every_object_has_the_common_labels():
    for item in manifests("full"):
        if item["metadata"]["name"] != "rel-more":  # of extraObjects
            assert item["metadata"]["labels"]["example.com/owner"] == "identity", item["kind"]
    # The chart's own win: the selectors rely on them.
    made = objects("sqlite", "--set", r"commonLabels.app\.kubernetes\.io/name=other", "--set", r"podLabels.app\.kubernetes\.io/name=other")
    spec = made["StatefulSet"]["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert made["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"]


def test_the_pod_of_helm_test_is_in_no_selector_and_asks_whether_the_service_is_ready():
    made = objects("full")
    pod, service = made["Pod"], made["Service"]
    assert not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    port = next(port["port"] for port in service["spec"]["ports"] if port["name"] == "admin")
    assert container["command"][-1] == f"http://{service['metadata']['name']}:{port}/readyz"
    (rule,) = [rule for rule in made["NetworkPolicy"]["spec"]["ingress"] if rule["ports"] == [{"port": "admin"}]]
    selectors = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert any(selector.items() <= pod["metadata"]["labels"].items() for selector in selectors)


def test_the_pod_takes_what_is_added_to_it():
    pod = pod_of(objects("full"))
    gateway, sidecar = pod["containers"]
    assert {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"} in gateway["env"]
    assert [next(iter(source)) for source in gateway["envFrom"]] == ["secretRef", "configMapRef"]
    assert {"name": "company", "mountPath": "/etc/company", "readOnly": True} in gateway["volumeMounts"]
    assert {"name": "company", "configMap": {"name": "company"}} in pod["volumes"]
    assert (pod["initContainers"][0]["name"], sidecar["name"]) == ("wait", "logs")
    assert pod["priorityClassName"] == "business-critical"
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["runAsNonRoot"] is True, "what is not overridden stays"
    assert gateway["startupProbe"]["failureThreshold"] == 300
    assert gateway["startupProbe"]["httpGet"]["path"] == "/livez"
    assert objects("full")["ConfigMap rel-more"]["data"] == {"key": "value"}


def peers_of(policy, direction, port):
    side = {"ingress": "from", "egress": "to"}[direction]
    rules = [rule for rule in policy["spec"][direction] if port in [entry["port"] for entry in rule.get("ports", [])]]
    return [peer for rule in rules for peer in rule.get(side, ["everything"])]


def test_network_policy_lets_through_what_is_needed_and_no_more():
    def namespace(name):
        return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}

    (policy,) = by_kind("full")["NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert peers_of(policy, "ingress", "grpc") == [namespace("shop")]
    assert peers_of(policy, "ingress", "http") == [namespace("ingress")]
    assert peers_of(policy, "ingress", "admin")[0] == namespace("monitoring")
    assert peers_of(policy, "egress", 4317) == [namespace("observability")], "the port of telemetry.otlpEndpoint"
    assert peers_of(policy, "egress", 53)[0]["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    vendor, receiver = peers_of(policy, "egress", 443)
    assert vendor["ipBlock"]["cidr"] == "0.0.0.0/0" and "10.0.0.0/8" in vendor["ipBlock"]["except"]
    assert receiver == {"podSelector": {"matchLabels": {"app": "orders"}}}
    assert {entry["port"] for rule in policy["spec"]["egress"] for entry in rule["ports"]} == {53, 443, 4317, 80}
    # Without a collector nothing leads to one; a receiver's own port is kept.
    (plain,) = by_kind("full", "--set", "telemetry.otlpEndpoint=,callers[0].webhook.url=https://orders.example.com:8443/x")["NetworkPolicy"]
    assert peers_of(plain, "egress", 4317) == []
    assert peers_of(plain, "egress", 8443) == [receiver]
    (https,) = by_kind("full", "--set", "telemetry.otlpEndpoint=https://otel.example.com")["NetworkPolicy"]
    assert len(peers_of(https, "egress", 443)) == 3


def test_browsers_get_to_the_callback_and_nowhere_else():
    (ingress,) = by_kind("linkerd")["Ingress"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == ("faceid.example.com", "/callback", "Exact")
    assert path["backend"]["service"]["port"] == {"name": "http"}
    (route,) = by_kind("full")["HTTPRoute"]
    (rule,) = route["spec"]["rules"]
    assert route["spec"]["hostnames"] == ["faceid.example.com"]
    assert rule["matches"] == [{"path": {"type": "Exact", "value": "/gateway/callback"}, "method": "GET"}]
    assert rule["filters"][0]["urlRewrite"]["path"] == {"type": "ReplaceFullPath", "replaceFullPath": "/callback"}
    assert rule["backendRefs"] == [{"name": "faceid", "port": 80}]
    (plain,) = by_kind("full", "--set", "http.publicUrl=https://faceid.example.com/")["HTTPRoute"]
    assert "filters" not in plain["spec"]["rules"][0]
    assert plain["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/callback"
    (edge,) = [item for item in by_kind("istio")["VirtualService"] if item["metadata"]["name"].endswith("-callback")]
    (http,) = edge["spec"]["http"]
    assert http["match"] == [{"uri": {"exact": "/identity/callback"}, "method": {"exact": "GET"}}]
    assert http["rewrite"] == {"uri": "/callback"}


def test_istio_repeats_no_create_and_lets_in_who_is_named():
    made = by_kind("istio")
    (mesh,) = [item for item in made["VirtualService"] if not item["metadata"]["name"].endswith("-callback")]
    routes = {route["name"]: route for route in mesh["spec"]["http"]}
    assert list(routes)[:2] == ["create", "grpc"], "the first that matches counts"
    assert routes["create"]["retries"] == {"attempts": 0}
    proto = (ROOT / "proto/faceid/v1/verification_service.proto").read_text(encoding="utf-8")
    service, method = routes["create"]["match"][0]["uri"]["exact"].removeprefix("/faceid.v1.").split("/")
    assert f"service {service} {{" in proto and f"rpc {method}(" in proto
    numbers = {port["name"]: port["port"] for port in made["Service"][0]["spec"]["ports"]}
    for name, route in routes.items():
        port = numbers["grpc" if name == "create" else name]
        assert route["match"][0]["port"] == route["route"][0]["destination"]["port"]["number"] == port
    (authorization,) = made["AuthorizationPolicy"]
    rules = {rule["to"][0]["operation"]["ports"][0]: rule for rule in authorization["spec"]["rules"]}
    assert set(rules) == {"50051", "8080", "9464"}
    assert rules["50051"]["from"] == [{"source": {"principals": ["cluster.local/ns/shop/sa/orders"]}}]
    (peer,) = made["PeerAuthentication"]
    assert (peer["spec"]["mtls"], peer["spec"]["portLevelMtls"]) == ({"mode": "STRICT"}, {9464: {"mode": "PERMISSIVE"}})
    ports = {str(port["containerPort"]) for port in pod_of(objects("istio"))["containers"][0]["ports"]}
    assert set(rules) == ports


def test_a_sidecar_lives_as_long_as_the_drain():
    pod = objects("istio", "--set", "drain.delaySeconds=7,drain.timeoutSeconds=20")["StatefulSet"]["spec"]["template"]
    config = yaml.safe_load(pod["metadata"]["annotations"]["proxy.istio.io/config"])
    assert config == {"holdApplicationUntilProxyStarts": True, "terminationDrainDuration": "27s"}
    annotations = objects("linkerd")["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["linkerd.io/inject"] == "enabled"
    assert annotations["config.beta.linkerd.io/proxy-enable-native-sidecar"] == "true"


def test_each_pod_is_scraped_once():
    made = by_kind("full")
    (monitor,) = made["ServiceMonitor"]
    selector = monitor["spec"]["selector"]
    (absent,) = [e["key"] for e in selector["matchExpressions"] if e["operator"] == "DoesNotExist"]
    chosen = [
        service
        for service in made["Service"]
        if selector["matchLabels"].items() <= service["metadata"]["labels"].items()
        and absent not in service["metadata"]["labels"]
    ]
    assert len(chosen) == 1
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {"port": "admin", "path": "/metrics", "interval": "15s", "scrapeTimeout": "5s"}
    assert endpoint["port"] in [port["name"] for port in chosen[0]["spec"]["ports"]]
    (pod_monitor,) = by_kind("istio")["PodMonitor"]
    assert pod_monitor["spec"]["podMetricsEndpoints"][0]["port"] == "admin"


def test_the_readme_says_what_values_yaml_says(tmp_path):
    check = [sys.executable, "scripts/chart-readme", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # And it would be noticed.
    for path in ("scripts/chart-readme", "helm/faceid-gateway/values.yaml", "helm/faceid-gateway/README.md"):
        copied = tmp_path / path
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text((ROOT / path).read_text(encoding="utf-8").replace("\nreplicas: 1\n", "\nreplicas: 0\n"), encoding="utf-8")
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert "is not what values.yaml says" in done.stderr


def test_the_example_of_external_secrets_fills_the_secrets_of_the_chart():
    made = by_kind("sqlite", "--values", str(CHART / "examples/external-secrets.yaml"))
    filled = {
        item["spec"]["target"]["name"]: {entry["secretKey"] for entry in item["spec"]["data"]}
        for item in made["ExternalSecret"]
    }
    (volume,) = [v["projected"] for v in pod_of(objects("sqlite"))["volumes"] if v["name"] == "secrets"]
    wanted = {s["secret"]["name"]: {item["key"] for item in s["secret"]["items"]} for s in volume["sources"]}
    assert filled == wanted
    assert {entry["remoteRef"]["key"].split("/")[1] for item in made["ExternalSecret"] for entry in item["spec"]["data"]} == {"identity"}


SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
# Taken over into objects as they are: Kubernetes judges them.
KUBERNETES_OWN = {"podSecurityContext", "securityContext", "affinity", "strategy.rollingUpdate", "resources.requests", "resources.limits"}
KUBERNETES_OWN |= {"nodeSelector", "podAnnotations", "podLabels", "commonLabels"}


def sections(values, path=""):
    yield path, values
    for name, value in values.items():
        here = f"{path}.{name}".lstrip(".")
        if isinstance(value, dict) and here not in KUBERNETES_OWN and not here.endswith((".labels", ".annotations")):
            yield from sections(value, here)


def test_no_section_takes_a_key_that_it_does_not_know():
    values = copy.deepcopy(DEFAULTS)
    values.update(yaml.safe_load((VALUES / "sqlite.yaml").read_text(encoding="utf-8")) | {"http": values["http"], "vault": values["vault"]})
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(values)
    tried = 0
    for path, section in sections(values):
        section["surprise"] = 1
        faults = [error.message for error in validator.iter_errors(values)]
        assert any("'surprise' was unexpected" in fault for fault in faults), path
        del section["surprise"]
        tried += 1
    assert tried > 25


def test_every_default_has_a_type_in_the_schema():
    """Each leaf refuses a value of another kind."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for path, section in sections(copy.deepcopy(DEFAULTS)):
        for name, value in section.items():
            wrong = copy.deepcopy(DEFAULTS)
            place = wrong
            for step in path.split(".") if path else []:
                place = place[step]
            place[name] = [] if not isinstance(value, list) else "text"
            assert list(validator.iter_errors(wrong)), f"{path}.{name}"

"""The configuration that the Helm chart writes is one that the binary takes, on the paths of this machine."""

import datetime
import os
import subprocess

import pytest
import yaml
from conftest import SECRET_ID, SECRET_KEY
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from processes import ROOT, VAULT_KEYS, GatewayProcess, free_ports
from reflected import ReflectedClient


def certificate():
    """Of an authority that nobody has."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "invented")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


HELM = os.environ.get("HELM", str(ROOT / ".tools/bin/helm"))


class ChartProcess(GatewayProcess):
    """The container's command, with the chart's configuration."""

    name = "chart"

    def __init__(self, binary, folder, values, env=None):
        rendered = subprocess.run(
            [HELM, "template", "rel", str(ROOT / "helm/faceid-gateway"), "--values", str(ROOT / "tests/helm/values" / values)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        objects = [item for item in yaml.safe_load_all(rendered) if item]
        (workload,) = [item for item in objects if item["kind"] == "StatefulSet"]
        container = workload["spec"]["template"]["spec"]["containers"][0]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

        ports = free_ports(3)
        (config,) = [item["data"]["gateway.toml"] for item in objects if "gateway.toml" in item.get("data", {})]
        for theirs, ours in {
            '"0.0.0.0:50051"': f'"127.0.0.1:{ports[0]}"',
            '"0.0.0.0:8080"': f'"127.0.0.1:{ports[1]}"',
            '"0.0.0.0:9464"': f'"127.0.0.1:{ports[2]}"',
            mounts["secrets"]: str(folder / "secrets"),
            mounts.get("data", "/no/volume"): str(folder / "data"),
        }.items():
            config = config.replace(theirs, ours)
        (folder / "gateway.toml").write_text(config, encoding="utf-8")
        args = [arg.replace(mounts["config"], str(folder)) for arg in container["args"]]

        (folder / "data").mkdir()
        secrets = next(v for v in workload["spec"]["template"]["spec"]["volumes"] if v["name"] == "secrets")
        contents = {"vault.keys": VAULT_KEYS, "secret_id": SECRET_ID, "secret_key": SECRET_KEY}
        # Of the caller `orders`; invented.
        contents["orders"] = "whsec_aW52ZW50ZWQtd2ViaG9vay1zZWNyZXQtb2Ytbm9ib2R5\n"
        contents["proxy"] = "http://user:password@127.0.0.1:1"
        contents["ca.crt"] = certificate()
        for source in secrets["projected"]["sources"]:
            for kind in source.values():
                for item in kind["items"]:
                    path = folder / "secrets" / item["path"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(contents[path.name])
                    path.chmod(secrets["projected"]["defaultMode"])
        # A bucket is another test's.
        bucket = {"FACEID_GATEWAY__EVIDENCE__URL": f"file:{folder}/data/evidence"} if "s3://" in config else {}
        super().__init__(binary, args, folder, ports, bucket | (env or {}))


# Its SHA-256 is in the value files.
TOKEN = "hello world"
NOBODY = {"verification_id": "01890000-0000-7000-8000-000000000000"}


@pytest.mark.parametrize("values", ["sqlite.yaml", "full.yaml"])
def test_binary_takes_the_configuration_of_the_chart(binary, run, tmp_path, values):
    # Nothing listens for traces on this machine.
    env = {"FACEID_GATEWAY__TELEMETRY__OTLP_ENDPOINT": ""}
    with run(ChartProcess, binary, tmp_path, values, env=env) as gateway, gateway.channel() as channel:
        # Neither call gets as far as the vendor: these flows lead to the real one.
        client = ReflectedClient(channel)
        for metadata in (None, [("authorization", "Bearer another token")]):
            refused = client.refusal("GetResult", NOBODY, metadata)
            assert (refused.code.name, refused.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        known = client.refusal("GetResult", NOBODY, [("authorization", f"Bearer {TOKEN}")])
        assert known.code.name == "NOT_FOUND"

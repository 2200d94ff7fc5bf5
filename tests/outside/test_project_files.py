"""Facts that stand in more than one file of the project, and files that only other programs read."""

import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from processes import ROOT

RUN_TIMEOUT_S = 60
UNIT = ROOT / "contrib/systemd/faceid-gateway.service"
# Of 100, for systemd's rating of what a service could do to its host; a unit without any restriction has 96.
MAX_EXPOSURE = 15


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def toml_of(path):
    return tomllib.loads(text_of(path))


def run(*command, cwd=ROOT):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def tool(name):
    return str(pathlib.Path(sys.executable).parent / name)


def test_one_version():
    version = toml_of("Cargo.toml")["package"]["version"]
    chart = yaml.safe_load(text_of("helm/faceid-gateway/Chart.yaml"))
    assert (chart["version"], chart["appVersion"]) == (version, version)
    newest = re.search(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert newest[1] == version, "the changelog begins with another version"


def test_one_rust():
    """The compiler that all steps use is the oldest one that the project promises to work with."""
    toolchain = toml_of("rust-toolchain.toml")["toolchain"]["channel"]
    promised = toml_of("Cargo.toml")["package"]["rust-version"]
    assert re.fullmatch(rf"{re.escape(promised)}\.\d+", toolchain)
    assert run("rustc", "--version").split()[1] == toolchain
    for path in (".github/workflows/test.yml", "Dockerfile"):
        assert f"rust:{toolchain}-bookworm" in text_of(path), path
    for path in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md"):
        assert f"Rust {promised}" in text_of(path), path


def test_hosted_ci_runs_scripts_test_and_nothing_else():
    path = ".github/workflows/test.yml"
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", path)
    jobs = yaml.safe_load(text_of(path))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == ["scripts/test"]
    assert [step["uses"].split("@")[0] for step in steps if "uses" in step] == ["actions/checkout"]


def test_the_unit_is_one_and_leaves_the_service_little(binary, tmp_path):
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8").replace("/usr/local/bin/faceid-gateway", str(binary))
    unit.write_text(text, encoding="utf-8")
    run("systemd-analyze", "verify", str(unit))
    run("systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(unit))


def test_the_dockerfile_is_linted():
    run(tool("hadolint"), "Dockerfile")


def settings(binary):
    """Every key that `serve --print-defaults` names, commented out or not, by its section."""
    section, keys = None, set()
    for line in run(str(binary), "serve", "--print-defaults").splitlines():
        if header := re.match(r"#?\[+([a-z_.]+)\]+$", line):
            section = header[1]
        elif key := re.match(r"#?([a-z_0-9]+) = ", line):
            keys.add((section, re.sub(r"_file$", "", key[1]) if key[1] in FILES else key[1]))
    return keys


# Keys that are named by the value in the page and by the file in the defaults.
FILES = ["keys_file", "proxy_file", "secret_id_file", "secret_key_file", "public_key_file", "webhook_secrets_file"]
LISTS = ["credentials", "flows", "flows.encryption", "callers"]


@pytest.mark.parametrize("page", ["docs/CONFIGURATION.md", "docs/CONFIGURATION.zh-CN.md"])
def test_every_setting_is_on_the_page_and_no_other_is(binary, page):
    text = text_of(page)
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    shown = {name for row in rows for name in re.findall(r"`([a-z_0-9.]+)`", row)}
    expected = {key if section in LISTS else f"{section}.{key}" for section, key in settings(binary)}
    assert len(expected) > 60, "the defaults are no longer printed as this test reads them"
    assert expected <= shown
    explained = run(str(binary), "serve", "--print-defaults")
    assert [name for name in shown - expected if not re.search(rf"\b{name.split('.')[-1]}\b", explained)] == []


@pytest.mark.parametrize("page", ["docs/CONFIGURATION", "docs/GOING_LIVE"])
def test_a_translation_names_the_same_things(page):
    def structure(path):
        text = text_of(path)
        return {
            "headings": re.findall(r"^#+(?= )", text, re.MULTILINE),
            "code": re.findall(r"^```\w+\n.*?^```$", text, re.MULTILINE | re.DOTALL),
            "rows": [sorted(re.findall(r"`([^`]+)`", row)) for row in text.splitlines() if row.startswith("|")],
            "names": set(re.findall(r"`([^`\n]+)`", text)),
            "vendor documents": sorted(re.findall(r"\[[\d/, ]+\]", text)),
        }

    english, chinese = structure(f"{page}.md"), structure(f"{page}.zh-CN.md")
    for part in english:
        assert chinese[part] == english[part], part


def anchors(text):
    """What the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_the_pages_lead_somewhere():
    pages = [page for pattern in ("*.md", "docs/**/*.md", "helm/**/*.md") for page in ROOT.glob(pattern)]
    links = 0
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            links += 1
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{page} links to {link}"
            if anchor:
                assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page} links to {link}"
    assert links > 30


def test_the_control_port_is_documented():
    routes = set()
    for path in ("src/simulator/control.rs", "src/simulator/control/account.rs"):
        for route, methods in re.findall(r'\.route\("([^"]+)", (.+)\)$', text_of(path), re.MULTILINE):
            routes |= {f"{method.upper()} {route}" for method in re.findall(r"\b(get|post|delete)\(", methods)}
    faults = text_of("src/simulator/faults.rs").partition("pub(super) enum Fault {")[2].partition("\n}")[0]
    kinds = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in re.findall(r"^    ([A-Z]\w*)", faults, re.MULTILINE)}
    kinds = {"html_200" if kind == "html200" else kind for kind in kinds}
    assert len(routes) > 20 and len(kinds) > 15

    rows = re.findall(r"^\| (`.+?`) \|", text_of("docs/SIMULATOR.md"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)} - {"127.0.0.1:8081", "127.0.0.1:8082"}
    assert named == routes | kinds

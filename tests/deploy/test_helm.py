"""The Helm chart and the compose file: what they set is a setting; Kubernetes takes the chart."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services import VERSION
from services.settings.models import load_settings
from tests.servers import need

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "scanpush"
COMPOSE = ROOT / "deploy" / "compose"

SECRETS = {
    "REDIS__URL": "redis://:a-password@redis:6379/0",
    "MONGODB__URL": "mongodb://scanpush:a-password@mongodb:27017/?authSource=admin",
    "WECHAT__ACCOUNTS__DEFAULT__APP_SECRET": "0123456789abcdef0123456789abcdef",
    "WECHAT__ACCOUNTS__DEFAULT__CALLBACK_TOKEN": "token123",
    "WECHAT__ACCOUNTS__DEFAULT__ENCODING_AES_KEY": "kq2yX8ZbN4vTm6RjW1sHc9fLpD3gUa7eKxQoYiEwB5n",
    "OPERATOR__TOKEN": "a-token-of-the-operator",
}
"""What is given as files, in either way of deployment."""

WECHAT = {"wechat": {"accounts": {"default": {"app_id": "wx0123456789abcdef"}}}}

HELM = "scripts/test --all builds it with Go"


def check(config: dict[str, Any], names: set[str], folder: Path) -> None:
    """The server starts with that config.yaml, and takes these settings from files."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    variables = {}
    for name in names:
        (folder / name).write_text(SECRETS[name])
        variables[f"SCANPUSH_{name}_FILE"] = str(folder / name)
    settings = load_settings(folder / "config.yaml", variables)
    assert settings.backend == "distributed"
    assert settings.redis.url.get_secret_value() == SECRETS["REDIS__URL"]


def test_the_values_of_the_chart_are_settings(tmp_path: Path) -> None:
    """Its config with an account, and its secrets."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values["secretSettings"]) == set(SECRETS)
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == VERSION
    assert f"scanpush:{VERSION} ." in (ROOT / "docs" / "deployment.md").read_text()
    check({**values["config"], **WECHAT}, set(SECRETS), tmp_path)


def test_the_nodes_of_the_compose_file_are_set_up_as_the_server_wants(tmp_path: Path) -> None:
    """Secrets are files, nothing can be written, and a stop leaves more time than the drain."""
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    config = yaml.safe_load((COMPOSE / "config.yaml").read_text())
    for name in ("node0", "node1"):
        node = compose["services"][name]
        given = {
            variable.removeprefix("SCANPUSH_").removesuffix("_FILE"): path
            for variable, path in node["environment"].items()
        }
        assert set(given) == set(SECRETS)
        assert {path.removeprefix("/run/secrets/") for path in given.values()} == set(
            node["secrets"]
        )
        assert node["read_only"] and node["cap_drop"] == ["ALL"] and "ports" not in node
        assert int(node["stop_grace_period"].removesuffix("s")) > 10
    assert set(compose["secrets"]) >= {
        s for n in compose["services"].values() for s in n.get("secrets", [])
    }
    nginx = compose["services"]["nginx"]["networks"]["public"]["ipv4_address"]
    assert config["server"]["trusted_proxies"] == [nginx]
    check(config, set(SECRETS), tmp_path)


def test_prepare_makes_secrets_once_and_points_nginx_at_the_nodes(tmp_path: Path) -> None:
    """What it made is not made again; stores and server get the same passwords."""
    folder = tmp_path / "deploy" / "compose"
    folder.mkdir(parents=True)
    for path in (COMPOSE / "prepare.sh", ROOT / "deploy" / "nginx.conf"):
        kept = folder if path.parent == COMPOSE else folder.parent
        (kept / path.name).write_text(path.read_text())
    made = []
    for _ in range(2):
        ran = subprocess.run(
            ["sh", str(folder / "prepare.sh"), "login.example.org"], capture_output=True, text=True
        )
        assert ran.returncode == 0 and "fill in secrets/app_secret" in ran.stderr
        made.append({path.name: path.read_text() for path in (folder / "secrets").iterdir()})
    assert made[0] == made[1]
    password = made[0]["redis.conf"].split()[1]
    assert len(password) == 48 and f":{password}@" in made[0]["redis_url"]
    assert f":{made[0]['mongodb_password']}@" in made[0]["mongodb_url"]
    site = (folder / "nginx.conf").read_text()
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    for name in ("node0", "node1"):
        address = compose["services"][name]["networks"]["public"]["ipv4_address"]
        assert f"server {address}:8888 " in site
    assert "example.com" not in site and "[::]" not in site and "127.0.0.1:" not in site
    mounted = [volume.split(":")[1] for volume in compose["services"]["nginx"]["volumes"]]
    assert "/etc/nginx/nginx.conf" in mounted, "nginx's own has room for 512 pages a core"
    assert "events { worker_connections 20000; }" in site


def helm(*arguments: str, fails: bool = False) -> str:
    """What helm printed."""
    command = [need("helm", hint=HELM), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert (ran.returncode != 0) == fails, ran.stdout + ran.stderr
    return ran.stderr if fails else ran.stdout


def rendered(*options: str, fails: bool = False) -> str:
    return helm("template", "login", str(CHART), "--kube-version", "1.31.0", *options, fails=fails)


ALL_OF_IT = (
    *("--set", "ingress.enabled=true", "--set", "serviceMonitor.enabled=true"),
    *("--set", "jwt.existingSecret=keys", "--set", "podLabels.a=b", "--set", "podAnnotations.c=d"),
)


@pytest.mark.slow
def test_helm_finds_nothing_to_complain_of() -> None:
    """Its own lint."""
    helm("lint", "--strict", str(CHART))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ALL_OF_IT], ids=["defaults", "all"])
def test_what_helm_makes_is_what_kubernetes_takes(options: tuple[str, ...]) -> None:
    """Each manifest decodes strictly into the types of the Kubernetes API."""
    checker = need("kubernetes-manifests", hint=HELM)
    manifests = rendered(*options)
    ran = subprocess.run([checker], input=manifests, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("valid") >= 4
    wrong = manifests.replace("enableServiceLinks", "enableServiceLink")
    assert subprocess.run([checker], input=wrong, capture_output=True, text=True).returncode == 1


@pytest.mark.slow
def test_the_pods_are_those_that_the_server_needs() -> None:
    """Probes, drain, budget, no service links, no rights, secrets as files."""
    manifests = {m["kind"]: m for m in yaml.safe_load_all(rendered())}
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] == 5 + 10 + 10
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert (
        container["securityContext"]["readOnlyRootFilesystem"]
        and pod["securityContext"]["runAsNonRoot"]
    )
    assert manifests["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert {variable["name"] for variable in container["env"]} == {
        f"SCANPUSH_{name}_FILE" for name in SECRETS
    }
    assert "a-password" not in json.dumps(manifests["ConfigMap"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("config.backend=embedded", "set replicas: 1"),
        ("terminationGracePeriodSeconds=15", "terminationGracePeriodSeconds must be above"),
        ("config.server.port=80", "/config/server"),
        ("secretSettings.redis=x", "redis"),
    ],
)
def test_values_that_cannot_work_are_refused(option: str, named: str) -> None:
    """With a line that names them."""
    assert named in rendered("--set", option, fails=True)

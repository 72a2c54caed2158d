"""deploy/Dockerfile is built, what comes out is looked at, and a login goes through it.

No image can be pulled: image.sh and run_image.sh say what stands for the base image and for a
container, and so what this does not show. Long, as it installs a Debian and all dependencies.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.programs import free_port
from tests.servers import need, until

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.gen_test(timeout=120)]

HINT = "scripts/test --all installs it, as root on Debian"


class Image(NamedTuple):
    """Its settings, as ``docker inspect`` shows them, and its files."""

    config: dict[str, Any]
    files: Path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    for program in ("buildah", "mmdebstrap", "unshare"):
        need(program, hint=HINT)
    if os.geteuid() != 0:
        pytest.skip("SKIPPED LOUDLY: only root can build the image without a daemon")
    folder = tmp_path_factory.mktemp("image")
    command = [str(HERE / "image.sh"), str(folder), "scanpush"]
    built = subprocess.run(command, capture_output=True, text=True, timeout=1700)
    assert built.returncode == 0, built.stderr[-4000:]
    document, _, files = built.stdout.rstrip().rpartition("\n")
    yield Image(json.loads(document)["Docker"]["config"], Path(files))
    shutil.rmtree(folder, ignore_errors=True)


def inside(image: Image, data: Path, *command: str, port: int = 0) -> list[str]:
    """The command line that runs `command` in the image, with the image's environment."""
    trial = {
        "SCANPUSH_SERVER__PORT": str(port),
        "SCANPUSH_SERVER__PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    variables = [*image.config["Env"], *(f"{name}={value}" for name, value in trial.items())]
    runner = [need("unshare", hint=HINT), "--mount", str(HERE / "run_image.sh")]
    return [*runner, str(image.files), str(data), *variables, *command]


def data_of(folder: Path) -> Path:
    """What the volume would be."""
    data = folder / "data"
    data.mkdir()
    os.chown(data, 10001, 10001)
    return data


def test_the_image_runs_without_rights_and_looks_after_itself(image: Image) -> None:
    """By number, with a health check, and stopped by the signal that drains."""
    assert image.config["User"] == "10001:10001"
    assert image.config["StopSignal"] in ("SIGTERM", "15")
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    assert list(image.config["Volumes"]) == ["/var/lib/scanpush"]


def test_the_image_holds_the_server_and_nothing_of_this_machine(image: Image) -> None:
    """No tests, no data, no keys, no pip, no address of a registry."""
    folders = {"doctor", "handlers", "migration", "services", "simulator", "static"}
    code = {"server.py", "config.yaml", *folders, "docs"}
    build = {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"}
    made = {".venv", "__pycache__"}
    top = image.files / "opt" / "scanpush"
    assert {path.name for path in top.iterdir()} == code | build | made
    pages = {"errors.md", "zh-CN/errors.md"}
    docs = top / "docs"
    assert {str(p.relative_to(docs)) for p in docs.rglob("*") if p.is_file()} == pages
    assert not list((image.files / "var" / "lib" / "scanpush").iterdir())
    assert not list(image.files.glob("opt/scanpush/.venv/lib/*/site-packages/pip"))
    names = {variable.partition("=")[0] for variable in image.config["Env"]}
    assert not {name for name in names if name.startswith("PIP_") or "proxy" in name.lower()}
    assert (image.files / "etc/scanpush/config.yaml").read_text() == (
        ROOT / "config.yaml"
    ).read_text()


def test_nothing_but_the_volume_and_tmp_can_be_written(image: Image, tmp_path: Path) -> None:
    """Not even where an attacker has the server's own rights."""
    attempt = (
        "import os\n"
        "for path in ('/x', '/opt/scanpush/x', '/etc/x', '/var/lib/scanpush/x', '/tmp/x'):\n"
        "    try: open(path, 'w'); print('written', path)\n"
        "    except OSError: pass\n"
        "print(os.getuid(), os.getgid(), os.getgroups())\n"
    )
    command = inside(image, data_of(tmp_path), ".venv/bin/python", "-c", attempt)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines()[:-1] == ["written /var/lib/scanpush/x", "written /tmp/x"]
    assert ran.stdout.splitlines()[-1].startswith("10001 10001"), ran.stdout + ran.stderr


async def test_a_login_goes_through_the_image(image: Image, tmp_path: Path) -> None:
    """Begun, scanned, collected, and known at /api/me; then SIGTERM ends it with 0."""
    port, data = free_port(), data_of(tmp_path)
    server = [*image.config["Entrypoint"], *image.config["Cmd"]]
    check = [word.replace("8888", str(port)) for word in image.config["Healthcheck"]["Test"][1:]]
    health = inside(image, data, *check, port=port)
    with open(tmp_path / "output", "wb") as output:
        process = subprocess.Popen(
            inside(image, data, *server, port=port), stdout=output, stderr=output
        )
    try:
        until(lambda: subprocess.run(health, capture_output=True).returncode == 0, "not healthy")
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False
        ) as http:
            document = (await http.post("/api/scenes", json={})).json()
            code = document["qr"]["content"]
            phone = f"http://{urlsplit(code).netloc}"
            scan = {"person": "alice", "url": code}
            assert (await http.post(f"{phone}/simulator/scan", json=scan)).is_success
            bearer = {"Authorization": f"Bearer {document['watch_token']}"}
            async with asyncio.timeout(30):
                while True:
                    status = (await http.get(document["status"], headers=bearer)).json()
                    if status["state"] == "authorized":
                        break
                    await asyncio.sleep(document["poll_interval"])
            token = {"Authorization": f"Bearer {status['login']['token']}"}
            me = (await http.get("/api/me", headers=token)).json()
            assert me["id"] == status["login"]["user"]["id"]
        process.terminate()
        assert process.wait(30) == 0, (tmp_path / "output").read_text()
        assert subprocess.run(health, capture_output=True).returncode != 0
    finally:
        process.kill()
        process.wait()

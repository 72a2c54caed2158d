"""Other people's SDKs, each in a program of its own, take the simulator for WeChat.

wechatpy and co-wechat-api run with every ``scripts/test``; the compilers and the many packages of
the Go and Java ones come with ``--all``.
"""

import asyncio
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from simulator import SimulatedWeChat, SimulatorConfig
from simulator.config import NOTICE_TEMPLATE
from simulator.identifiers import openid_of
from simulator.pictures import qr_png

HERE = Path(__file__).resolve().parent
SCENE = "a-scene"


async def _run(*command: str, folder: Path = HERE) -> str:
    """Standard output of a program that has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, out.decode() + err.decode()
    return out.decode()


async def _read_by(folder: Path, *command: str) -> None:
    """Run an SDK's program against a simulator, and hold what it read to what is true."""
    config = SimulatorConfig.generated("", seed=1)
    account = config.accounts[0]
    wechat = SimulatedWeChat(config)
    wechat.start()
    try:
        # A follower who came by a code, and whom the account may write to.
        code = wechat.world.codes.create(
            account.app_id,
            {"action_name": "QR_STR_SCENE", "action_info": {"scene": {"scene_str": SCENE}}},
        )
        await wechat.phones.scan("alice", ticket=code.ticket)
        openid = openid_of("alice", account.app_id)
        picture = folder / "picture.png"
        picture.write_bytes(qr_png("a picture", 100))
        arguments = (
            *(wechat.url, account.app_id, account.app_secret),
            *(openid, NOTICE_TEMPLATE.template_id, str(picture)),
        )
        seen: dict[str, Any] = json.loads(await _run(*command, *arguments))
        assert seen.pop("code").startswith(f"{wechat.phone_base}/q/")
        assert seen == {
            "picture": ["image/jpeg", "ffd8ff"],
            "scene": SCENE,
            "followers": [openid],
            "tagged": True,
            "remark": "Ali",
            "menu": "Today",
            "media": True,
            "ticket": 86,
            "notice": 0,
            "addresses": ["127.0.0.1", "::1"],
            "errcode": 40003,
        }
        lines = [line.text for line in wechat.world.chats.lines("alice", account.app_id)]
        assert "written by an SDK" in lines
    finally:
        await wechat.stop()


def test_wechatpy(tmp_path: Path) -> None:
    """wechatpy reads codes, followers, tags, menus, media, tickets, notices and errors."""
    if importlib.util.find_spec("wechatpy") is None:
        pytest.skip("wechatpy is not installed; scripts/test installs it")
    asyncio.run(_read_by(tmp_path, sys.executable, "wechatpy_client.py"))


def test_co_wechat_api(tmp_path: Path) -> None:
    """co-wechat-api reads the same."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules/co-wechat-api").exists():
        pytest.skip("node or co-wechat-api is not installed; scripts/test installs it with npm")
    asyncio.run(_read_by(tmp_path, node, "co_wechat_api_client.js"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_silenceper_wechat(tmp_path: Path) -> None:
    """silenceper/wechat reads the same."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs Go")
    asyncio.run(_run(go, "build", "-o", str(tmp_path / "client"), ".", folder=HERE / "silenceper"))
    asyncio.run(_read_by(tmp_path, str(tmp_path / "client")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_wxjava(tmp_path: Path) -> None:
    """WxJava reads the same."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None:
        pytest.skip("needs Java 17 and Maven")
    listed = tmp_path / "classpath"
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
    asyncio.run(
        _run(maven, "-q", "-B", goal, f"-Dmdep.outputFile={listed}", folder=HERE / "wxjava")
    )
    asyncio.run(_read_by(tmp_path, java, "-cp", listed.read_text(), "wxjava/Client.java"))

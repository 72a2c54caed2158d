"""deploy/nginx.conf with TLS and HTTP/2, before a server that is all there."""

import asyncio
import contextlib
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from deploy.cluster import rendered_nginx
from deploy.programs import free_port
from tests.certificates import Authority
from tests.processes import ROOT
from tests.servers import need
from tests.stack import WITHIN_SECONDS, Stack, until

pytestmark = [pytest.mark.nginx, pytest.mark.gen_test(timeout=60)]


class Proxy:
    """An nginx with TLS; `context` trusts it and nothing else."""

    def __init__(self, port: int, authority: Path) -> None:
        self.port = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(authority)
        url = f"https://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=url, verify=self.context, timeout=WITHIN_SECONDS)

    async def http2(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET on a connection of HTTP/2."""
        self.context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        host = f"127.0.0.1:{self.port}".encode()
        # RFC 7541, appendix A: GET and https by number; path and authority as literals.
        block = b"\x82\x87" + b"\x04" + _text(path.encode()) + b"\x01" + _text(host)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, b""))
        writer.write(_frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
        status, body = 0, b""
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == HEADERS:
                    status = {0x88: 200}.get(payload[0], -1)
                elif head[3] == DATA:
                    body += payload
                if head[3] in (HEADERS, DATA) and head[4] & END_STREAM:
                    break
        writer.close()
        return status, body


DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, section 4.1."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _text(text: bytes) -> bytes:
    """RFC 7541, section 5.2, without Huffman's code."""
    return bytes((len(text),)) + text


@contextlib.asynccontextmanager
async def proxy(
    folder: Path, port: int, node: int, *, files: Path | None = None
) -> AsyncIterator[Proxy]:
    """It runs while the block does.

    Args:
        files: stand for the answers of a node.
    """
    nginx = need("nginx", hint="scripts/test installs it")
    authority = Authority(folder)
    conf = folder / "nginx.conf"
    conf.write_text(rendered_nginx(folder, port, [node], authority.sign("nginx")))
    if files is not None:
        site = folder / "site.conf"
        served = f"root {files}; default_type text/plain;"
        site.write_text(site.read_text().replace("proxy_pass http://scanpush;", served))
    process = subprocess.Popen([nginx, "-c", str(conf), "-p", str(folder)])
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        writer.close()
        before = Proxy(port, authority.file)
        async with before.http:
            yield before
    finally:
        process.terminate()
        process.wait(WITHIN_SECONDS)


async def test_a_login_works_over_tls(tmp_path: Path) -> None:
    """The page is compressed, scene and socket have the https origin, and HTTP/2 is spoken."""
    port = free_port()
    origin = f"https://127.0.0.1:{port}"
    server = {"public_url": origin, "trusted_proxies": ["127.0.0.1"]}
    async with Stack(tmp_path, server=server) as stack, proxy(tmp_path, port, stack.port) as nginx:
        for coding in ("br", "gzip"):
            page = await nginx.http.get("/", headers={"Accept-Encoding": coding})
            assert page.headers["Content-Encoding"] == coding
        begun = await nginx.http.post("/api/scenes", headers={"Origin": origin})
        assert begun.status_code == 201 and "Content-Encoding" not in begun.headers
        document = begun.json()
        subprotocols = ["scanpush.v1", f"watch.{document['watch_token']}"]
        url = f"wss://127.0.0.1:{port}{document['ws']}"
        async with connect(
            url, origin=origin, subprotocols=subprotocols, ssl=nginx.context
        ) as socket:
            await until(socket, "waiting")
            await stack.simulator("scan", url=document["qr"]["content"], person="alice")
            assert (await until(socket, "authorized"))["login"]["token"]
        status, body = await nginx.http2("/healthz")
        assert (status, body) == (200, b'{"status": "ok"}')
        refused = await nginx.http.get("/metrics")
        assert refused.status_code == 403


async def test_nginx_compresses_what_comes_without_a_coding(tmp_path: Path) -> None:
    """Text of some length; what is short, or JSON, goes as it is."""
    port = free_port()
    files = tmp_path / "files"
    files.mkdir()
    (files / "long").write_text("scanpush " * 1000)
    (files / "short").write_text("scanpush")
    async with proxy(tmp_path, port, free_port(), files=files) as nginx:
        long = await nginx.http.get("/long", headers={"Accept-Encoding": "gzip"})
        assert (
            long.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in long.headers["Vary"]
        )
        assert long.text == "scanpush " * 1000
        assert "Content-Encoding" not in (await nginx.http.get("/short")).headers


def test_nginx_takes_what_the_compose_file_gives_it(tmp_path: Path) -> None:
    """All of its configuration, with ports and files of this machine."""
    nginx = need("nginx", hint="scripts/test installs it")
    folder = tmp_path / "deploy" / "compose"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "nginx.conf", folder.parent)
    shutil.copy(ROOT / "deploy" / "compose" / "prepare.sh", folder)
    subprocess.run(
        ["sh", folder / "prepare.sh", "login.example.org"], check=True, capture_output=True
    )
    conf = folder / "nginx.conf"
    certificate = Authority(tmp_path).sign("nginx")
    text = re.sub(r"/etc/nginx/certificates/\w+\.pem", str(certificate), conf.read_text())
    text = re.sub(r"listen (?:80|443)\b", lambda _: f"listen 127.0.0.1:{free_port()}", text)
    text = text.replace("user nginx;", "").replace("/run/nginx.pid", f"{tmp_path}/nginx.pid")
    conf.write_text(text.replace("worker_rlimit_nofile 400000;", ""))
    command = [nginx, "-t", "-q", "-c", str(conf), "-p", str(tmp_path), "-e", f"{tmp_path}/log"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_SECONDS)
    assert ran.returncode == 0, ran.stderr

"""A whole cluster on one machine, to try and to show: ``scripts/cluster``.

redis-server, a MongoDB-protocol server (nx-27017, or the one that TEST_MONGODB_URL names), the
simulated WeChat in a process of its own, nodes, and before them nginx with deploy/nginx.conf, of
which only addresses and paths are changed. Everything listens on loopback and writes only into a
temporary folder; Ctrl-C stops all of it. A node that ends is started again.
"""

import argparse
import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from deploy.programs import CannotStart, free_port, mongodb_command, program, redis_command

ROOT = Path(__file__).resolve().parent.parent
STARTS_WITHIN_SECONDS = 60
STOPS_WITHIN_SECONDS = 15
RESTART_PAUSE_SECONDS = 1


class Part:
    """One process of the cluster; what it writes goes to a file of its name."""

    def __init__(self, name: str, folder: Path, *command: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.command = command
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with open(self.log, "ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches only this program, which stops the parts in the right order.
                start_new_session=True,
            )

    async def until_port(self, port: int) -> None:
        """Wait until something accepts on the port."""
        await self._until(lambda: _accepts(port))

    async def until_says(self, pattern: str) -> re.Match[str]:
        """Wait until its output holds `pattern`."""
        await self._until(lambda: re.search(pattern, self.log.read_text()) is not None)
        found = re.search(pattern, self.log.read_text())
        assert found is not None
        return found

    async def _until(self, condition: Any) -> None:
        assert self.process is not None
        try:
            async with asyncio.timeout(STARTS_WITHIN_SECONDS):
                while not condition():
                    if self.process.returncode is not None:
                        break
                    await asyncio.sleep(0.05)
                else:
                    return
        except TimeoutError:
            raise CannotStart(f"{self.name} does not answer; its output: {self._tail()}") from None
        raise CannotStart(f"{self.name} ended at its start: {self._tail()}")

    def _tail(self) -> str:
        return self.log.read_text()[-800:].strip()

    async def kill(self) -> None:
        """SIGKILL: it ends at once and cleans nothing up."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            async with asyncio.timeout(STOPS_WITHIN_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


def _accepts(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def rendered_nginx(
    folder: Path, port: int, nodes: list[int], certificate: Path | None = None
) -> str:
    """deploy/nginx.conf with this cluster's ports and paths, within a minimal main file.

    Args:
        certificate: a file with it and its key; without one, no TLS and no HTTP/2.
    """
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    # The server of port 80 sends people on to the other one, which does the work.
    site, redirects = re.subn(r"(?ms)^# WeChat follows no redirect, so.*?^}\n", "", site)
    servers = "".join(
        f"    server 127.0.0.1:{node} max_fails=1 fail_timeout=2s;\n" for node in nodes
    )
    site, upstreams = re.subn(r"(?:    server 127\.0\.0\.1:\d+ [^\n]*\n)+", servers, site, count=1)
    tls = " ssl http2" if certificate else ""
    listen = r"    listen 443 ssl http2;\n    listen \[::\]:443 ssl http2;\n"
    site, listens = re.subn(listen, f"    listen 127.0.0.1:{port}{tls};\n", site)
    if certificate is None:
        site = re.sub(r"(?m)^    ssl_\w+ .*\n", "", site)
    else:
        site = re.sub(r"(?m)^    (ssl_certificate\w*) .*$", rf"    \1 {certificate};", site)
    site = site.replace("/var/log/nginx/scanpush.log", f"{folder}/access.log")
    if (redirects, upstreams, listens) != (1, 1, 1):
        raise CannotStart(
            "deploy/nginx.conf is not as expected: a redirect, an upstream, a listen 443"
        )
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    return (
        f"{user}daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n"
        "worker_processes 1;\nevents { worker_connections 4096; }\n"
        f"http {{\n{temporary}    include {folder}/site.conf;\n}}\n"
    )


class LocalCluster:
    """All parts, in the order of their start; `stop` goes backwards.

    Args:
        port: of nginx; 0: any.
        redis_options: for redis-server, besides those that keep it small.
        sections: the nodes' settings that differ from the defaults.
        tree: with the server.py that the nodes run; another version's, to upgrade from.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        nodes: int = 2,
        redis_options: Sequence[str] = (),
        sections: Mapping[str, Any] = MappingProxyType({}),
        tree: Path = ROOT,
    ) -> None:
        self._redis_options = redis_options
        self._sections = sections
        self._tree = tree
        self._folder = folder
        self.port = port or free_port()
        self._count = nodes
        self._parts: list[Part] = []
        self.nodes: list[Part] = []
        self._ports: list[int] = []
        self.redis: Part | None = None
        self.phone_url = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Raises `CannotStart` with what is missing or went wrong."""
        redis_url, mongodb_url = await self._start_stores()
        simulator = await self._start(
            "simulator",
            sys.executable,
            *("-m", "simulator", "--port", "0"),
            *("--callback-url", f"{self.url}/wechat/callback"),
        )
        printed = await simulator.until_says(r"(?s)(wechat:.*)\nPhone page: (\S+)")
        self.phone_url = printed[2]
        settings = {
            "backend": "distributed",
            "redis": {"url": redis_url},
            "mongodb": {"url": mongodb_url, "database": "scanpush_cluster"},
            **yaml.safe_load(printed[1]),
            **self._sections,
        }
        for number in range(self._count):
            await self._start_node(number, settings)
        await asyncio.gather(*(node.until_says("scanpush .* at http") for node in self.nodes))
        conf = self._folder / "nginx.conf"
        conf.write_text(rendered_nginx(self._folder, self.port, self._ports))
        nginx = program("nginx", "apt-get install nginx")
        part = await self._start("nginx", nginx, "-c", str(conf), "-p", str(self._folder))
        await part.until_port(self.port)

    async def _start_stores(self) -> tuple[str, str]:
        port = free_port()
        command = redis_command(self._folder, port, *self._redis_options)
        self.redis = await self._start("redis", *command)
        await self.redis.until_port(port)
        redis_url = f"redis://127.0.0.1:{port}/0"
        if url := os.environ.get("TEST_MONGODB_URL"):
            return redis_url, url
        port = free_port()
        part = await self._start("mongodb", *mongodb_command(self._folder, port))
        await part.until_port(port)
        return redis_url, f"mongodb://127.0.0.1:{port}"

    async def restart_node(self, number: int) -> None:
        """Start a node again that has ended, and wait until it serves."""
        await self.nodes[number].start()
        await self.nodes[number].until_port(self._ports[number])

    async def upgrade_node(self, number: int) -> int | None:
        """Have a node leave as a deploy does, and start this tree's server in its place with the
        same settings. Returns the exit code of the one that left."""
        node = self.nodes[number]
        await node.stop()
        left = None if node.process is None else node.process.returncode
        python, _, *options = node.command
        node.command = (python, str(ROOT / "server.py"), *options)
        await self.restart_node(number)
        return left

    async def _start_node(self, number: int, settings: dict[str, Any]) -> None:
        port = free_port()
        self._ports.append(port)
        server = {"port": port, "public_url": self.url, "trusted_proxies": ["127.0.0.1"]}
        config = self._folder / f"node{number}" / "config.yaml"
        config.parent.mkdir()
        config.write_text(yaml.safe_dump({**settings, "server": server}))
        command = (sys.executable, str(self._tree / "server.py"), "--config", str(config))
        self.nodes.append(await self._start(f"node{number}", *command))

    async def _start(self, name: str, *command: str) -> Part:
        part = Part(name, self._folder, *command)
        self._parts.append(part)
        await part.start()
        return part

    async def watch(self) -> None:
        """Start nodes again when they end; return when anything else ends."""
        others = [part for part in self._parts if part not in self.nodes]
        while all(part.process and part.process.returncode is None for part in others):
            for node in self.nodes:
                if node.process is not None and node.process.returncode is not None:
                    print(f"{node.name} ended with {node.process.returncode}; starting it again")
                    await node.start()
            await asyncio.sleep(RESTART_PAUSE_SECONDS)
        ended = [p.name for p in others if not p.process or p.process.returncode is not None]
        raise CannotStart(f"{', '.join(ended)} ended")

    async def stop(self) -> None:
        for part in reversed(self._parts):
            await part.stop()

    def summary(self) -> str:
        pids = ", ".join(f"{node.name} {node.process and node.process.pid}" for node in self.nodes)
        return (
            f"scanpush, {self._count} nodes behind nginx: {self.url}  (Ctrl-C stops all)\n"
            f"The simulated phone: {self.phone_url}\n"
            f"Try kill -9 while a page is open: {pids}\n"
            f"Output of each part: {self._folder}"
        )


async def run(port: int, nodes: int) -> int:
    stopping = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    with tempfile.TemporaryDirectory(prefix="scanpush-cluster-") as folder:
        cluster = LocalCluster(Path(folder), port=port, nodes=nodes)
        stopped = asyncio.ensure_future(stopping.wait())
        work = asyncio.ensure_future(_serve(cluster))
        try:
            await asyncio.wait([stopped, work], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        except CannotStart as error:
            print(f"cluster: {error}", file=sys.stderr)
            return 1
        finally:
            for task in (stopped, work):
                task.cancel()
            await asyncio.gather(stopped, work, return_exceptions=True)
            await cluster.stop()
    return 0


async def _serve(cluster: LocalCluster) -> None:
    await cluster.start()
    print(cluster.summary(), flush=True)
    await cluster.watch()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/cluster", description=__doc__)
    parser.add_argument("--port", type=int, default=8880, help="of nginx, 0: any (%(default)s)")
    parser.add_argument("--nodes", type=int, default=2, help="how many (%(default)s)")
    options = parser.parse_args()
    return asyncio.run(run(options.port, options.nodes))


if __name__ == "__main__":
    sys.exit(main())

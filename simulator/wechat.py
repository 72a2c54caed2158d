"""The simulated WeChat as one object: start it, point scanpush at its bases, stop it."""

import logging
import secrets
import socket

from tornado.httpserver import HTTPServer
from tornado.web import Application

from services.origins import url_host
from services.settings import hosts
from simulator.config import SimulatorConfig
from simulator.hosts.routes import phone_application, whole_application
from simulator.phones import Phones
from simulator.world import World

log = logging.getLogger("scanpush.simulator")

MAX_BODY_BYTES = 12 * 1_048_576
"""A picture or a video of ten megabytes, the largest that media/upload takes, and its envelope."""


class SimulatedWeChat:
    """All hosts of WeChat on one port, told apart by the first part of the path.

    `api_base`, `mp_base` and `open_base` take the place of the settings of the same names. Requests
    for WeChat's own host names find the same without that part of the path. Use it within a running
    event loop: `start` listens at once, `stop` ends every task it started.

    Raises:
        OSError: the config's `state_file` cannot be used.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.world = World(config)
        self.url = ""
        self._servers: list[HTTPServer] = []

    @property
    def config(self) -> SimulatorConfig:
        """The config with the secrets that are in force, which may be those of an earlier start."""
        return self.world.config

    @property
    def phones(self) -> Phones:
        """The people and what they do: scan, follow, write."""
        return self.world.phones

    @property
    def api_base(self) -> str:
        return f"{self.url}/api"

    @property
    def mp_base(self) -> str:
        return f"{self.url}/mp"

    @property
    def open_base(self) -> str:
        return f"{self.url}/open"

    @property
    def phone_base(self) -> str:
        """Where the phone page is, without a slash at the end; QR codes lead there."""
        return self.world.phone_base

    def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes that of the earlier start, where the state knows it, or a free one.

        Raises:
            OSError: the address cannot be listened at.
        """
        self.url = self._listen_again("hosts", whole_application(self.world), host, port)
        # A phone listener may have been started before: then codes keep leading there.
        if not self.world.phone_base:
            self.world.phone_base = self.url

    def start_phone_listener(self, host: str, port: int = 0, secret_path: str = "") -> str:
        """Serve only the phone page at another address, below an unguessable path.

        For a real phone in the same network: the hosts of WeChat and the controls are not
        reachable there. QR codes made from now on lead there. `secret_path` is one path segment,
        256 random bits unless given; without one that of the earlier start, where the state
        knows it. Returns the new `phone_base`.

        Raises:
            OSError: the address cannot be listened at.
        """
        kept = self.world.state.documents("phone_path").get(host, {})
        secret = secret_path.strip("/") or kept.get("secret") or secrets.token_urlsafe(32)
        self.world.state.put("phone_path", host, {"secret": secret})
        application = phone_application(self.world, f"/{secret}")
        address = self._listen_again("phone", application, host, port)
        self.world.phone_base = f"{address}/{secret}"
        return self.world.phone_base

    def _listen_again(self, name: str, application: Application, host: str, port: int) -> str:
        """Listen where this listener did before: pages and phones still show codes that lead there.

        Without a port of its own, that is; and where the port is taken meanwhile, at a free one.
        """
        server = HTTPServer(application, max_body_size=MAX_BODY_BYTES)
        kept = self.world.state.documents("listeners").get(f"{name} {host}", {"port": 0})["port"]
        if not port and kept and _is_free(host, kept):
            port = kept
        address = self._listen(server, host, port)
        chosen = int(address.rpartition(":")[2])
        self.world.state.put("listeners", f"{name} {host}", {"port": chosen})
        return address

    def _listen(self, server: HTTPServer, host: str, port: int) -> str:
        # Bound here rather than by `listen`, to learn the port that was chosen for 0.
        sockets = hosts.listen(hosts.addresses_of(host), port)
        server.add_sockets(sockets)
        self._servers.append(server)
        address, port = sockets[0].getsockname()[:2]
        return f"http://{url_host(address)}:{port}"

    async def stop(self) -> None:
        """Close the ports and connections, and end unfinished pushes. May be called twice."""
        # Ports first, connections last: what the end of a push still answers can be delivered.
        servers, self._servers = self._servers, []
        for server in servers:
            server.stop()
        await self.world.close()
        for server in servers:
            await server.close_all_connections()


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError:
        return False
    return True

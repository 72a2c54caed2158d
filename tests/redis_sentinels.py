"""A real master, its replica, and the Sentinels that watch them, on loopback, for tests."""

from pathlib import Path

from deploy.programs import free_port
from tests.servers import RedisServer, until

NAME = "main"


class RedisSentinels:
    """One master, one replica and three Sentinels, of which two decide.

    `url` names a fourth one first, which is not there.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        quick = ("--repl-diskless-sync-delay", "0", *options)
        self.servers = [RedisServer(_folder(folder, name), *quick) for name in ("one", "two")]
        self.sentinels = [_Sentinel(_folder(folder, f"sentinel{n}")) for n in range(3)]

    @property
    def url(self) -> str:
        places = [free_port(), *(sentinel.port for sentinel in self.sentinels)]
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in places)}/{NAME}/0"

    def start(self) -> None:
        """Start all of it, and wait until the replica follows and the Sentinels know each other."""
        master, replica = self.servers
        master.start()
        replica.start()
        replica.ask("REPLICAOF", "127.0.0.1", str(master.port))
        for sentinel in self.sentinels:
            sentinel.start()
        self.hurry()
        # The others vote but never propose themselves: a split vote would take seconds.
        for sentinel, quorum in zip(self.sentinels, ("2", "4", "4"), strict=True):
            sentinel.ask("SENTINEL", "MONITOR", NAME, "127.0.0.1", str(master.port), quorum)
            for option, value in (("down-after-milliseconds", "500"), ("failover-timeout", "1000")):
                sentinel.ask("SENTINEL", "SET", NAME, option, value)
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"), "no replica")
        until(self._agreed, "the Sentinels do not find each other")

    def hurry(self, publish_period: int = 100) -> None:
        """Let the Sentinels look about every 0.1 s (Redis 7; older ones take their time).

        A former master that lives is made a replica after four publish periods (milliseconds).
        """
        periods = (
            "info-period",
            "100",
            "ping-period",
            "100",
            "publish-period",
            str(publish_period),
        )
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "DEBUG", *periods)

    def _agreed(self) -> bool:
        whole = f"slaves=1,sentinels={len(self.sentinels)}".encode()
        return all(whole in sentinel.ask("INFO", "sentinel") for sentinel in self.sentinels)

    def master(self) -> RedisServer:
        """The one that the Sentinels name."""
        answer = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return next(server for server in self.servers if str(server.port).encode() in answer)

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.stop()


class _Sentinel(RedisServer):
    """A Sentinel keeps what it knows in its file, which must be there at its start."""

    def command(self) -> list[str]:
        file = self.folder / "sentinel.conf"
        file.write_text(f"port {self.port}\nbind 127.0.0.1\n")
        return [self._program, str(file), "--sentinel"]


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir(parents=True)
    return parent / name

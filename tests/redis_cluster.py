"""A real Redis Cluster of three masters on loopback, for tests."""

from pathlib import Path

from tests.servers import RedisServer, until, unused_port

SLOTS = 16384


class RedisCluster:
    """Three masters that share the slots; each is a `RedisServer` of its own."""

    def __init__(self, folder: Path) -> None:
        self.masters = [_Master(folder / str(number)) for number in range(3)]

    @property
    def url(self) -> str:
        return self.masters[0].url

    def start(self) -> None:
        """Start the masters, deal out the slots, and wait until all agree."""
        for master in self.masters:
            master.start()
        third = SLOTS // 3 + 1
        for number, master in enumerate(self.masters):
            last = min(SLOTS, (number + 1) * third) - 1
            master.ask("CLUSTER", "ADDSLOTSRANGE", str(number * third), str(last))
            for other in self.masters[:number]:
                master.ask("CLUSTER", "MEET", "127.0.0.1", str(other.port), str(other.bus))
        until(self._agreed, "the cluster does not form")

    def _agreed(self) -> bool:
        return all(
            b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info
            for info in (master.ask("CLUSTER", "INFO") for master in self.masters)
        )

    def ask_all(self, *words: str) -> None:
        for master in self.masters:
            master.ask(*words)

    def stop(self) -> None:
        for master in self.masters:
            master.stop()


class _Master(RedisServer):
    """A cluster node. Its bus has a port of its own: the port + 10000 may not exist."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.bus = unused_port()
        options = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus))
        super().__init__(folder, *options, "--cluster-node-timeout", "2000")

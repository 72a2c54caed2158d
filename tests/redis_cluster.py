"""A real Redis Cluster of three masters on loopback, for tests."""

from pathlib import Path

from deploy.programs import free_port
from tests.servers import RedisServer, until

SLOTS = 16384


class RedisCluster:
    """Three masters that share the slots; each is a `RedisServer` of its own."""

    def __init__(self, folder: Path) -> None:
        self.masters = [_Master(folder / str(number)) for number in range(3)]
        self._replicas: list[_Master] = []

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

    def holder(self, key: str) -> "_Master":
        """The master that has the slot of `key`."""
        return next(master for master in self.masters if not _elsewhere(master.ask("GET", key)))

    def add_replica(self, master: "_Master", folder: Path) -> "_Master":
        """Start one more server and let it follow `master`."""
        replica = _Master(folder)
        replica.start()
        self._replicas.append(replica)
        first = self.masters[0]
        replica.ask("CLUSTER", "MEET", "127.0.0.1", str(first.port), str(first.bus))
        until(lambda: b"+OK" in replica.ask("CLUSTER", "REPLICATE", master.id), "no replica")
        until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"), "no link")
        return replica

    def move_slot(self, key: str) -> None:
        """Hand the slot of `key` to another master (redis.io, "CLUSTER SETSLOT")."""
        source = self.holder(key)
        target = next(master for master in self.masters if master is not source)
        slot = source.ask("CLUSTER", "KEYSLOT", key).strip()[1:].decode()
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        names = source.ask("CLUSTER", "GETKEYSINSLOT", slot, "1000").split(b"\r\n")[2::2]
        for name in names:
            source.ask("MIGRATE", "127.0.0.1", str(target.port), name.decode(), "0", "2000")
        for master in (target, source):
            master.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def ask_all(self, *words: str) -> None:
        for master in self.masters:
            master.ask(*words)

    def stop(self) -> None:
        for server in (*self.masters, *self._replicas):
            server.stop()


class _Master(RedisServer):
    """A cluster node. Its bus has a port of its own: the port + 10000 may not exist."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.bus = free_port()
        options = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus))
        life = ("--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
        super().__init__(folder, *options, *life)

    @property
    def id(self) -> str:
        return self.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()


def _elsewhere(answer: bytes) -> bool:
    return answer.startswith(b"-MOVED")

"""The port to small values that all nodes share: counters, nonces, replies, public keys."""

from typing import Protocol


class KeyValues(Protocol):
    """Keeps texts under keys, each for a limited time; the scene stores are such stores.

    Each method is atomic: of any number of callers at once, on any number of nodes, the results
    are those of one after the other. What was kept is forgotten when its life ends.

    Every method raises `errors.StoreUnavailable`, and only that, when the backend does not do its
    part; whether a write happened is then unknown. All but `take` and `count` may then be repeated
    without harm.
    """

    async def recall(self, key: str) -> str | None:
        """The value kept under `key`, or None."""

    async def remember(self, key: str, value: str, ttl_seconds: float) -> str:
        """Keep `value` under `key` unless there is one already; the kept value is returned.

        For nonces and for replies that changed no scene.
        """

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        """Keep `value` under `key` in place of whatever was there, which is returned."""

    async def take(self, key: str) -> str | None:
        """The value kept under `key`, which is forgotten: of any number of callers one gets it."""

    async def count(self, key: str, ttl_seconds: float) -> int:
        """Add one to the counter under `key`, made with that life, and return it."""

"""What the moves of scenes tell: entries for the audit and events for the operator's server.

An entry is a function of the scene as a move has left it, so that the store can write both at once:
in SQLite in one transaction, in Redis by one script, from where `CollectedEntries` brings them to
the store of entries. So no crash comes between a login and its event.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence

from services.events.delivery import Collected
from services.events.entries import OUTCOMES, Entry, entry_id
from services.events.store import EventStore
from services.ids import OpenId, UserId
from services.logs import short_hash
from services.redis_client import RedisLink, Script
from services.scenes.login import SID
from services.scenes.states import Scene, State

TELLING = frozenset({State.AUTHORIZED, State.DENIED, State.FAILED})
"""The states of which something is told. Of a question that time has answered nothing is."""


def entries_of(scene: Scene) -> Sequence[Entry]:
    """What the scene's present state tells."""
    # Not `in TELLING`: the hash of an enum's member is a call.
    type = _TYPES.get(str(scene.state))
    if type is None:
        return ()
    return _entries(
        type,
        scene.changed_at,
        scene.scene_str,
        scene.openid,
        scene.user_id,
        scene.account,
        scene.kind,
        scene.error,
        scene.claims is not None and scene.claims.is_new,
        scene.details,
    )


_TYPES = {
    State.AUTHORIZED.value: "login",
    State.DENIED.value: "denied",
    State.FAILED.value: "failed",
}


def _entries(
    type: str,
    at: float,
    scene_str: str,
    openid: OpenId | None,
    user_id: UserId | None,
    account: str,
    kind: str,
    error: str,
    is_new: bool,
    details: Mapping[str, str],
) -> Sequence[Entry]:
    # By position, and not through `entries.entry`: a third of the time, once a login.
    told = Entry(
        entry_id(type, scene_str),
        at,
        type,
        OUTCOMES[type],
        user_id,
        short_hash(openid) if openid else "",
        account,
        str(kind),
        details.get("kiosk", ""),
        scene_str,
        details.get(SID, ""),
        error,
    )
    if not is_new or type != "login":
        return (told,)
    registered = told._replace(id=entry_id("registered", scene_str), type="registered", session="")
    return (registered, told)


# From Redis. Each shard of scenes has a list of what its moves have told.

SLICE = 100
"""What is read of a shard at once."""

MOST_ROUNDS = 50

_TAKEN = Script("""
if redis.call('LINDEX', KEYS[1], 0) == ARGV[1] then
  redis.call('LTRIM', KEYS[1], ARGV[2], -1)
end
return 0
""")
"""Forget what was brought over, unless another node has."""


class CollectedEntries:
    """Brings to the store of entries what the moves in Redis have told.

    Args:
        lists: the keys of the shards' lists.
        now: the stores' clock.
    """

    def __init__(
        self, link: RedisLink, lists: Sequence[str], store: EventStore, now: Callable[[], float]
    ) -> None:
        self._link = link
        self._lists = lists
        self._store = store
        self._now = now

    async def collect(self) -> Collected:
        """Bring over what there is.

        Raises:
            StoreUnavailable: again is safe.
        """
        complete_at = self._now()
        keys, some = self._lists, False
        for _ in range(MOST_ROUNDS):
            found = await asyncio.gather(
                *(self._link.call(key, "LRANGE", key, 0, SLICE - 1) for key in keys)
            )
            told = {key: texts for key, texts in zip(keys, found, strict=True) if texts}
            if not told:
                break
            some = True
            await self._store.keep(
                [one for texts in told.values() for text in texts for one in told_by(text)]
            )
            await asyncio.gather(
                *(
                    self._link.run(_TAKEN, [key], texts[0], len(texts))
                    for key, texts in told.items()
                )
            )
            keys = [key for key, texts in told.items() if len(texts) == SLICE]
            if not keys:
                break
        else:
            complete_at = 0.0  # more comes than is brought over
        return Collected(some, complete_at)


def told_by(text: str) -> Sequence[Entry]:
    """The entries of what advance.lua has written of a move."""
    told = json.loads(text)
    return _entries(
        _TYPES[told["state"]],
        int(told["at"]) / 1_000_000,
        told["scene"],
        OpenId(told.get("openid", "")),
        UserId(told["user_id"]) if told.get("user_id") else None,
        told["account"],
        told["kind"],
        told.get("error", ""),
        told.get("is_new") == "1",
        told,
    )

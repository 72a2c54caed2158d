"""Scenes in Redis: one Lua script, advance.lua, holds the state machine; a move is one round trip.

A scene is a hash that expires by itself. The keys of a scene carry the hash tag of its shard, one
of `SHARDS`, so that on a Redis Cluster they lie in one slot, together with the shard's list of the
logins that the server owes: one script writes a claim and its debt, and no crash comes between.

`RedisSceneStore` comes first; then the names of its keys, and how scenes and moves are put into
what the script reads and taken from what it answers.
"""

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from services.errors import StoreUnavailable
from services.ids import SceneStr
from services.redis_client import RedisLink, Script
from services.scenes.local_echo import LocalEcho
from services.scenes.states import (
    FIELDS,
    Keep,
    Move,
    Scene,
    State,
    Step,
    Verdict,
    restored,
    stored,
)
from services.scenes.store import Attachment
from services.scenes.tellings import TELLING

log = logging.getLogger("scanpush.scenes")

SHARDS = 64
"""Enough to spread over the masters of a cluster, few enough to ask all of them for debts."""

SCHEMA = 1

MICRO = 1_000_000
"""Times are kept as whole microseconds: Lua's numbers hold them exactly until the year 2255."""

_HASH_FIELDS = tuple(field for field in FIELDS if field.short)
_HASH_NAMES = ", ".join(f"'{field.short}'" for field in _HASH_FIELDS)

OWN_KEYS = 2
"""Keys of the scene itself, which come first."""

_SCENES = Script(
    (Path(__file__).parent / "advance.lua")
    .read_text(encoding="utf-8")
    .replace("local FIELDS = {}", f"local FIELDS = {{{_HASH_NAMES}}}")
)

_OVERDUE = Script("""
local time = redis.call('TIME')
local before = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', before),
                  'LIMIT', 0, ARGV[2])
""")

_REMEMBER = Script("""
local kept = redis.call('GET', KEYS[1])
if kept then
  return kept
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")

_REPLACE = Script("""
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return before
""")

_COUNT = Script("""
local number = redis.call('INCR', KEYS[1])
if number == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return number
""")


class RedisSceneStore:
    """`SceneStore` for any number of nodes.

    Args:
        echo: where this node's own moves are noted; shared with its broker.
        ahead: seconds added to Redis's clock, for tests that turn it.
        tells: whether what moves tell is kept, in the lists of `told_lists`.
    """

    def __init__(
        self,
        link: RedisLink,
        echo: LocalEcho | None = None,
        *,
        ahead: Callable[[], float] = lambda: 0.0,
        tells: bool = False,
    ) -> None:
        self._link = link
        self._tells = tells
        self._echo = echo or LocalEcho()
        self._ahead = ahead

    async def create(self, scene: Scene) -> Scene:
        # Redis's clock gives the beginning; the rest is sent as distances from it.
        until_changed = micros(scene.changed_at - scene.created_at)
        until_end = micros(scene.ends_at - scene.created_at)
        text = to_json(
            {
                "fields": _fields(scene),
                "details": dict(scene.details),
                "changed": str(until_changed),
                "ends": str(until_end),
            }
        )
        now = int(await self._run("create", scene.scene_str, text))
        return scene._replace(
            created_at=now / MICRO,
            changed_at=(now + until_changed) / MICRO,
            ends_at=(now + until_end) / MICRO,
        )

    async def get(self, scene_str: SceneStr) -> Scene | None:
        return _step(scene_str, await self._run("read", scene_str)).scene

    def get_nowait(self, scene_str: SceneStr, seq: int) -> Scene | None:
        return self._echo.get_nowait(scene_str, seq)

    async def advance(self, scene_str: SceneStr, move: Move) -> Step:
        asked, keys = _asked(move), []
        # Where each of them stands in the script's KEYS.
        if move.outcome is not None:
            keys.append(_outcome(scene_str, move.outcome.key))
            asked["outcome"] = OWN_KEYS + len(keys)
        if self._tells and move.to in TELLING:
            keys.append(_told(_shard(scene_str)))
            asked["told"] = OWN_KEYS + len(keys)
        # Before the script runs: its notice may be here before its answer.
        pending = self._echo.begin(scene_str)
        scene = None
        try:
            answer = await self._run("advance", scene_str, to_json(asked), more_keys=keys)
            step = _step(scene_str, answer)
            scene = step.scene
        finally:
            self._echo.end(pending, scene)
        return step

    async def attach(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Attachment | None:
        answer = await self._run("attach", scene_str, node, connection, watch_hash.hex())
        return _attachment(scene_str, answer)

    def attach_nowait(
        self, scene_str: SceneStr, node: str, connection: int, watch_hash: bytes
    ) -> Scene | None:
        return None  # An attachment is always a round trip.

    async def reattach(
        self, scene_str: SceneStr, node: str, connection: int, number: int
    ) -> Attachment | None:
        answer = await self._run("reattach", scene_str, node, connection, number)
        return _attachment(scene_str, answer)

    async def detach(self, scene_str: SceneStr, node: str, connection: int) -> None:
        await self._run("detach", scene_str, node, connection)

    async def owed(self, older_than_seconds: float, limit: int) -> Sequence[Scene]:
        offset = micros(self._ahead() - older_than_seconds)
        shards = await asyncio.gather(
            *(self._link.run(_OVERDUE, [_debts(n)], offset, limit) for n in range(SHARDS))
        )
        names = [SceneStr(name) for shard in shards for name in shard][:limit]
        # The list only says where to look. The script takes off it what is no longer owed.
        answers = await asyncio.gather(
            *(
                self._run("debt", name, more_keys=[_told(_shard(name))] if self._tells else ())
                for name in names
            )
        )
        scenes = []
        for name, answer in zip(names, answers, strict=True):
            try:
                scene = _step(name, answer).scene
            except StoreUnavailable as error:
                # Written by a node of another version. It must not keep the others from theirs.
                log.warning("a login that is left to others: %s", error)
                continue
            if scene is not None:
                scenes.append(scene)
        return scenes

    async def expire(self, limit: int) -> int:
        """Keys expire by themselves, without a notice: nodes read their scenes again in time."""
        return 0

    async def recall(self, key: str) -> str | None:
        kept: str | None = await self._link.call(_kept(key), "GET", _kept(key))
        return kept

    async def remember(self, key: str, value: str, ttl_seconds: float) -> str:
        return str(await self._link.run(_REMEMBER, [_kept(key)], value, _millis(ttl_seconds)))

    async def replace(self, key: str, value: str, ttl_seconds: float) -> str | None:
        before: str | None = await self._link.run(
            _REPLACE, [_kept(key)], value, _millis(ttl_seconds)
        )
        return before

    async def take(self, key: str) -> str | None:
        taken: str | None = await self._link.call(_kept(key), "GETDEL", _kept(key))
        return taken

    async def count(self, key: str, ttl_seconds: float) -> int:
        return int(await self._link.run(_COUNT, [_kept(key)], _millis(ttl_seconds)))

    async def ping(self) -> None:
        await self._link.ping()

    def _run(
        self,
        todo: str,
        scene_str: SceneStr,
        *arguments: str | bytes | int,
        more_keys: Sequence[str] = (),
    ) -> Awaitable[Any]:
        keys = (*keys_of(scene_str), *more_keys)
        ahead = micros(self._ahead())
        return self._link.run(_SCENES, keys, todo, scene_str, ahead, *arguments)


def micros(seconds: float) -> int:
    return round(seconds * MICRO)


def _millis(seconds: float) -> int:
    return max(1, round(seconds * 1000))


# Keys. What stands in braces decides the slot (redis.io, "Redis cluster specification").


def keys_of(scene_str: SceneStr) -> tuple[str, str]:
    """The scene's hash, and the debts of its shard."""
    shard = _shard(scene_str)
    return f"scanpush:{{{shard}}}:scene:{scene_str}", _debts(shard)


def _shard(scene_str: str) -> int:
    return zlib.crc32(scene_str.encode()) % SHARDS


def _debts(shard: int) -> str:
    return f"scanpush:{{{shard}}}:debts"


def told_lists() -> list[str]:
    """Where the moves of each shard write what they tell."""
    return [_told(shard) for shard in range(SHARDS)]


def _told(shard: int) -> str:
    return f"scanpush:{{{shard}}}:told"


def _outcome(scene_str: str, key: str) -> str:
    # In the scene's slot, so that one script writes the reply and the move. Unlike in the embedded
    # store `recall` does not see it, nor does an `Outcome` see what `remember` kept.
    return f"scanpush:{{{_shard(scene_str)}}}:outcome:{scene_str}:{key}"


def _kept(key: str) -> str:
    return f"scanpush:kept:{key}"


# What the script reads and answers.

_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_DECODERS: Mapping[Keep, Callable[[str], Any]] = {
    Keep.TEXT: str,
    Keep.WHOLE: int,
    Keep.TIME: lambda kept: int(kept) / MICRO,
    Keep.HASH: bytes.fromhex,
    Keep.FLAG: int,
}
_DECODE = tuple(_DECODERS[field.keep] for field in _HASH_FIELDS)


def _fields(scene: Scene) -> dict[str, str | int]:
    """A new scene as the fields of its hash; times are set by the script."""
    fields: dict[str, str | int] = {"v": SCHEMA}
    for field, value in zip(FIELDS, stored(scene), strict=False):
        if field.keep is Keep.HASH:
            fields[field.short] = value.hex()
        elif field.short and field.keep is not Keep.TIME and value is not None:
            fields[field.short] = value
    # Of a scene without claims `stored` gives is_new as 0, the other three as None.
    if scene.claims is None:
        del fields["is_new"]
    return fields


def _asked(move: Move) -> dict[str, Any]:
    """A move as the script reads it; what is None is left out, as Lua knows no null."""
    asked: dict[str, Any] = {
        "to": move.to.value,
        "sources": f" {' '.join(move.sources)} ",
        "life": str(micros(move.life_seconds)),
        "owed": move.owed,
        "error": move.error,
        "details": dict(move.details),
    }
    if move.to is State.AUTHORIZED:
        asked.update(jti=move.jti, is_new=move.is_new, token_ttl=move.token_ttl_seconds)
    if move.kind is not None:
        asked["kind"] = move.kind.value
    for name in ("openid", "account", "seq", "user_id"):
        if (value := getattr(move, name)) is not None:
            asked[name] = value
    if move.outcome is not None and move.outcome.reply is not None:
        asked["reply"] = move.outcome.reply
    return asked


def _attachment(scene_str: SceneStr, answer: Sequence[Any]) -> Attachment | None:
    """The script's answer to an attach, whose number stands where a move has its reply."""
    step = _step(scene_str, answer)
    return None if step.scene is None else Attachment(step.scene, int(step.reply or 0))


def _step(scene_str: SceneStr, answer: Sequence[Any]) -> Step:
    """The script's answer: verdict, time and reply, then `_HASH_FIELDS` and the details."""
    verdict, now, reply, *kept = answer
    if not kept:
        return Step(_VERDICTS[verdict], None, reply, int(now) / MICRO)
    try:
        values = [
            None if value is None else decode(value)
            for decode, value in zip(_DECODE, kept, strict=False)
        ]
        rest = kept[len(_DECODE) :]
        details = dict(zip(rest[::2], rest[1::2], strict=True))
        scene = restored([scene_str, *values, details])
    except (KeyError, ValueError) as error:
        # A node of another version may have written what this one does not know.
        problem = f"Redis: scene {scene_str} is not understood: {error}"
        raise StoreUnavailable(problem) from error
    return Step(_VERDICTS[verdict], scene, reply, int(now) / MICRO)

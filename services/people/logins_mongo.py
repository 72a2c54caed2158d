"""Counting the logins of known people in MongoDB, many of them in one command."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, WriteConcernError, WriteError

from services.people.documents import (
    LOGIN_FIELDS,
    Document,
    Wish,
    counting,
    uncounted,
)
from services.people.lanes_mongo import FOREIGN, InCompany

Outcome = Document | Exception | None


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One login of somebody whose home is probably at `key`."""

    key: str
    wish: Wish


class LoginCounter(InCompany[_Asked]):
    """Counts logins at homes, each once, however often it is asked."""

    name = "logins"

    def count(self, key: str, wish: Wish) -> "asyncio.Future[Document | None]":
        """What of the home at `key` a login reads, this one counted; in company where there is.

        None: no home is there, or the login was counted before; read on. Raises what `FOREIGN`
        names: it is counted or not, and asking again is harmless.
        """
        return self._lane.ask(_Asked(key, wish))

    async def _send(self, batch: Sequence[_Asked]) -> list[Outcome]:
        """Everybody who is here once travels together.

        Afterwards a person is found as one document, which would not tell several logins apart.
        """
        times = Counter(login.key for login in batch)
        groups = [[login] for login in batch if times[login.key] > 1]
        if together := [login for login in batch if times[login.key] == 1]:
            groups.append(together)
        if len(groups) == 1:
            outcomes = await self._count_group(groups[0])
        else:
            done = await asyncio.gather(*(self._count_group(group) for group in groups))
            outcomes = {login: outcome for group in done for login, outcome in group.items()}
        return [outcomes[login] for login in batch]

    async def _count_group(self, logins: Sequence[_Asked]) -> dict[_Asked, Outcome]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if len(logins) > 1:
                    return await self._count_together(logins)
                return {login: await self._count_alone(login.key, login.wish) for login in logins}
        except FOREIGN as error:
            return dict.fromkeys(logins, error)

    async def _count_alone(self, key: str, wish: Wish) -> Document | None:
        """In one trip, for somebody without company."""
        return await self._people.find_one_and_update(
            uncounted(key, wish),
            counting(wish),
            projection=LOGIN_FIELDS,
            return_document=ReturnDocument.AFTER,
        )

    async def _count_together(self, logins: Sequence[_Asked]) -> dict[_Asked, Outcome]:
        """Count, then read whom that, or an earlier try, has counted.

        The update waits for a majority even where it changes nothing (MongoDB holds itself to that
        by noop_writes_wait_for_write_concern.js): what an earlier try has written is as safe then.
        """
        changes = [UpdateOne(uncounted(one.key, one.wish), counting(one.wish)) for one in logins]
        outcomes: dict[_Asked, Outcome] = {}
        try:
            matched = (await self._people.bulk_write(changes, ordered=False)).matched_count
        except BulkWriteError as error:
            matched = error.details["nMatched"]
            outcomes = _failures(error, logins)
        rest = [login for login in logins if login not in outcomes]
        homes: dict[str, Document] = {}
        if matched and rest:  # else nobody was counted now: the callers find out why by reading on
            homes = await self._read(rest, all_counted=matched == len(rest))
        return outcomes | {login: homes.get(login.key) for login in rest}

    async def _read(self, logins: Sequence[_Asked], *, all_counted: bool) -> dict[str, Document]:
        """The homes where those logins are counted.

        When all are, no home is asked for the scene: so many others of one person may have come
        meanwhile that the home has forgotten it. Else that person would be counted again, which
        takes `RECENT` logins between two commands and a stranger in the batch.
        """
        scenes = {login.key: login.wish.scene_str for login in logins}
        fields = LOGIN_FIELDS if all_counted else (*LOGIN_FIELDS, "recent")
        found = await self._people.find(
            {"_id": {"$in": list(scenes)}, "home": True}, fields
        ).to_list()
        return {
            home["_id"]: home
            for home in found
            if all_counted or scenes[home["_id"]] in home["recent"]
        }


def _failures(error: BulkWriteError, logins: Sequence[_Asked]) -> dict[_Asked, Outcome]:
    """Who of the batch was not served; without a majority nobody was.

    The driver's own words are not passed on: they quote the commands, with people's openids.
    """
    for concern in error.details["writeConcernErrors"]:
        return dict.fromkeys(logins, WriteConcernError(concern["errmsg"], concern["code"]))
    return {
        logins[failed["index"]]: WriteError(failed["errmsg"], failed["code"])
        for failed in error.details["writeErrors"]
    }

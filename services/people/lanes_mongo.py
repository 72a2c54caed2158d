"""Commands to MongoDB about many people at once.

A command costs a node a third of a whole login (docs/performance.md), and with many people in it
not much more than with one.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError

from services.lane import Lane
from services.people.documents import Document
from services.supervisor import Supervisor

FOREIGN = (PyMongoError, OSError)
"""Whatever goes wrong with MongoDB; OSError includes the TimeoutError that asyncio raises."""

MOST_IN_A_BATCH = 16
"""The two commands of a full batch cost each login a sixth of what one of its own would."""

MOST_UNDER_WAY = 8
"""With a MongoDB that needs 100 ms for each command, a node still does 640 logins a second."""

PATIENCE_SECONDS = 0.05
"""How long a batch that hangs holds up others."""

Question = TypeVar("Question")


class InCompany(ABC, Generic[Question]):
    """Asks MongoDB about one person each, with whoever else asks; each gets that one's document.

    Args:
        timeout_seconds: for a call before it is sent; `_send` has to keep to it by itself.
    """

    name: ClassVar[str]
    """Of its background tasks."""

    def __init__(
        self,
        people: AsyncCollection[Document],
        supervisor: Supervisor,
        *,
        timeout_seconds: float,
    ) -> None:
        self._people = people
        self._timeout_seconds = timeout_seconds
        self._lane: Lane[Question, Document | None] = Lane(
            self._send,
            supervisor,
            name=self.name,
            timeout_seconds=timeout_seconds,
            most_in_a_batch=MOST_IN_A_BATCH,
            most_under_way=MOST_UNDER_WAY,
            patience_seconds=PATIENCE_SECONDS,
        )

    @abstractmethod
    async def _send(self, batch: Sequence[Question]) -> Sequence[Document | Exception | None]:
        """One answer or exception for each; raises nothing."""


class DocumentReader(InCompany[str]):
    """Reads documents by their names, together where several are asked for."""

    name = "people"

    def read(self, key: str) -> "asyncio.Future[Document | None]":
        """The document of that name as it is now or later. Raises what `FOREIGN` names."""
        return self._lane.ask(key)

    async def _send(self, batch: Sequence[str]) -> list[Document | Exception | None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = await self._find(set(batch))
        except FOREIGN as error:
            return [error] * len(batch)
        documents = {document["_id"]: document for document in found}
        return [documents.get(key) for key in batch]

    async def _find(self, keys: set[str]) -> list[Document]:
        if len(keys) > 1:
            return await self._people.find({"_id": {"$in": list(keys)}}).to_list()
        found = await self._people.find_one({"_id": keys.pop()})
        return [] if found is None else [found]

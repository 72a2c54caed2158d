"""One connection to one Redis server, for batches of calls.

redis-py connects, authenticates and reads answers (with hiredis). Its pool is left out: taking a
connection from it and giving it back costs more than a call.
"""

from typing import Any

import redis.asyncio as aioredis
from redis import exceptions


class Wire:
    """Made when it is first needed, and made anew after it was lost.

    One exchange at a time. One that is cancelled, or fails, leaves no connection behind, so that
    no late answer is taken for that of another call.

    Args:
        client: whose settings the connection gets.
    """

    def __init__(self, client: aioredis.Redis) -> None:
        pool: Any = client.connection_pool  # untyped where it makes connections
        self._connection = pool.make_connection()

    async def exchange(self, packed: bytes, count: int) -> list[Any]:
        """Send packed commands, and get one answer or exception for each of the `count`.

        A connection that was lost while nobody used it is noticed only now: hence a second try,
        on a new one.

        Raises:
            redis.exceptions.ConnectionError: there is no connection to be had, or it was lost
                before the first answer, twice.
        """
        try:
            return await self._exchange(packed, count)
        except exceptions.ConnectionError:
            return await self._exchange(packed, count)

    async def _exchange(self, packed: bytes, count: int) -> list[Any]:
        connection = self._connection
        answers: list[Any] = []
        try:
            await connection.send_packed_command(packed, check_health=False)
            while len(answers) < count:
                try:
                    answers.append(await connection.read_response())
                except exceptions.ResponseError as error:
                    answers.append(error)
        except exceptions.ConnectionError as error:
            if not answers:
                raise
            answers += [error] * (count - len(answers))
        return answers

    async def close(self) -> None:
        """Give the connection up; the next exchange makes another."""
        await self._connection.disconnect()

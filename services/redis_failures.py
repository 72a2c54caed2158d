"""What Redis's failures are called."""

import asyncio

from redis import exceptions

from services.errors import StoreUnavailable

FOREIGN = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    OSError,  # refused, reset, unresolved; and TimeoutError, which asyncio raises
    asyncio.IncompleteReadError,
)
LOST = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterError, OSError)


class translated:
    """Turn whatever redis-py raises into `StoreUnavailable`.

    That covers a server that is gone, hangs, loads its data (LOADING), lost its master
    (MASTERDOWN), became a replica (READONLY), is full (OOM) or no longer lets us in (NOAUTH): in
    each case the caller may ask again, and what was asked may or may not have happened.

    A class, like contextlib's: around every call, a generator's context manager would cost.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FOREIGN):
            raise StoreUnavailable(f"Redis: {brief(error)}") from error


def brief(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:200]

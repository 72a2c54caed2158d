"""The stores and the limits of the machine that the doctor runs on."""

import os
import shutil
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

from doctor.examination import Examination
from doctor.findings import Finding, State
from doctor.texts import SENTENCES
from services.errors import SettingsError, StoreUnavailable
from services.mongo_client import FOREIGN, make_client, problem_of
from services.people.store_mongo import MongoUserStore
from services.push.admission import open_file_limit
from services.redis_client import RedisLink
from services.sqlite import FREE_BYTES

Findings = AsyncGenerator[Finding, None]

MEGABYTE = 1 << 20
LOW_DISK_BYTES = 200 * MEGABYTE

FEW_SOCKETS = 1_000

MONGODB_SECONDS = 2.5


async def stores(exam: Examination) -> Findings:
    """Rights, writes and versions of the stores that the settings name."""
    if exam.settings.backend == "embedded":
        yield _sqlite(exam.settings.embedded.path)
        return
    yield await _redis(exam.settings.redis.url.get_secret_value())
    mongodb = exam.settings.mongodb
    yield await _mongodb(mongodb.url.get_secret_value(), mongodb.database)


def _sqlite(path: Path) -> Finding:
    """The file as the server finds it; one that is in use is written beside the server, and what
    is not there is not made."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    values: dict[str, object] = {"path": path, "free": free // MEGABYTE}
    problem = ""
    if not folder.is_dir():
        problem = f"{folder} is no folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"the folder {folder} cannot be written"
    elif path.exists():
        problem = _write_and_take_back(path)
    if problem:
        return Finding("stores", State.BAD, "sqlite_bad", {**values, "problem": problem})
    if free < LOW_DISK_BYTES:
        state = State.BAD if free < FREE_BYTES else State.WARN
        return Finding("stores", state, "disk_low", values)
    return Finding("stores", State.OK, "sqlite", values)


def _write_and_take_back(path: Path) -> str:
    """Why the database takes no writes, or nothing."""
    if not os.access(path, os.R_OK | os.W_OK):
        return "it cannot be written"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=2, isolation_level=None
        )
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE scanpush_doctor (id INTEGER)")
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error)
    return ""


async def _redis(url: str) -> Finding:
    link = None
    try:
        link = RedisLink(url)
        await link.open()
    except (SettingsError, StoreUnavailable) as error:
        return _store_bad("redis.url", error)
    finally:
        if link is not None:
            await link.close()
    told = link.introduced
    values: dict[str, object] = {
        "version": told.version or SENTENCES["nothing"],
        "policy": told.eviction,
        "eviction": f" (maxmemory-policy {told.eviction})" if told.eviction else "",
    }
    if told.eviction not in ("", "noeviction"):
        return Finding("stores", State.WARN, "redis_evicts", values)
    return Finding("stores", State.OK, "redis", values)


async def _mongodb(url: str, database: str) -> Finding:
    try:
        store = MongoUserStore(url, database, timeout_seconds=MONGODB_SECONDS)
        await store.open()
        await store.close()
        client = make_client(url, MONGODB_SECONDS)
    except (SettingsError, StoreUnavailable) as error:
        return _store_bad("mongodb.url", error)
    try:
        version = str((await client.server_info()).get("version", ""))
    except FOREIGN as error:
        problem = problem_of(error, client, "buildInfo").words
        values = {"key": "mongodb.url", "problem": problem}
        return Finding("stores", State.BAD, "store_bad", values)
    finally:
        await client.close()
    return Finding("stores", State.OK, "mongodb", {"version": version})


def _store_bad(key: str, error: SettingsError | StoreUnavailable) -> Finding:
    problem = str(error)
    if isinstance(error, SettingsError):
        key, problem = error.key or key, error.problem
    return Finding("stores", State.BAD, "store_bad", {"key": key, "problem": problem})


async def descriptors(exam: Examination) -> Findings:
    """How many sockets the open-file limit of this shell would allow."""
    limit = open_file_limit()
    sockets = max(0, limit - exam.settings.push.reserve_descriptors)
    few = sockets < FEW_SOCKETS
    values = {"limit": limit, "sockets": sockets}
    yield Finding(
        "descriptors",
        State.WARN if few else State.OK,
        "descriptors_few" if few else "descriptors",
        values,
    )

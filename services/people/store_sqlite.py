"""People in the embedded database: users, identities, and the logins of the last hour.

The writer thread decides every race by its order. Each write is one transaction, so merging two
users moves the identities with it, and none ever points to an alias.
"""

import logging
import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any

from services.ids import AppId, OpenId, SceneStr, UnionId, UserId
from services.people.store import (
    LAST_CHARACTER,
    LEASE_SECONDS,
    NOTHING_KNOWN,
    UNIONID_DUE_SECONDS,
    Identity,
    Login,
    Person,
    Profile,
    Record,
    StoredIdentity,
    User,
)
from services.sqlite import Database, sqlite_errors

log = logging.getLogger("scanpush.people")

LOGIN_SECONDS = 3600
"""How long a login is remembered by its scene; a scene lives at most half of that."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, avatar TEXT NOT NULL, account TEXT NOT NULL,
    created_at REAL NOT NULL, last_login_at REAL NOT NULL, logins INTEGER NOT NULL,
    alias_of TEXT, phone TEXT NOT NULL, email TEXT NOT NULL, banned_at REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS users_by_alias ON users (alias_of) WHERE alias_of IS NOT NULL;
CREATE INDEX IF NOT EXISTS users_by_name ON users (name, id) WHERE name > '';
CREATE TABLE IF NOT EXISTS identities (
    app_id TEXT NOT NULL, openid TEXT NOT NULL, unionid TEXT, user_id TEXT NOT NULL,
    following INTEGER NOT NULL, follow_changed_at REAL NOT NULL,
    PRIMARY KEY (app_id, openid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS identities_by_unionid ON identities (unionid)
    WHERE unionid IS NOT NULL;
CREATE INDEX IF NOT EXISTS identities_by_user ON identities (user_id);
CREATE TABLE IF NOT EXISTS logins (
    scene_str TEXT PRIMARY KEY, user_id TEXT NOT NULL, is_new INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logins_by_time ON logins (at);
CREATE TABLE IF NOT EXISTS unionids_owed (
    app_id TEXT NOT NULL, openid TEXT NOT NULL, due REAL NOT NULL, PRIMARY KEY (app_id, openid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unionids_owed_by_due ON unionids_owed (app_id, due);
"""

# Identities never point to an alias: `_make_alias` moves them to the user who stays.
_KNOWN = """SELECT i.unionid, u.id, u.name, u.avatar, u.account, u.created_at, u.logins,
    u.banned_at, u.email FROM identities i JOIN users u ON u.id = i.user_id
    WHERE i.app_id = ? AND i.openid = ?"""
_USER = """SELECT id, name, avatar, account, created_at, last_login_at, logins,
    banned_at IS NOT NULL, email FROM users"""

_ALIASES = """WITH RECURSIVE person (id) AS (
    VALUES (?) UNION SELECT users.id FROM users JOIN person ON users.alias_of = person.id
) SELECT id FROM person"""

_ABSORB = """UPDATE users SET
    logins = users.logins + gone.logins,
    last_login_at = max(users.last_login_at, gone.last_login_at),
    name = iif(users.name = '', gone.name, users.name),
    avatar = iif(users.avatar = '', gone.avatar, users.avatar),
    phone = iif(users.phone = '', gone.phone, users.phone),
    email = iif(users.email = '', gone.email, users.email),
    banned_at = ifnull(users.banned_at, gone.banned_at)
    FROM users AS gone WHERE users.id = ? AND gone.id = ?"""


class SqliteUserStore:
    """`UserStore` in one file, for one process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def login(
        self,
        identity: Identity,
        scene_str: SceneStr,
        account: str,
        now: float,
        *,
        profile: Profile = NOTHING_KNOWN,
        user_id: UserId | None = None,
        unionid_wanted: bool = False,
    ) -> Login:
        def job(db: sqlite3.Connection) -> Login:
            login = _done(db, scene_str)
            if login is None:
                found, is_new = _find_or_register(db, identity, account, now, user_id)
                login = _noted(db, found, is_new, scene_str, profile, now)
            return _owing(db, login, identity, now) if unionid_wanted else login

        return await self._database.write(job)

    async def find(self, identity: Identity) -> tuple[User, Identity] | None:
        with sqlite_errors():
            row = self._database.reader.execute(
                "SELECT unionid, user_id FROM identities WHERE app_id = ? AND openid = ?",
                (identity.app_id, identity.openid),
            ).fetchone()
            if row is None and (other := _by_unionid(self._database.reader, identity.unionid)):
                row = (identity.unionid, other)
            if row is None or (user := _resolved(self._database.reader, row[1])) is None:
                return None
        unionid = None if row[0] is None else UnionId(row[0])
        return user, Identity(AppId(identity.app_id), OpenId(identity.openid), unionid)

    async def get(self, user_id: UserId) -> User | None:
        with sqlite_errors():
            return _resolved(self._database.reader, user_id)

    async def ban(self, user_id: UserId, banned: bool, now: float) -> User | None:
        def job(db: sqlite3.Connection) -> User | None:
            stayed = _id_after_aliases(db, user_id)
            # The first ban's time stays.
            change = "UPDATE users SET banned_at = iif(?, ifnull(banned_at, ?), NULL) WHERE id = ?"
            db.execute(change, (banned, now, stayed))
            return _resolved(db, stayed)

        return await self._database.write(job)

    async def named(
        self, prefix: str, after: tuple[str, UserId] | None, limit: int
    ) -> Sequence[User]:
        # An alias has no name.
        where = "name > '' AND name >= ? AND name < ? AND (name, id) > (?, ?)"
        last = after or ("", UserId(""))
        with sqlite_errors():
            rows = self._database.reader.execute(
                f"{_USER} WHERE {where} ORDER BY name, id LIMIT ?",
                (prefix, prefix + LAST_CHARACTER, *last, limit),
            ).fetchall()
        return [_user(row) for row in rows]

    async def record(self, user_id: UserId) -> Record | None:
        def job(db: sqlite3.Connection) -> Record | None:
            if (user := _resolved(db, user_id)) is None:
                return None
            phone, banned_at = db.execute(
                "SELECT phone, banned_at FROM users WHERE id = ?", (user.id,)
            ).fetchone()
            rows = db.execute(
                "SELECT app_id, openid, unionid, following, follow_changed_at FROM identities"
                " WHERE user_id = ? ORDER BY app_id, openid",
                (user.id,),
            ).fetchall()
            identities = tuple(
                StoredIdentity(app_id, openid, unionid, bool(following), at)
                for app_id, openid, unionid, following, at in rows
            )
            aliases = person_in_transaction(db, user.id).ids[1:]
            return Record(user, phone, banned_at, aliases, identities)

        # In a transaction, for one moment of all of it.
        return await self._database.write(job)

    async def remove(self, user_id: UserId) -> Sequence[UserId]:
        def job(db: sqlite3.Connection) -> Sequence[UserId]:
            person = person_in_transaction(db, user_id)
            if not person.known:
                return ()
            own = f"user_id IN ({', '.join('?' * len(person.ids))})"
            db.execute(
                "DELETE FROM unionids_owed WHERE (app_id, openid) IN"
                f" (SELECT app_id, openid FROM identities WHERE {own})",  # nosec B608  # marks
                person.ids,
            )
            for table in ("identities", "logins"):
                db.execute(f"DELETE FROM {table} WHERE {own}", person.ids)  # nosec B608  # marks
            for one in person.ids:
                db.execute("DELETE FROM users WHERE id = ?", (one,))
            return person.ids

        return await self._database.write(job)

    async def person(self, user_id: UserId) -> Person:
        with sqlite_errors():
            return person_in_transaction(self._database.reader, user_id)

    async def join(self, identity: Identity) -> None:
        await self._database.write(lambda db: _join(db, identity))

    async def owed_unionids(self, app_id: AppId, now: float, limit: int) -> Sequence[Identity]:
        def job(db: sqlite3.Connection) -> list[Identity]:
            rows = db.execute(
                "UPDATE unionids_owed SET due = ? WHERE app_id = ? AND openid IN (SELECT openid"
                " FROM unionids_owed WHERE app_id = ? AND due <= ? ORDER BY due LIMIT ?)"
                " RETURNING openid",
                (now + LEASE_SECONDS, app_id, app_id, now, limit),
            ).fetchall()
            return [Identity(app_id, OpenId(openid)) for (openid,) in rows]

        return await self._database.write(job)

    async def count_owed_unionids(self, limit: int) -> int:
        with sqlite_errors():
            (count,) = self._database.reader.execute(
                "SELECT count(*) FROM (SELECT 1 FROM unionids_owed LIMIT ?)", (limit,)
            ).fetchone()
        return int(count)

    async def follow(self, identity: Identity, at: float, *, following: bool) -> bool:
        def job(db: sqlite3.Connection) -> bool:
            changed = db.execute(
                "UPDATE identities SET following = ?, follow_changed_at = ?"
                " WHERE app_id = ? AND openid = ? AND (follow_changed_at < ?"
                " OR follow_changed_at = ? AND following = ?) RETURNING user_id",
                (following, at, identity.app_id, identity.openid, at, at, following),
            ).fetchone()
            if changed is not None and not following:
                _forget_profile(db, _id_after_aliases(db, changed[0]))
            return changed is not None

        return await self._database.write(job)

    async def ping(self) -> None:
        await self._database.write(lambda db: db.execute("SELECT 1").fetchone())


def login_in_transaction(
    db: sqlite3.Connection,
    identity: Identity,
    scene_str: SceneStr,
    account: str,
    now: float,
    *,
    first_try: bool,
    unionid_wanted: bool,
) -> Login:
    """A login in the caller's transaction, which also authorizes the scene.

    Args:
        first_try: the scene was waiting until this transaction, so no login of it can exist, and
            none needs to be remembered by it.
    """
    if not first_try and (done := _done(db, scene_str)) is not None:
        return _owing(db, done, identity, now) if unionid_wanted else done
    row = db.execute(_KNOWN, (identity.app_id, identity.openid)).fetchone()
    has_unionid = row is not None and row[0] is not None
    if row is not None and (has_unionid or identity.unionid is None):
        # Nothing new is known of the person, the common case: one more statement is enough.
        _, user_id, name, avatar, created_account, created_at, logins, banned_at, email = row
        if banned_at is None:
            change = "UPDATE users SET last_login_at = ?, logins = ? WHERE id = ?"
            db.execute(change, (now, logins + 1, user_id))
            times = (created_at, now, logins + 1)
            user = User(UserId(user_id), name, avatar, created_account, *times, email=email)
            login = Login(user, is_new=False)
        else:
            login = _noted(db, UserId(user_id), False, scene_str, NOTHING_KNOWN, now)
    else:
        found, is_new = _find_or_register(db, identity, account, now, None)
        login = _noted(db, found, is_new, scene_str, NOTHING_KNOWN, now)
    return _owing(db, login, identity, now) if unionid_wanted and not has_unionid else login


def person_in_transaction(db: sqlite3.Connection, user_id: UserId) -> Person:
    """`UserStore.person`, also for a caller's transaction."""
    stayed = _id_after_aliases(db, user_id)
    rows = db.execute(_ALIASES, (stayed,)).fetchall()
    ban = db.execute("SELECT banned_at IS NOT NULL FROM users WHERE id = ?", (stayed,)).fetchone()
    ids = tuple(UserId(row[0]) for row in rows)
    return Person(ids, banned=ban == (1,), known=ban is not None)


def _done(db: sqlite3.Connection, scene_str: SceneStr) -> Login | None:
    """The login that this scene already brought."""
    done = db.execute(
        "SELECT user_id, is_new FROM logins WHERE scene_str = ?", (scene_str,)
    ).fetchone()
    if done is not None and (user := _resolved(db, done[0])) is not None:
        return Login(user, bool(done[1]))
    return None


def _owing(db: sqlite3.Connection, login: Login, identity: Identity, now: float) -> Login:
    """That login, where no unionid of its identity is known: noted as owed."""
    key = (identity.app_id, identity.openid)
    row = db.execute(
        "SELECT unionid FROM identities WHERE app_id = ? AND openid = ?", key
    ).fetchone()
    if row is None or row[0] is not None:
        return login
    # One that is owed already stays due when it was, however often its person logs in.
    due = now + UNIONID_DUE_SECONDS
    db.execute("INSERT OR IGNORE INTO unionids_owed VALUES (?, ?, ?)", (*key, due))
    return login._replace(owes_unionid=True)


def _noted(
    db: sqlite3.Connection,
    user_id: UserId,
    is_new: bool,
    scene_str: SceneStr,
    profile: Profile,
    now: float,
) -> Login:
    """Count the login, note what is newly known, and remember the login by its scene; of a banned
    person nothing."""
    counted = db.execute(
        "UPDATE users SET last_login_at = ?, logins = logins + 1"
        " WHERE id = ? AND banned_at IS NULL",
        (now, user_id),
    )
    if counted.rowcount:
        for column in ("name", "avatar", "phone", "email"):
            if value := getattr(profile, column):
                db.execute(f"UPDATE users SET {column} = ? WHERE id = ?", (value, user_id))
        db.execute("DELETE FROM logins WHERE at < ?", (now - LOGIN_SECONDS,))
        db.execute("INSERT INTO logins VALUES (?, ?, ?, ?)", (scene_str, user_id, is_new, now))
    user = _resolved(db, user_id)
    assert user is not None  # inserted or found in this transaction
    return Login(user, is_new)


def _forget_profile(db: sqlite3.Connection, user_id: str) -> None:
    db.execute(
        "UPDATE users SET name = '', avatar = '', phone = '', email = '' WHERE id = ?", (user_id,)
    )


def _find_or_register(
    db: sqlite3.Connection,
    identity: Identity,
    account: str,
    now: float,
    wanted: UserId | None,
) -> tuple[UserId, bool]:
    row = db.execute(
        "SELECT unionid, user_id FROM identities WHERE app_id = ? AND openid = ?",
        (identity.app_id, identity.openid),
    ).fetchone()
    if row is not None:
        if identity.unionid is not None and row[0] is None:
            _join(db, identity)
        return _id_after_aliases(db, row[1]), False
    # A unionid says more than the operator's id: it is WeChat's word that this is one person.
    user_id = _by_unionid(db, identity.unionid)
    if user_id is None and wanted is not None and _resolved(db, wanted) is not None:
        user_id = _id_after_aliases(db, wanted)
    is_new = user_id is None
    if user_id is None:
        user_id = wanted or UserId(uuid.uuid4().hex)
        db.execute(
            "INSERT INTO users VALUES (?, '', '', ?, ?, ?, 0, NULL, '', '', NULL)",
            (user_id, account, now, now),
        )
    db.execute(
        "INSERT INTO identities VALUES (?, ?, ?, ?, 1, 0)",
        (identity.app_id, identity.openid, identity.unionid, user_id),
    )
    return user_id, is_new


def _by_unionid(db: sqlite3.Connection, unionid: UnionId | None) -> UserId | None:
    if unionid is None:
        return None
    row = db.execute("SELECT user_id FROM identities WHERE unionid = ?", (unionid,)).fetchone()
    return None if row is None else _id_after_aliases(db, row[0])


def _join(db: sqlite3.Connection, identity: Identity) -> None:
    """Note the unionid of a known identity, and make one user of two where it shows them equal."""
    key = (identity.app_id, identity.openid)
    db.execute("DELETE FROM unionids_owed WHERE app_id = ? AND openid = ?", key)
    row = db.execute(
        "SELECT user_id FROM identities WHERE app_id = ? AND openid = ?", key
    ).fetchone()
    if row is None or identity.unionid is None:
        return
    mine = _id_after_aliases(db, row[0])
    other = _by_unionid(db, identity.unionid)
    db.execute(
        "UPDATE identities SET unionid = ? WHERE app_id = ? AND openid = ?",
        (identity.unionid, *key),
    )
    if other is not None and other != mine:
        _make_alias(db, mine, other)


def _make_alias(db: sqlite3.Connection, one: UserId, two: UserId) -> None:
    (older,), (younger,) = db.execute(
        "SELECT id FROM users WHERE id IN (?, ?) ORDER BY created_at, id", (one, two)
    ).fetchall()
    db.execute(_ABSORB, (older, younger))
    _forget_profile(db, younger)
    db.execute("UPDATE users SET alias_of = ? WHERE id = ?", (older, younger))
    db.execute("UPDATE identities SET user_id = ? WHERE user_id = ?", (older, younger))
    log.info("two users are one person: %s is now an alias of %s", younger, older)


def _id_after_aliases(db: sqlite3.Connection, user_id: str) -> UserId:
    """The id that stayed. Aliases point to older users only, so this ends."""
    while row := db.execute(
        "SELECT alias_of FROM users WHERE id = ? AND alias_of IS NOT NULL", (user_id,)
    ).fetchone():
        user_id = row[0]
    return UserId(user_id)


def _resolved(db: sqlite3.Connection, user_id: str) -> User | None:
    row = db.execute(f"{_USER} WHERE id = ?", (_id_after_aliases(db, user_id),)).fetchone()
    return None if row is None else _user(row)


def _user(row: tuple[Any, ...]) -> User:
    """A row of `_USER`."""
    *known, banned, email = row
    return User._make((*known, bool(banned), email))

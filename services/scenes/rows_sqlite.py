"""Scenes as rows of the embedded database: the table, and the way there and back."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from services.scenes.states import KIND_OF, STATE_OF, Claims, Scene

SCHEMA = """
CREATE TABLE IF NOT EXISTS scenes (
    scene_str TEXT PRIMARY KEY, state TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    account TEXT NOT NULL, lang TEXT NOT NULL, created_at REAL NOT NULL,
    changed_at REAL NOT NULL, ends_at REAL NOT NULL, watch_hash BLOB NOT NULL,
    begin_hash BLOB NOT NULL, openid TEXT, user_id TEXT, jti TEXT, iat INTEGER, exp INTEGER,
    is_new INTEGER, owed INTEGER NOT NULL, error TEXT NOT NULL, details TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scenes_by_end ON scenes (ends_at);
CREATE INDEX IF NOT EXISTS scenes_owed ON scenes (changed_at) WHERE owed = 1;
CREATE TABLE IF NOT EXISTS kept (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, ends_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kept_by_end ON kept (ends_at);
"""

COLUMNS = (
    "scene_str, state, seq, kind, account, lang, created_at, changed_at, ends_at, watch_hash,"
    " begin_hash, openid, user_id, jti, iat, exp, is_new, owed, error, details"
)
_NO_CLAIMS = (None, None, None, False)
_encode = json.JSONEncoder(ensure_ascii=False).encode
_parsed = json.JSONDecoder().raw_decode
SELECT = f"SELECT {COLUMNS} FROM scenes WHERE scene_str = ?"
INSERT = f"INSERT INTO scenes ({COLUMNS}) VALUES ({', '.join('?' * 20)})"
# The last condition holds unless somebody moved the scene meanwhile.
_UPDATE = """UPDATE scenes SET state=?, seq=?, changed_at=?, ends_at=?, openid=?, user_id=?, jti=?,
    iat=?, exp=?, is_new=?, owed=?, error=? WHERE scene_str=? AND seq<?"""
_UPDATE_DETAILS = _UPDATE.replace(" WHERE", ", details=? WHERE")


def update(db: sqlite3.Connection, scene: Scene, *, details: bool) -> bool:
    """Write down a scene; False: somebody else has moved it as far, and nothing is done.

    Args:
        details: whether they changed. Few moves change them, and they are half of what is stored.
    """
    row = (str(scene.state), scene.seq, scene.changed_at, scene.ends_at, *_login(scene))
    key = (scene.scene_str, scene.seq)
    if details:
        return db.execute(_UPDATE_DETAILS, (*row, _encoded(scene.details), *key)).rowcount > 0
    return db.execute(_UPDATE, (*row, *key)).rowcount > 0


def row_of(scene: Scene) -> tuple[Any, ...]:
    """A scene as `COLUMNS`."""
    return (
        scene.scene_str,
        str(scene.state),
        scene.seq,
        str(scene.kind),
        *scene[4:11],
        *_login(scene),
        _encoded(scene.details),
    )


def _login(scene: Scene) -> tuple[Any, ...]:
    """What a login changes, in the order of the columns.

    Numbers in place of what is true or false: sqlite3 looks for an adapter of everything that it
    does not know, and that costs more than all the rest of a column.
    """
    jti, iat, exp, is_new = scene.claims or _NO_CLAIMS
    return scene.openid, scene.user_id, jti, iat, exp, int(is_new), int(scene.owed), scene.error


def _encoded(details: Mapping[str, str]) -> str:
    return _encode(details) if details else ""


def scene_of(row: tuple[Any, ...]) -> Scene:
    """A scene from `COLUMNS`, which stand in the order of its fields but for the claims."""
    claims = None if row[13] is None else Claims(row[13], row[14], row[15], bool(row[16]))
    details = _parsed(row[19])[0] if row[19] else {}
    state, kind = STATE_OF[row[1]], KIND_OF[row[3]]
    return Scene._make(
        (row[0], state, row[2], kind, *row[4:13], claims, bool(row[17]), row[18], details)
    )

"""Temporary media: pictures, voices, videos and thumbs that an account uploads, for three days.

Facts: WeChat's pages "Uploading temporary media" and "Getting temporary media".
"""

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass

from simulator.clock import TurnableClock
from simulator.identifiers import url_safe
from simulator.refusals import Refusal
from simulator.state import State

LIFE_SECONDS = 3 * 86_400


@dataclass(frozen=True)
class _Kind:
    """What one kind of media takes: types by the end of the file's name, and bytes."""

    types: Mapping[str, str]
    most: int
    size_errcode: int


JPEG = {"jpg": "image/jpeg", "jpeg": "image/jpeg"}
PICTURES = {**JPEG, "png": "image/png", "gif": "image/gif", "bmp": "image/bmp"}
VOICES = {"amr": "audio/amr", "mp3": "audio/mpeg"}

KINDS: Mapping[str, _Kind] = {
    "image": _Kind(PICTURES, 10 * 1_048_576, 40009),
    "voice": _Kind(VOICES, 2 * 1_048_576, 40010),
    "video": _Kind({"mp4": "video/mp4"}, 10 * 1_048_576, 40011),
    "thumb": _Kind(JPEG, 64 * 1_024, 40012),
}


@dataclass(frozen=True)
class Medium:
    """One uploaded file."""

    media_id: str
    app_id: str
    kind: str
    filename: str
    content_type: str
    created: int
    body: bytes


class Media:
    """All media that were uploaded in the last three days."""

    def __init__(self, clock: TurnableClock, rng: random.Random, state: State) -> None:
        self._clock = clock
        self._rng = rng
        self._state = state
        self._media: dict[str, Medium] = {}
        for media_id, document in state.documents("media").items():
            body = base64.b64decode(document.pop("body"))
            self._media[media_id] = Medium(media_id=media_id, body=body, **document)

    def upload(self, app_id: str, kind: str, filename: str, body: bytes) -> Medium:
        """Keep this file.

        Raises:
            Refusal: 40004 for the kind, 40005 for the file's type, 40006 for an empty file, 40009
                to 40012 for one that is too large.
        """
        accepted = KINDS.get(kind)
        if accepted is None:
            raise Refusal(40004)
        content_type = accepted.types.get(filename.rpartition(".")[2].lower())
        if content_type is None:
            raise Refusal(40005)
        if not body:
            raise Refusal(40006)
        if len(body) > accepted.most:
            raise Refusal(accepted.size_errcode)
        now = int(self._clock.now())
        for old in [one for one in self._media.values() if self._over(one)]:
            del self._media[old.media_id]
            self._state.drop("media", old.media_id)
        media_id = url_safe(self._rng, 64)
        medium = Medium(media_id, app_id, kind, filename, content_type, now, body)
        self._media[media_id] = medium
        self._state.put(
            "media",
            media_id,
            lambda: {
                "app_id": app_id,
                "kind": kind,
                "filename": filename,
                "content_type": content_type,
                "created": now,
                "body": base64.b64encode(body).decode("ascii"),
            },
        )
        return medium

    def get(self, app_id: str, media_id: object) -> Medium:
        """The file of this id.

        Raises:
            Refusal: 40007: unknown, another app's, or over.
        """
        medium = self.find(media_id) if isinstance(media_id, str) else None
        if medium is None or medium.app_id != app_id:
            raise Refusal(40007)
        return medium

    def find(self, media_id: str) -> Medium | None:
        """The file of this id, whichever app's it is; None where there is none any more."""
        medium = self._media.get(media_id)
        return None if medium is None or self._over(medium) else medium

    def _over(self, medium: Medium) -> bool:
        return self._clock.now() >= medium.created + LIFE_SECONDS

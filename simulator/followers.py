"""The followers of an account: their list, tags and remarks.

Facts: WeChat's pages "User list", "User tags", "Remark names" and "User information".
"""

from collections.abc import Mapping
from typing import Any

from simulator.people import Follow, People
from simulator.refusals import Refusal
from simulator.state import State

LIST_PAGE = 10_000
MAX_REMARK_CHARACTERS = 30
MAX_TAGS = 100
MAX_TAGS_OF_A_FOLLOWER = 20
MAX_TAG_BYTES = 30
MAX_TAGGED_AT_ONCE = 50
FIRST_TAG_ID = 100

SYSTEM_TAGS: Mapping[int, str] = {2: "星标组"}
"""What every account has and cannot change (0 and 1 are no longer listed)."""


def listed(openids: list[str], next_openid: object) -> dict[str, Any]:
    """One page of openids, as ``user/get`` and ``user/tag/get`` answer it.

    Args:
        next_openid: the last openid of the page before, empty for the first page.

    Raises:
        Refusal: 40003 for a `next_openid` that is not in the list.
    """
    start = 0
    if next_openid:
        if next_openid not in openids:
            raise Refusal(40003)
        start = openids.index(str(next_openid)) + 1
    page = openids[start : start + LIST_PAGE]
    document: dict[str, Any] = {"count": len(page)}
    # An empty page has no list at all.
    if page:
        document["data"] = {"openid": page}
    return document | {"next_openid": page[-1] if page else ""}


def follow_of(people: People, app_id: str, openid: object) -> Follow:
    """How the person of this openid follows the account.

    Raises:
        Refusal: 40003: not a follower of this account.
    """
    person = people.by_openid(app_id, openid) if isinstance(openid, str) else None
    follow = person.follows.get(app_id) if person is not None else None
    if follow is None:
        raise Refusal(40003)
    return follow


def set_remark(people: People, app_id: str, openid: object, remark: object) -> None:
    """Name a follower for the account's own use.

    Raises:
        Refusal: 40003 for the openid, 40035 for the remark.
    """
    follow = follow_of(people, app_id, openid)
    if not isinstance(remark, str) or len(remark) > MAX_REMARK_CHARACTERS:
        raise Refusal(40035)
    follow.remark = remark
    _keep(people, app_id, openid)


def _keep(people: People, app_id: str, openid: object) -> None:
    if (person := people.by_openid(app_id, str(openid))) is not None:
        people.changed(person)


class Tags:
    """The tags of all accounts. A tag is an id and a name; followers keep the ids."""

    def __init__(self, people: People, state: State) -> None:
        self._people = people
        self._state = state
        self._names: dict[str, dict[int, str]] = {
            app_id: {int(tag): name for tag, name in names.items()}
            for app_id, names in state.documents("tags").items()
        }

    def create(self, app_id: str, name: object) -> dict[str, Any]:
        """A new tag.

        Raises:
            Refusal: 45056 with a hundred tags, 45157 or 45158 for the name.
        """
        names = self._names.setdefault(app_id, {})
        if len(names) >= MAX_TAGS:
            raise Refusal(45056)
        tag = max([FIRST_TAG_ID - 1, *names]) + 1
        self._name(app_id, tag, name)
        return {"id": tag, "name": name}

    def rename(self, app_id: str, tag: object, name: object) -> None:
        """Give a tag another name.

        Raises:
            Refusal: 45058 for a system tag, 45159 for an unknown one, 45157 or 45158 for the name.
        """
        self._name(app_id, self._own(app_id, tag), name)

    def delete(self, app_id: str, tag: object) -> None:
        """Take a tag from all followers and forget it.

        Raises:
            Refusal: 45058 for a system tag, 45159 for an unknown one.
        """
        number = self._own(app_id, tag)
        for openid, follow in self._people.followers(app_id):
            if number in follow.tags:
                follow.tags.remove(number)
                _keep(self._people, app_id, openid)
        del self._names[app_id][number]
        self._save(app_id)

    def all(self, app_id: str) -> list[dict[str, Any]]:
        """Every tag with the number of its followers."""
        tagged = [tag for _, follow in self._people.followers(app_id) for tag in follow.tags]
        names = {**SYSTEM_TAGS, **self._names.get(app_id, {})}
        return [
            {"id": tag, "name": name, "count": tagged.count(tag)} for tag, name in names.items()
        ]

    def followers(self, app_id: str, tag: object) -> list[str]:
        """The openids that have this tag.

        Raises:
            Refusal: 45159 for an unknown tag.
        """
        number = self._known(app_id, tag)
        followers = self._people.followers(app_id)
        return [openid for openid, follow in followers if number in follow.tags]

    def change(self, app_id: str, tag: object, openids: object, on: bool) -> None:
        """Put a tag on followers, at most fifty at once, or take it off. All or none.

        Raises:
            Refusal: 45159, 40032 for the list, 40003 for one of it, 45059 beyond twenty tags.
        """
        number = self._known(app_id, tag)
        if not isinstance(openids, list) or not 1 <= len(openids) <= MAX_TAGGED_AT_ONCE:
            raise Refusal(40032)
        follows = [follow_of(self._people, app_id, openid) for openid in openids]
        for follow in follows:
            if on and number not in follow.tags and len(follow.tags) >= MAX_TAGS_OF_A_FOLLOWER:
                raise Refusal(45059)
        for openid, follow in zip(openids, follows, strict=True):
            others = [other for other in follow.tags if other != number]
            follow.tags = [*others, number] if on else others
            _keep(self._people, app_id, openid)

    def _name(self, app_id: str, tag: int, name: object) -> None:
        names = self._names[app_id]
        taken = [*SYSTEM_TAGS.values(), *(text for own, text in names.items() if own != tag)]
        if not isinstance(name, str) or not name or name in taken:
            raise Refusal(45157)
        if len(name.encode("utf-8", "replace")) > MAX_TAG_BYTES:
            raise Refusal(45158)
        names[tag] = name
        self._save(app_id)

    def _known(self, app_id: str, tag: object) -> int:
        # SDKs send the id as a number or, from a form, as its digits.
        number = int(tag) if isinstance(tag, str) and tag.isdecimal() else tag
        if type(number) is not int or number not in {**SYSTEM_TAGS, **self._names.get(app_id, {})}:
            raise Refusal(45159)
        return number

    def _own(self, app_id: str, tag: object) -> int:
        if tag in (0, 1, *SYSTEM_TAGS):
            raise Refusal(45058)
        return self._known(app_id, tag)

    def _save(self, app_id: str) -> None:
        names = self._names[app_id]
        self._state.put("tags", app_id, {str(tag): name for tag, name in names.items()})

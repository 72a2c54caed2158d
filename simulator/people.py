"""The people of the simulated WeChat, and which accounts they follow."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from simulator.identifiers import openid_of, unionid_of


@dataclass
class Follow:
    """One person following one account, as ``cgi-bin/user/info`` describes it."""

    since: int
    how: str = "ADD_SCENE_SEARCH"
    scene_id: int = 0
    scene_str: str = ""


@dataclass
class Person:
    """One person with a phone. Without a `nickname`, web authorisation shows the `name`."""

    name: str
    language: str = "zh_CN"
    nickname: str = ""
    avatar: str = ""
    phone_number: str = "13800000000"
    blocks_notices: bool = False
    follows: dict[str, Follow] = field(default_factory=dict)

    @property
    def shown_name(self) -> str:
        return self.nickname or self.name


class People:
    """All people, each made when first named."""

    def __init__(self) -> None:
        self._people: dict[str, Person] = {}
        self._by_openid: dict[tuple[str, str], Person] = {}

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people.values())

    def named(self, name: str) -> Person:
        """The person of this name, who exists from now on."""
        person = self._people.get(name)
        if person is None:
            person = self._people[name] = Person(name)
        return person

    def openid(self, person: Person, app_id: str) -> str:
        """The person's openid for this app, which can be looked up from now on."""
        # An openid cannot be turned back into a name: it has to be noted to be found again.
        openid = openid_of(person.name, app_id)
        self._by_openid[app_id, openid] = person
        return openid

    def by_openid(self, app_id: str, openid: str) -> Person | None:
        """Whose openid this is, if this app ever learnt it."""
        return self._by_openid.get((app_id, openid))

    @staticmethod
    def unionid(person: Person, open_platform: str) -> str:
        """The person's unionid, or nothing where the app is bound to no Open Platform account."""
        return unionid_of(person.name, open_platform) if open_platform else ""

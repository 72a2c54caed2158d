"""The people of the simulated WeChat, and which accounts they follow."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from simulator.identifiers import openid_of, unionid_of
from simulator.state import State


@dataclass
class Follow:
    """One person following one account, as ``cgi-bin/user/info`` describes it."""

    since: int
    how: str = "ADD_SCENE_SEARCH"
    scene_id: int = 0
    scene_str: str = ""
    remark: str = ""
    tags: list[int] = field(default_factory=list)


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
    known_to: list[str] = field(default_factory=list)
    """The apps that ever learnt the person's openid."""

    @property
    def shown_name(self) -> str:
        return self.nickname or self.name


class People:
    """All people, each made when first named."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._people: dict[str, Person] = {}
        self._by_openid: dict[tuple[str, str], Person] = {}
        for name, document in state.documents("people").items():
            follows = {app_id: Follow(**one) for app_id, one in document.pop("follows").items()}
            person = self._people[name] = Person(**document, follows=follows)
            for app_id in person.known_to:
                self._by_openid[app_id, openid_of(name, app_id)] = person

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people.values())

    def named(self, name: str) -> Person:
        """The person of this name, who exists from now on."""
        person = self._people.get(name)
        if person is None:
            person = self._people[name] = Person(name)
            self.changed(person)
        return person

    def openid(self, person: Person, app_id: str) -> str:
        """The person's openid for this app, which can be looked up from now on."""
        # An openid cannot be turned back into a name: it has to be noted to be found again.
        openid = openid_of(person.name, app_id)
        if (app_id, openid) not in self._by_openid:
            self._by_openid[app_id, openid] = person
            person.known_to.append(app_id)
            self.changed(person)
        return openid

    def changed(self, person: Person) -> None:
        """Keep what is new about this person; call it after each change."""
        self._state.put("people", person.name, lambda: asdict(person))

    def followers(self, app_id: str) -> list[tuple[str, Follow]]:
        """The openids of this account's followers, in the order in which they began to follow."""
        return [
            (self.openid(person, app_id), person.follows[app_id])
            for person in self._people.values()
            if app_id in person.follows
        ]

    def by_openid(self, app_id: str, openid: str) -> Person | None:
        """Whose openid this is, if this app ever learnt it."""
        return self._by_openid.get((app_id, openid))

    @staticmethod
    def unionid(person: Person, open_platform: str) -> str:
        """The person's unionid, or nothing where the app is bound to no Open Platform account."""
        return unionid_of(person.name, open_platform) if open_platform else ""

"""What people and accounts wrote to each other, the messages that an account writes on its own
(custom messages), and the time in which it may.

Facts: WeChat's pages "Customer service messages" and "Typing status". What a person does opens a
time and a number of messages; the table is that of the newer page.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from simulator.clock import TurnableClock
from simulator.media import Media
from simulator.people import People, Person
from simulator.refusals import Refusal

Interaction = Literal["message", "menu", "follow", "scan"]

ALLOWED: Mapping[Interaction, tuple[float, int]] = {
    "message": (48 * 3_600, 5),
    "menu": (60, 3),
    "follow": (60, 3),
    "scan": (60, 3),
}
"""Seconds, and messages within them, after each kind of interaction."""

TYPING_SECONDS = 30
MAX_TEXT_BYTES = 2_048

MEDIA_FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": ("media_id",),
    "voice": ("media_id",),
    "video": ("media_id", "thumb_media_id"),
    "music": ("thumb_media_id",),
    "miniprogrampage": ("thumb_media_id",),
}
"""Which types show uploaded media, and in which fields."""

OTHER_TYPES = ("text", "link", "news", "mpnews", "mpnewsarticle", "msgmenu", "wxcard")


Sender = Literal["person", "account", "system"]
KEPT_LINES = 100


@dataclass(frozen=True)
class ChatLine:
    """One bubble. `kind` is text, image, event or notice; `number` grows within the chat."""

    number: int
    at: int
    sender: Sender
    text: str
    kind: str = "text"

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Chats:
    """The chat histories: the newest hundred lines of each."""

    def __init__(self, clock: TurnableClock) -> None:
        self._clock = clock
        self._numbers: dict[tuple[str, str], int] = {}
        self._lines: dict[tuple[str, str], deque[ChatLine]] = {}

    def add(
        self, person: str, app_id: str, sender: Sender, text: str, kind: str = "text"
    ) -> ChatLine:
        key = (person, app_id)
        number = self._numbers[key] = self._numbers.get(key, 0) + 1
        line = ChatLine(number, int(self._clock.now()), sender, text, kind)
        self._lines.setdefault(key, deque(maxlen=KEPT_LINES)).append(line)
        return line

    def lines(self, person: str, app_id: str, after: int = 0) -> list[ChatLine]:
        """The lines with a number over `after`, oldest first."""
        return [line for line in self._lines.get((person, app_id), ()) if line.number > after]


@dataclass
class _Allowance:
    ends: float
    left: int


class Conversations:
    """Who may be written to, and how often still."""

    def __init__(self, people: People, media: Media, chats: Chats, clock: TurnableClock) -> None:
        self._people = people
        self._media = media
        self._chats = chats
        self._clock = clock
        self._allowances: dict[tuple[str, str], list[_Allowance]] = {}
        self._heard: dict[tuple[str, str], float] = {}
        self._typing_until: dict[tuple[str, str], float] = {}

    def touched(self, person: Person, app_id: str, how: Interaction) -> None:
        """The person did something with the account, which may answer for a while."""
        now, key = self._clock.now(), (person.name, app_id)
        seconds, messages = ALLOWED[how]
        # It replaces those that end sooner, of its own kind above all: numbers are not added up.
        kept = [one for one in self._allowances.get(key, []) if one.ends > now + seconds]
        self._allowances[key] = [*kept, _Allowance(now + seconds, messages)]
        if how == "message":
            self._heard[key] = now

    def send(self, app_id: str, request: Mapping[str, Any]) -> None:
        """Write to a person (``message/custom/send``).

        Raises:
            Refusal: 40003 for the person, 40008 for the type, 44003 and 44004 for what is empty,
                40007 for media, 45002 for a long text, 45008 for several articles, 45015 outside of
                the time, 45047 beyond the number.
        """
        person = self._person(app_id, request.get("touser"))
        text = self._shown(app_id, request)
        now = self._clock.now()
        current = [one for one in self._allowances.get((person.name, app_id), []) if one.ends > now]
        if not current:
            raise Refusal(45015)
        usable = [one for one in current if one.left]
        if not usable:
            raise Refusal(45047)
        min(usable, key=lambda one: one.ends).left -= 1
        kind = "image" if request["msgtype"] == "image" else "text"
        self._chats.add(person.name, app_id, "account", text, kind)
        self._typing_until.pop((person.name, app_id), None)

    def type(self, app_id: str, openid: object, command: object) -> None:
        """Show or take away that the account is writing (``message/custom/typing``).

        Raises:
            Refusal: 40003, 45072 for the command, 45080 if the person wrote nothing in the last
                half minute, 45081 where it is shown already.
        """
        person = self._person(app_id, openid)
        now, key = self._clock.now(), (person.name, app_id)
        if command not in ("Typing", "CancelTyping"):
            raise Refusal(45072)
        if command == "CancelTyping":
            self._typing_until.pop(key, None)
            return
        if now - self._heard.get(key, 0) > TYPING_SECONDS:
            raise Refusal(45080)
        if self._typing_until.get(key, 0) > now:
            raise Refusal(45081)
        self._typing_until[key] = now + TYPING_SECONDS

    def _person(self, app_id: str, openid: object) -> Person:
        person = self._people.by_openid(app_id, openid) if isinstance(openid, str) else None
        if person is None:
            raise Refusal(40003)
        return person

    def _shown(self, app_id: str, request: Mapping[str, Any]) -> str:
        """What the person sees of the message, once it is found valid."""
        kind = request.get("msgtype")
        if not isinstance(kind, str) or kind not in (*MEDIA_FIELDS, *OTHER_TYPES):
            raise Refusal(40008)
        content = request.get(kind)
        content = content if isinstance(content, dict) else {}
        for field in MEDIA_FIELDS.get(kind, ()):
            # A video may come without a thumb.
            if field in content or field == "media_id" or kind != "video":
                self._media.get(app_id, content.get(field))
        if kind == "text":
            text = content.get("content")
            if not isinstance(text, str) or not text:
                raise Refusal(44004)
            if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
                raise Refusal(45002)
            return text
        if kind == "news":
            articles = content.get("articles")
            if not isinstance(articles, list) or not articles:
                raise Refusal(44003)
            if len(articles) > 1:
                raise Refusal(45008)
        title = content.get("title") or content.get("head_content")
        return f"[{kind}] {title}" if isinstance(title, str) else f"[{kind}]"

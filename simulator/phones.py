"""The phones: people who follow, scan, write and press, and the pushes that follow from it."""

import random
from dataclasses import replace

from services.tasks import Supervisor
from simulator.clock import TurnableClock
from simulator.codes import Code, Codes
from simulator.config import SimulatedAccount
from simulator.conversations import Chats, Conversations
from simulator.messages import ORDINARY, Fields, PushOptions
from simulator.people import Follow, People, Person
from simulator.pushes import Delivery, Pusher

UNAVAILABLE = {
    "zh_CN": "该公众号提供的服务出现故障，请稍后再试",
    "en": "The service this account provides is out of order. Try again later.",
}
"""What the person reads if no try got an acceptable answer (page "Passive user reply")."""


class Phones:
    """Everything a person can do with a phone.

    People are given by name; a name that is new makes a new person.
    """

    def __init__(
        self,
        accounts: dict[str, SimulatedAccount],
        people: People,
        codes: Codes,
        chats: Chats,
        conversations: Conversations,
        pusher: Pusher,
        clock: TurnableClock,
        rng: random.Random,
        supervisor: Supervisor,
    ) -> None:
        self._accounts = accounts
        self._people = people
        self._codes = codes
        self._chats = chats
        self._conversations = conversations
        self._pusher = pusher
        self._clock = clock
        self._rng = rng
        self._supervisor = supervisor

    def account(self, app_id: str = "") -> SimulatedAccount:
        """The account of this app_id, the first one without.

        Raises:
            KeyError: there is none.
        """
        return self._accounts[app_id or next(iter(self._accounts))]

    def find_code(self, *, url: str = "", ticket: str = "", scene_str: str = "") -> Code | None:
        """The code whose picture shows `url`, or of this ticket, or the newest of this scene."""
        if url:
            return self._codes.by_id(url.split("?")[0].rstrip("/").rsplit("/", 1)[-1])
        if ticket:
            return self._codes.by_ticket(ticket)
        return self._codes.by_scene(scene_str)

    async def scan(
        self,
        name: str,
        *,
        url: str = "",
        ticket: str = "",
        scene_str: str = "",
        follow: bool = True,
        options: PushOptions = ORDINARY,
    ) -> Delivery:
        """Scan a code. A person who does not follow yet does so then, unless `follow` is False.

        An expired code sends nothing, as on the phone, where it only shows an error page.
        """
        code = self.find_code(url=url, ticket=ticket, scene_str=scene_str)
        if code is None:
            return Delivery("unknown_code")
        if code.expired(self._clock.now()):
            return Delivery("expired")
        person, account = self._people.named(name), self._accounts[code.app_id]
        key = {"EventKey": code.scene, "Ticket": code.ticket}
        self._conversations.touched(person, account.app_id, "scan")
        if account.app_id in person.follows:
            return await self._send(person, account, _event("SCAN", key), options)
        if not follow:
            return Delivery("not_followed")
        follower = person.follows[account.app_id] = Follow(
            int(self._clock.now()), "ADD_SCENE_QR_CODE"
        )
        if code.numeric:
            follower.scene_id = int(code.scene)
        else:
            follower.scene_str = code.scene
        self._people.changed(person)
        message = _event("subscribe", {**key, "EventKey": f"qrscene_{code.scene}"})
        delivery = await self._send(person, account, message, options)
        if options.scan_after_follow:
            # WeChat's pages leave open whether both may come for one scan.
            again = replace(options, scan_after_follow=False)
            await self._send(person, account, _event("SCAN", key), again)
        return delivery

    async def follow(
        self,
        name: str,
        app_id: str = "",
        *,
        event_key: str | None = None,
        options: PushOptions = ORDINARY,
    ) -> Delivery:
        """Follow without a code: by search, a card, or (with its `event_key`) a payment."""
        person, account = self._people.named(name), self.account(app_id)
        person.follows[account.app_id] = Follow(int(self._clock.now()))
        self._people.changed(person)
        self._conversations.touched(person, account.app_id, "follow")
        key = {} if event_key is None else {"EventKey": event_key}
        return await self._send(person, account, _event("subscribe", key), options)

    async def unfollow(
        self, name: str, app_id: str = "", *, options: PushOptions = ORDINARY
    ) -> Delivery:
        person, account = self._people.named(name), self.account(app_id)
        person.follows.pop(account.app_id, None)
        self._people.changed(person)
        return await self._send(
            person, account, _event("unsubscribe", {"EventKey": ""}), options, quiet=True
        )

    async def text(
        self, name: str, content: str, app_id: str = "", *, options: PushOptions = ORDINARY
    ) -> Delivery:
        """Write to an account that the person follows."""
        return await self.message(name, {"MsgType": "text", "Content": content}, app_id, options)

    async def message(
        self,
        name: str,
        fields: Fields,
        app_id: str = "",
        options: PushOptions = ORDINARY,
    ) -> Delivery:
        """Send a message of any type (text, image, voice ...): `fields` are its own fields."""
        person, account = self._people.named(name), self.account(app_id)
        if account.app_id not in person.follows:
            return Delivery("not_followed")
        # It stands in the chat at once, as on a phone, whatever becomes of the push.
        shown = str(fields.get("Content") or f"[{fields.get('MsgType')}]")
        self._chats.add(person.name, account.app_id, "person", shown)
        self._conversations.touched(person, account.app_id, "message")
        numbered = {**fields, "MsgId": self._rng.randrange(10**15, 2**63)}
        return await self._send(person, account, numbered, options)

    async def menu(
        self,
        name: str,
        key: str,
        app_id: str = "",
        *,
        view: bool = False,
        options: PushOptions = ORDINARY,
    ) -> Delivery:
        """Press a menu entry: CLICK with its key, or VIEW with its URL."""
        # VIEW opens a web page, so a failed push of it is not shown in the chat.
        fields = {"EventKey": key} | ({"MenuId": "1"} if view else {})
        message = _event("VIEW" if view else "CLICK", fields)
        person, account = self._people.named(name), self.account(app_id)
        if not view:
            self._conversations.touched(person, account.app_id, "menu")
        return await self._send(person, account, message, options, quiet=view)

    async def event(
        self,
        name: str,
        event: str,
        fields: Fields,
        app_id: str = "",
        *,
        options: PushOptions = ORDINARY,
    ) -> Delivery:
        """Any other event, such as LOCATION or user_authorization_revoke, with its fields."""
        message = _event(event, fields)
        return await self._send(
            self._people.named(name), self.account(app_id), message, options, quiet=True
        )

    async def release(self) -> list[Delivery]:
        """Send what was held back, newest first."""
        return await self._pusher.release()

    async def _send(
        self,
        person: Person,
        account: SimulatedAccount,
        fields: Fields,
        options: PushOptions,
        quiet: bool = False,
    ) -> Delivery:
        message: Fields = {
            "ToUserName": account.original_id,
            "FromUserName": self._people.openid(person, account.app_id),
            "CreateTime": int(self._clock.now()),
            # Last, so that an event may come from another sender, as a withdrawn consent does.
            **fields,
        }
        work = self._push(person, account, message, options, quiet)
        if options.wait:
            return await work
        self._supervisor.spawn(work, name="simulated push")
        return Delivery("queued")

    async def _push(
        self,
        person: Person,
        account: SimulatedAccount,
        message: Fields,
        options: PushOptions,
        quiet: bool,
    ) -> Delivery:
        """Push and put the account's answer, or WeChat's own complaint, into the chat.

        A `quiet` event shows no complaint, as the person did not write or scan anything.
        """
        delivery = await self._pusher.push(account, message, options)
        if delivery.reply:
            self._chats.add(person.name, account.app_id, "account", delivery.reply)
        elif delivery.outcome == "failed" and not quiet and not options.hostile:
            text = UNAVAILABLE.get(person.language, UNAVAILABLE["en"])
            self._chats.add(person.name, account.app_id, "system", text)
        return delivery


def _event(event: str, fields: Fields) -> Fields:
    return {"MsgType": "event", "Event": event, **fields}

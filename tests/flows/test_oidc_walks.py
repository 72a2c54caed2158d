"""Random walks over authorize, token, refresh, revoke, log-out, ban and kill, on both backends.

A walk is a list of deeds, each told whom it is done to, on which node, and at which operation of
the stores its node dies, if it does. The walker knows what should have become of every code and
token, and asks the server after each deed:

- no token of an ended session is refreshed or introspected as active;
- no code works twice;
- no person gets another's, and no client another client's;
- and what should be alive is, so that a server that refuses everything does not pass.
"""

import asyncio
import inspect
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.backends import Backend, open_backend
from services.clock import Clock
from services.container import Container
from services.errors import ApiError, OAuthError, StoreUnavailable
from services.ids import UserId
from services.oidc.authorize import Response
from services.oidc.device import Answer, Question
from services.oidc.grants import family
from services.oidc.tokens import CODE_GRANT, DEVICE_GRANT, REFRESH_GRANT
from services.sessions.states import SessionId
from services.settings.models import Settings
from tests.conftest import RUN_ALL, ClosingLoop
from tests.flows.oidc import VERIFIER, BrowserOfOne, asking, provider
from tests.handlers.openid import unverified
from tests.servers import MongoServer, RedisServer
from tests.stack import Stack

WALKS = 1000 if RUN_ALL else 20
"""On each backend."""

ADDRESS = "192.0.2.1"
OPERATOR = "a-token-of-the-operator-0123456789"


class Killed(BaseException):
    """The node has died here: nothing catches it, and nothing after it is done."""


_left: ContextVar[list[int] | None] = ContextVar("left", default=None)
"""How many operations of the stores the node of this deed lives to begin."""


class Killable:
    """Passes everything to `store`, until the node of the deed dies."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        carry_out = getattr(self._store, name)
        if not inspect.iscoroutinefunction(carry_out):
            return carry_out

        async def killable(*args: Any, **options: Any) -> Any:
            if (left := _left.get()) is not None:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
            return await carry_out(*args, **options)

        return killable


async def open_killable(settings: Settings, clock: Clock, node: str) -> Backend:
    backend = await open_backend(settings, clock, node)
    backend.scenes = Killable(backend.scenes)
    backend.users = Killable(backend.users)
    backend.sessions = Killable(backend.sessions)
    return backend


@dataclass(eq=False)
class Root:
    """What ends together: the session of a browser, of a device, or of a login."""

    id: SessionId
    person: str
    ended: bool = False


@dataclass(eq=False)
class Code:
    """An authorization code or a device code, and what it brought."""

    text: str
    client: str
    root: Root
    scope: str = ""
    is_used: bool = False
    tokens: "Tokens | None" = None


@dataclass(eq=False)
class Tokens:
    """The tokens that one login brought to one client; without a client, the server's own."""

    client: str
    root: Root
    family: SessionId
    refresh: list[str] = field(default_factory=list)
    access: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def is_over(self) -> bool:
        return self.ended or self.root.ended


@dataclass(eq=False)
class Browser:
    """Its cookies, and who is logged in."""

    number: int
    begin: str | None = None
    cookie: str | None = None
    root: Root | None = None


class World:
    """The nodes of one backend, for all walks on it."""

    def __init__(self, folder: Path, nodes: int, sections: dict[str, Any]) -> None:
        self._folder = folder
        self._sections = sections
        self.loop = ClosingLoop()
        self.run = self.loop.run_until_complete
        self.nodes: list[Stack] = []
        self.given_up = 0
        """Walks that ended early, for the machine was too slow for the time-outs."""
        for number in range(nodes):
            (folder / str(number)).mkdir()
            self.nodes.append(self.run(self._open(number)))

    async def _open(self, number: int) -> Stack:
        stack = Stack(self._folder / str(number), stores=open_killable, **self._sections)
        await stack.__aenter__()
        return stack

    async def restart(self, node: Stack) -> None:
        """What a node has in memory is lost."""
        number = self.nodes.index(node)
        await node.__aexit__(None, None, None)
        self.nodes[number] = await self._open(number)

    def close(self) -> None:
        for node in self.nodes:
            self.run(node.__aexit__(None, None, None))
        self.loop.close()


names = itertools.count()


class Walker:
    """One walk, and all that it knows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.node = world.nodes[0]
        walk = next(names)
        self.people = [f"p{walk}-{number}" for number in range(2)]
        self.ids: dict[str, UserId] = {}
        self.banned: set[str] = set()
        self.browsers = [Browser(number) for number in range(2)]
        self.codes: list[Code] = []
        self.tokens: list[Tokens] = []

    @property
    def container(self) -> Container:
        return self.node.container

    @property
    def roots(self) -> list[Root]:
        found = [one.root for one in (*self.codes, *self.tokens)]
        found += [browser.root for browser in self.browsers if browser.root is not None]
        return list(dict.fromkeys(found))

    # Deeds. Each may be repeated by a caller whose answer was lost.

    async def log_in(self, a: int, b: int) -> None:
        """A person scans at the page that a client has sent a browser to."""
        browser, person = self.browsers[a % 2], self.people[b % 2]
        client = ("wiki", "shop")[(a + b) % 2]
        async with BrowserOfOne(self.node) as http:
            jar = {"begin": browser.begin, "op_session": browser.cookie}
            http.jar = {f"__Host-{name}": value for name, value in jar.items() if value}
            left, _ = _left.get(), _left.set(None)
            shown = await http.ask(client, prompt="login", scope="openid offline_access")
            browser.begin = http.jar["__Host-begin"]
            page = await http.begin(shown)
            await self.node.scan(page, person)
            if person in self.banned:
                document = (await page.poll()).json()
                assert (document["state"], document["error"]["code"]) == ("failed", "banned")
                return
            ticket = await http.ticket(page)
        _left.set(left)
        finished = await self.container.provider.authorization.finish(
            ticket, browser.cookie, browser.begin
        )
        assert finished is not None and isinstance(finished.response, Response)
        if finished.cookie:
            if browser.root is not None:
                browser.root.ended = True
            root_id = SessionId(finished.cookie.partition(".")[0])
            browser.cookie, browser.root = finished.cookie, Root(root_id, person)
        assert browser.root is not None and browser.root.person == person
        await self.keep_code(finished.response, client, browser.root)

    async def keep_code(self, response: Response, client: str, root: Root) -> None:
        _left.set(None)
        assert response.redirect_uri == asking(client)["redirect_uri"]
        self.codes.append(Code(response.fields["code"], client, root))
        found = await self.container.provider.codes.look(self.codes[-1].text)
        assert found is not None and found.grant.session == root.id
        self.check_person(root.person, found.grant.user_id)

    async def authorize(self, a: int, b: int) -> None:
        """A browser that is logged in comes from a client."""
        browser, client = self.browsers[a % 2], ("wiki", "shop")[b % 2]
        scope = ("openid", "openid profile offline_access")[b // 2 % 2]
        parameters = list(asking(client, scope=scope).items())
        answer = await self.container.provider.authorization.begin(parameters, browser.cookie)
        if browser.root is None or browser.root.ended:
            assert not isinstance(answer, Response), "an ended session brings a code"
            return
        # A ban that was cut off leaves the browser's session, which brings nothing but a code.
        assert isinstance(answer, Response)
        await self.keep_code(answer, client, browser.root)

    async def exchange(self, a: int, b: int) -> None:
        """A client brings a code: its own or another's, with its verifier or another."""
        if not self.codes:
            return
        code = self.codes[a % len(self.codes)]
        client, verifier = code.client, VERIFIER
        if b % 5 == 3:
            client = "shop" if code.client == "wiki" else "wiki"
        if b % 5 == 4:
            verifier = "x" * 43
        form = {
            "grant_type": CODE_GRANT,
            "code": code.text,
            "redirect_uri": asking(code.client)["redirect_uri"],
            "code_verifier": verifier,
        }
        answer = await self.redeem(client, form)
        if client == code.client and code.is_used:
            assert answer is None, "a code works twice"
            if code.tokens is not None:
                code.tokens.ended = True
        elif answer is not None:
            assert client == code.client and verifier == VERIFIER
            self.keep_tokens(code, answer)
        elif client == code.client and verifier == VERIFIER:
            assert code.root.ended or code.root.person in self.banned or self.in_doubt
            # Cut off, the first try has used it.
            code.is_used = code.is_used or self.in_doubt

    def keep_tokens(self, code: Code, answer: dict[str, Any]) -> None:
        assert not code.root.ended and code.root.person not in self.banned
        assert not code.is_used, "a code works twice"
        code.is_used = True
        code.tokens = Tokens(code.client, code.root, family(code.text))
        self.tokens.append(code.tokens)
        self.keep_answer(code.tokens, answer)

    async def refresh(self, a: int, b: int) -> None:
        """A refresh token of any age is brought by its client, or by another."""
        having = [one for one in self.tokens if one.refresh]
        if not having:
            return
        tokens = having[a % len(having)]
        age = min((0, 0, 0, 1, 2)[b % 5], len(tokens.refresh) - 1)
        client = {5: "tv", 10: ""}.get(b, tokens.client)
        await self.use(tokens, tokens.refresh[-1 - age], client, ("", "openid")[b // 5 % 2])

    async def use(self, tokens: Tokens, token: str, client: str, scope: str) -> None:
        was_over = tokens.is_over or tokens.root.person in self.banned
        age = len(tokens.refresh) - 1 - tokens.refresh.index(token)
        if not client:
            try:
                renewal = await self.sessions.refresh(token, ADDRESS)
                answer = {"refresh_token": renewal.refresh_token}
                assert renewal.session.user_id == self.ids[tokens.root.person]
            except ApiError as error:
                assert error.code == "unauthorized"
                answer = None
        else:
            form = {"grant_type": REFRESH_GRANT, "refresh_token": token, "scope": scope}
            answer = await self.redeem(client, {k: v for k, v in form.items() if v})
        if client != tokens.client:
            assert answer is None, "a refresh token of another client works"
            return
        if was_over:
            assert answer is None, "a token of an ended session is refreshed"
        elif answer is None:
            # Used before, and not a moment ago: a theft.
            assert age > 0, "a token that was not used is refused"
            tokens.root.ended = True
        elif age == 0:
            tokens.refresh.append(answer["refresh_token"])
        else:
            assert age == 1 and answer["refresh_token"] == tokens.refresh[-1]
        if answer is not None and client:
            self.keep_answer(tokens, answer)

    async def revoke(self, a: int, b: int) -> None:
        """A client gives up a token: its own, or it tries another's."""
        if not self.tokens:
            return
        tokens = self.tokens[a % len(self.tokens)]
        if not tokens.client:
            await self.sessions.revoke(tokens.refresh[-1], ADDRESS)
            tokens.root.ended = True
            return
        client = tokens.client if b % 4 else ("tv" if tokens.client != "tv" else "wiki")
        token = (tokens.refresh or tokens.access)[-1] if b % 2 else tokens.access[-1]
        try:
            await self.service.revoke(self.client(client), token)
        except OAuthError as error:
            assert error.code == "invalid_grant" and client != tokens.client
        tokens.ended = tokens.ended or client == tokens.client

    async def log_out(self, a: int, b: int) -> None:
        """A person says yes at the log-out page."""
        browser = self.browsers[a % 2]
        await self.container.provider.logout.confirm([], browser.cookie)
        if browser.root is not None:
            browser.root.ended = True

    async def end(self, a: int, b: int) -> None:
        """A person ends one of their sessions, or all; another's they cannot end."""
        if not self.roots:
            return
        root = self.roots[a % len(self.roots)]
        if root.person not in self.ids:
            return
        if b % 3 == 0:
            await self.sessions.end_of_user(self.ids[root.person])
            for one in self.roots:
                one.ended = one.ended or one.person == root.person
            return
        person = root.person if b % 3 == 1 else next(p for p in self.people if p != root.person)
        if person in self.ids:
            ended = await self.sessions.end_own(self.ids[person], root.id)
            assert not ended or person == root.person, "a person ends another's session"
            root.ended = root.ended or person == root.person

    async def ban(self, a: int, b: int) -> None:
        """The operator keeps a person out, or lets them in again."""
        person = self.people[a % 2]
        if person not in self.ids:
            return
        assert self.container.operator is not None
        if b % 3 == 0:
            # What a ban that was cut off has left is ended by the ban, which is done again.
            if person in self.banned:
                assert await self.container.operator.ban(self.ids[person])
                self.end_all_of(person)
            assert await self.container.operator.unban(self.ids[person])
            self.banned.discard(person)
            return
        assert await self.container.operator.ban(self.ids[person])
        self.banned.add(person)
        self.end_all_of(person)

    def end_all_of(self, person: str) -> None:
        for root in self.roots:
            root.ended = root.ended or root.person == person

    async def device(self, a: int, b: int) -> None:
        """A person allows a device, in a browser that is logged in; the device polls twice."""
        browser = self.browsers[a % 2]
        tv = self.client("tv")
        codes = await self.container.provider.devices.begin(tv, "openid offline_access")
        shown = await self.container.provider.devices.visit(
            codes.user_code, ADDRESS, browser.cookie
        )
        if not isinstance(shown, Question):
            assert browser.root is None or browser.root.ended
            return
        assert browser.root is not None and not browser.root.ended
        allowed = await self.container.provider.devices.answer(
            codes.user_code, ADDRESS, browser.cookie, shown.sid, allow=True
        )
        assert allowed is Answer.ALLOWED
        if b % 3 == 0:
            await self.ban(self.people.index(browser.root.person), 1)
        form = {"grant_type": DEVICE_GRANT, "device_code": codes.device_code}
        assert await self.redeem("wiki", form) is None
        answer, again = await self.redeem("tv", form), await self.redeem("tv", form)
        assert again is None, "a device code works twice"
        banned = browser.root.person in self.banned
        assert (answer is None) is banned
        if answer is not None:
            root = Root(family(codes.device_code), browser.root.person)
            self.tokens.append(Tokens("tv", root, root.id))
            self.keep_answer(self.tokens[-1], answer)

    async def own_login(self, a: int, b: int) -> None:
        """A login of the server's own contract."""
        person = self.people[b % 2]
        if person in self.banned:
            return
        left, _ = _left.get(), _left.set(None)
        page = await self.node.begin()
        await self.node.scan(page, person)
        login = (await page.reaches("authorized"))["login"]
        _left.set(left)
        claims = unverified(login["token"])
        self.check_person(person, claims["sub"])
        root = Root(SessionId(claims["sid"]), person)
        self.tokens.append(Tokens("", root, root.id, [login["refresh_token"]]))

    async def race(self, a: int, b: int) -> None:
        """Two deeds at once, on two nodes where there are two: a code or a refresh token is used
        twenty times, or an end meets a use."""
        other = self.world.nodes[-1].container
        if b % 3 == 0 and self.codes:
            code = self.codes[a % len(self.codes)]
            form = {
                "grant_type": CODE_GRANT,
                "code": code.text,
                "redirect_uri": asking(code.client)["redirect_uri"],
                "code_verifier": VERIFIER,
            }
            answers = await asyncio.gather(
                *(self.redeem(code.client, form, (self.container, other)[n % 2]) for n in range(6))
            )
            brought = [answer for answer in answers if answer is not None]
            assert len(brought) <= (0 if code.is_used else 1), "a code works twice"
            for answer in brought:
                self.keep_tokens(code, answer)
            if code.is_used and code.tokens is not None:
                code.tokens.ended = True
            await self.learn()
            return
        having = [one for one in self.tokens if one.refresh and one.client]
        if not having:
            return
        tokens = having[a % len(having)]
        was_over = tokens.is_over or tokens.root.person in self.banned
        form = {"grant_type": REFRESH_GRANT, "refresh_token": tokens.refresh[-1]}
        uses = [self.redeem(tokens.client, form, (self.container, other)[n % 2]) for n in range(4)]
        ends: list[Awaitable[Any]] = []
        if b % 3 == 2:
            ends = [self.sessions.end_of_user(self.ids[tokens.root.person])]
        *answers, _ = await asyncio.gather(*uses, *ends, asyncio.sleep(0))
        brought = [answer for answer in answers[: len(uses)] if answer is not None]
        assert not (was_over and brought), "a token of an ended session is refreshed"
        assert len({answer["refresh_token"] for answer in brought}) <= 1
        for answer in brought[:1]:
            tokens.refresh.append(answer["refresh_token"])
            self.keep_answer(tokens, answer)
        assert brought or was_over or ends, "a token that was not used is refused"
        if ends:
            self.end_all_of(tokens.root.person)

    # What deeds are made of.

    @property
    def service(self) -> Any:
        return self.container.provider.tokens

    @property
    def sessions(self) -> Any:
        assert self.container.login_sessions is not None
        return self.container.login_sessions

    def client(self, name: str) -> Any:
        return self.container.provider.clients.get(name)

    async def redeem(
        self, client: str, form: dict[str, str], at: Container | None = None
    ) -> dict[str, Any] | None:
        """The answer of the token endpoint; None for a refusal."""
        service: Any = self.service if at is None else at.provider.tokens
        try:
            return dict(await service.redeem(self.client(client), form, ADDRESS))
        except OAuthError as error:
            assert error.code in ("invalid_grant", "access_denied"), error.code
            return None

    def keep_answer(self, tokens: Tokens, answer: dict[str, Any]) -> None:
        claims, said = unverified(answer["access_token"]), unverified(answer["id_token"])
        assert claims["client_id"] == said["aud"] == tokens.client
        assert claims["sid"] == said["sid"] == tokens.root.id
        for one in (claims, said):
            self.check_person(tokens.root.person, one["sub"])
        tokens.access.append(answer["access_token"])
        if not tokens.refresh and "refresh_token" in answer:
            tokens.refresh.append(answer["refresh_token"])

    def check_person(self, person: str, subject: str) -> None:
        assert self.ids.setdefault(person, UserId(subject)) == subject
        assert len(set(self.ids.values())) == len(self.ids), "two people are one"

    # What always holds.

    async def check(self) -> None:
        """Every token of every age, at every node."""
        for node in self.world.nodes:
            service: Any = node.container.provider.tokens
            for tokens in self.tokens:
                over = tokens.is_over or tokens.root.person in self.banned
                if not tokens.client:
                    lives = await node.container.backend.sessions.get(tokens.root.id, node.now)
                    assert (lives is None) is over or tokens.root.person in self.banned
                    continue
                client = node.container.provider.clients.get(tokens.client)
                told = [(await service.introspect(client, one))["active"] for one in tokens.access]
                assert told == [not over] * len(told), (told, tokens, self.banned)
                told = [(await service.introspect(client, one))["active"] for one in tokens.refresh]
                assert told == [False] * (len(told) - 1) + [not over] * bool(told), (told, tokens)

    async def learn(self) -> None:
        """After a kill: what of the deed was done. Nothing is half done, which `check` sees."""
        store, now = self.container.backend.sessions, self.node.now
        for person, user_id in self.ids.items():
            user = await self.container.backend.users.get(user_id)
            assert user is not None
            (self.banned.add if user.banned else self.banned.discard)(person)
        for root in self.roots:
            root.ended = root.ended or await store.get(root.id, now) is None
        for tokens in self.tokens:
            if tokens.client and not tokens.ended:
                gone = tokens.refresh and await store.get(tokens.family, now) is None
                is_ended = await self.container.provider.codes.is_ended(tokens.family)
                tokens.ended = bool(gone or (not tokens.refresh and is_ended))
            if tokens.refresh and not tokens.is_over and tokens.root.person not in self.banned:
                session = await store.get(tokens.family, now)
                assert session is not None
                if session.generation > len(tokens.refresh):
                    # The answer was lost, and is had by asking again.
                    await self.use(tokens, tokens.refresh[-1], tokens.client, "")
        for code in self.codes:
            found = await self.container.provider.codes.look(code.text)
            code.is_used = code.is_used or found is None or found.is_used

    in_doubt = False
    """The deed is the second try of one that was cut off."""

    async def walk(self, steps: "list[Step]") -> None:
        await self.log_in(0, 0)
        for deed, a, b, node, dies_at, again in steps:
            self.node = self.world.nodes[node % len(self.world.nodes)]
            work: Callable[[int, int], Awaitable[None]] = getattr(self, deed)
            if dies_at is not None and deed != "race":
                await self.cut_off(work, a, b, dies_at)
                self.node = self.world.nodes[(node + 1) % len(self.world.nodes)]
                self.in_doubt = True
                if again:
                    await work(a, b)
                await self.learn()
                self.in_doubt = False
            else:
                await work(a, b)
            await self.check()

    async def cut_off(
        self, work: Callable[[int, int], Awaitable[None]], a: int, b: int, dies_at: int
    ) -> None:
        """Do a deed whose node dies. Its caller is not answered."""
        has_died, token = False, _left.set([dies_at])
        try:
            await work(a, b)
        except Killed:
            has_died = True
        finally:
            # Before the restart: what that starts must not die as well.
            _left.reset(token)
        # To start takes longer than a walk: mostly, what is lost is only what was being done.
        if has_died and b % 4 == 0:
            await self.world.restart(self.node)


Step = tuple[str, int, int, int, int | None, bool]

DEEDS = ("log_in", "authorize", "exchange", "refresh", "revoke", "log_out", "end", "ban")
DEEDS += ("device", "own_login", "race")
small = st.integers(0, 11)
STEPS = st.lists(
    st.tuples(
        # What makes tokens comes more often than what ends them.
        st.sampled_from((*DEEDS, *("authorize", "exchange", "exchange", "refresh", "refresh"))),
        small,
        small,
        st.integers(0, 1),
        st.sampled_from((None,) * 9 + (0, 1, 2, 3)),
        st.booleans(),
    ),
    min_size=2,
    max_size=9,
)


def sections() -> dict[str, Any]:
    return {
        **provider(tv={"public": True, "name": "Tea TV"}),
        "sessions": {"refresh_ttl_seconds": 86400, "most_per_user": 0},
        "operator": {"token": OPERATOR},
        "limits": {"scenes_per_minute_per_address": 0},
    }


def embedded(request: pytest.FixtureRequest, folder: Path) -> World:
    return World(folder, 1, sections())


def distributed(request: pytest.FixtureRequest, folder: Path) -> World:
    redis: RedisServer = request.getfixturevalue("redis_server")
    mongo: MongoServer = request.getfixturevalue("mongo_server")
    redis.ask("FLUSHALL")
    shared = {
        "backend": "distributed",
        "redis": {"url": redis.url},
        "mongodb": {"url": mongo.url, "database": "walks"},
    }
    return World(folder, 2, {**sections(), **shared})


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(embedded, id="embedded"),
        pytest.param(distributed, id="distributed", marks=[pytest.mark.redis, pytest.mark.mongodb]),
    ],
)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    world = request.param(request, tmp_path_factory.mktemp("walks"))
    yield world
    world.close()
    assert world.given_up <= WALKS // 10


@pytest.mark.timeout(max(600, 3 * WALKS))
@settings(
    max_examples=WALKS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_whatever_is_done_ended_is_ended(world: World, logs: Any, steps: list[Step]) -> None:
    """What the module's docstring says, after every deed of every walk."""
    logs.expect("used again|came twice|store_unavailable|no answer in time|time-out|500 POST")
    try:
        world.run(Walker(world).walk(steps))
    except (StoreUnavailable, httpx.TimeoutException):
        world.given_up += 1

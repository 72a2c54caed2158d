"""Tries on what browsers guard: origins, cookies, redirects, policies, caches."""

import secrets
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from attack.target import EVIL, Answer, NotApplicable, Scene, Target, is_near

START = "/oauth/wechat/start"


async def _web_scene(target: Target) -> Scene:
    scene = await target.scene("a")
    if START not in str(scene.document.get("qr", {}).get("content", "")):
        raise NotApplicable("the login kind web is not offered")
    return scene


# Login CSRF.


async def invented_states(target: Target) -> None:
    """No `state` can be known beforehand, and each departure has another."""
    scene = await _web_scene(target)
    for state in ("", "1", "0" * 64, "x" * 64, "wechat", "casdoor", scene.scene_str):
        answer = await target.ask("GET", f"/oauth/wechat/callback?code=0a1b2c&state={state}")
        answer.must_refuse("an invented state")
        await target.must_be_untouched(scene, answer)
    departures = [await target.ask("GET", f"{START}?scene={scene.scene_str}") for _ in range(2)]
    for answer in departures:
        answer.must_be(302, why="the way to WeChat")
        cookie = answer.header("Set-Cookie")
        answer.must("HttpOnly" in cookie, "the cookie that binds `state` is open to scripts")
    first, second = (answer.header("Location") for answer in departures)
    departures[1].must(first != second, "two departures have the same state")
    # The attacker's own, in a browser without the attacker's cookie.
    state = first.partition("state=")[2].partition("#")[0].partition("&")[0]
    answer = await target.ask("GET", f"/oauth/wechat/callback?code=0a1b2c&state={state}")
    answer.must_refuse("the state of another browser")
    await target.must_be_untouched(scene, answer)


async def begin_cookie(target: Target) -> None:
    """The proof that a browser began a scene is out of reach for scripts and other sites."""
    scene = await target.scene("a")
    parts = {part.strip().lower() for part in scene.set_cookie.split(";")}
    for wanted in ("httponly", "samesite=lax", "path=/"):
        scene.begun.must(wanted in parts, f"the begin cookie lacks {wanted}")
    scene.begun.must(
        not any(part.startswith("domain=") for part in parts), "the begin cookie names a domain"
    )
    if target.is_https:
        guarded = "secure" in parts and scene.cookie.startswith("__Host-")
        scene.begun.must(guarded, "over https the begin cookie is not __Host- and Secure")


async def foreign_consent(target: Target) -> None:
    """Only the server's own page may answer for the person."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers in ({}, {"Origin": "null"}, {"Origin": EVIL}):
        for path in ("/oauth/allow", "/device"):
            content = f"value={'A' * 43}&user_code=BBBB-BBBB&allow=1".encode()
            answer = await target.ask("POST", path, headers=form | headers, content=content)
            if answer.status == 404:
                continue
            answer.must_be(403, why="a consent from elsewhere")


# Foreign pages.


def _foreign_origins(target: Target) -> list[str]:
    scheme, _, host = target.url.partition("://")
    other = "http" if scheme == "https" else "https"
    name = urlsplit(target.url).hostname or ""
    evil = f"{scheme}://{name}.evil.example"
    return [EVIL, "null", f"{other}://{host}", f"{scheme}://{name}:1", evil]


async def foreign_sockets(target: Target) -> None:
    """A socket is refused to foreign pages, with the right token too."""
    scene = await target.scene("a")
    for origin in _foreign_origins(target):
        await target.must_refuse_socket(
            scene.scene_str, scene.watch_token, origin, "a socket of a foreign page"
        )


async def foreign_posts(target: Target) -> None:
    """What changes something is refused to foreign pages, before anything is spent."""
    scene = await target.scene("a")
    for origin in _foreign_origins(target):
        answer = await target.ask("POST", "/api/scenes", headers={"Origin": origin}, body={})
        answer.must_be(403, why="a scene for a foreign page")
    foreign = scene.bearer | {"Origin": EVIL}
    for method, path, body in (
        ("DELETE", scene.path, None),
        ("POST", f"{scene.path}/ack", {"seq": 1}),
        ("POST", "/api/register", {"registration_token": "x"}),
    ):
        answer = await target.ask(method, path, headers=foreign, body=body)
        answer.must_be(403, why="a change by a foreign page")
        await target.must_be_untouched(scene, answer)


async def cors(target: Target) -> None:
    """Foreign pages are not told that they may read."""
    scene = await target.scene("a")
    preflight = {"Access-Control-Request-Method": "POST"}
    for method, path, headers in (
        ("GET", f"{scene.path}?wait=1&seq=0", scene.bearer),
        ("OPTIONS", "/api/scenes", preflight),
        ("GET", "/api/me", {}),
        ("OPTIONS", "/api/operator/overview", preflight),
    ):
        for origin in (EVIL, "null"):
            answer = await target.ask(method, path, headers=headers | {"Origin": origin})
            allowed = answer.header("Access-Control-Allow-Origin")
            answer.must(allowed not in (origin, "*"), "a foreign page may read this answer")


# Codes, secrets, addresses.


async def mini_program_codes(target: Target) -> None:
    """An invented code brings neither a login nor WeChat's session key."""
    answer = await target.ask("POST", "/api/miniprogram/login", body={"code": "0a1b2c3d4e5f"})
    if answer.status == 404:
        raise NotApplicable("no mini program is configured")
    answer.must(answer.status >= 400, "an invented code logs in")
    for secret in ("session_key", "openid", "unionid"):
        answer.must(secret not in answer.text, f"the answer holds {secret}")


async def echoes(target: Target) -> None:
    """Errors repeat no secret and tell nothing of the inside."""
    canary = f"canary{secrets.token_hex(12)}"
    bearer = {"Authorization": f"Bearer {canary}"}
    tries = [
        await target.ask("GET", "/api/me", headers=bearer),
        await target.ask("GET", "/api/operator/overview", headers=bearer),
        await target.ask("GET", "/api/scenes/" + canary, headers=bearer),
        await target.ask("GET", f"/{canary}?code={canary}"),
        await target.ask("GET", f"/oauth/wechat/callback?code={canary}&state={canary}"),
        await target.ask("POST", "/api/register", body={"registration_token": canary}),
        await target.ask("POST", "/api/scenes", content=b'{"kind": "' + canary.encode()),
        await target.ask("POST", "/api/scenes", body={"kind": canary}),
    ]
    for answer in tries:
        answer.must_refuse("a request that is wrong")
        answer.must(canary not in answer.text, "the answer repeats a secret")
        inside = ("Traceback", "tornado", '.py"', "redis", "mongo", "sqlite")
        answer.must(
            not any(word.lower() in answer.text.lower() for word in inside),
            "the answer tells what the server is made of",
        )


async def caches(target: Target) -> None:
    """What holds a secret is kept by no cache."""
    scene = await target.scene("a")
    for answer in (scene.begun, await target.state(scene)):
        answer.must("no-store" in answer.header("Cache-Control"), "a secret may be cached")


NEXTS = (
    "//evil.example",
    "https://evil.example/",
    "/\\evil.example",
    "/%2fevil.example",
    "/%5cevil.example",
    "/..//evil.example",
    "javascript:alert(1)",
    "/a\r\nSet-Cookie: a=b",
)


async def open_redirects(target: Target) -> None:
    """After a login a browser goes on within the site."""
    scene = await _web_scene(target)
    for path in NEXTS:
        answer = await target.ask(
            "GET", f"{START}?scene={scene.scene_str}&next={quote(path, safe='')}"
        )
        answer.must_be(400, why="a way to another site")
    names = ("next", "url", "return_to", "redirect_uri", "post_logout_redirect_uri")
    query = "&".join(f"{name}={quote(EVIL, safe='')}" for name in names)
    for page in ("/", "/kiosk", "/oauth/authorize", "/oauth/logout", "/device"):
        answer = await target.ask("GET", f"{page}?{query}")
        host = urlsplit(answer.header("Location")).hostname or ""
        answer.must(not host.endswith("evil.example"), "a redirect to another site")


async def proxy_headers(target: Target) -> None:
    """What a client says of itself is not believed in a proxy's place."""
    scene = await _web_scene(target)
    spoofed = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http" if target.is_https else "https",
        "Forwarded": "for=203.0.113.7;host=evil.example;proto=https",
        "X-Original-URL": "/api/operator/overview",
        "X-Rewrite-URL": "/api/operator/overview",
    }
    other = await target.begin(headers=spoofed, kind="web")
    plain, seen = (_code_origin(one) for one in (scene, other))
    other.begun.must("evil.example" not in seen, "the code leads to a host that the client named")
    if plain != seen and is_near(target.url):
        raise NotApplicable("this machine is a listed proxy: run it from another one")
    other.begun.must(plain == seen, "the code's scheme is the one that the client named")


def _code_origin(scene: Scene) -> str:
    parts = urlsplit(str(scene.document.get("qr", {}).get("content", "")))
    return f"{parts.scheme}://{parts.netloc}"


# Markup.

PAGES = ("/", "/kiosk", "/operator", "/oauth/wechat/callback")


async def policies(target: Target) -> None:
    """Each page says what it runs, and that no other site may frame it."""
    for path in PAGES:
        answer = await target.ask("GET", path)
        rules = _rules(answer.header("Content-Security-Policy"))
        script = rules.get("script-src", rules.get("default-src", "*"))
        for hole in ("'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:", "data:"):
            answer.must(hole not in script.split(), f"the page's policy lets {hole} scripts run")
        framed = rules.get("frame-ancestors") == "'none'"
        answer.must(framed, "other sites may frame the page")
        answer.must(answer.header("X-Content-Type-Options") == "nosniff", "types may be guessed")


def _rules(policy: str) -> Mapping[str, str]:
    pairs = (rule.strip().partition(" ") for rule in policy.split(";"))
    return {name.lower(): value for name, _, value in pairs}


async def reflected(target: Target) -> None:
    """No page repeats markup of its address."""
    markup = "<script>canary()</script>\"'><img src=x>"
    for path in (*PAGES, START, "/oauth/authorize", "/device", "/nothing"):
        names = ("lang", "scene", "state", "code", "client_id", "user_code", "error")
        query = "&".join(f"{name}={quote(markup, safe='')}" for name in names)
        answer: Answer = await target.ask("GET", f"{path}?{query}")
        answer.must("<script>canary" not in answer.text, "the page repeats markup of its address")
        answer.must("<img src=x" not in answer.text, "the page repeats markup of its address")


async def tossed_cookies(target: Target) -> None:
    """A cookie that a sibling site may have set is not taken for the browser's own."""
    value, other = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    name = (await target.scene("a")).cookie.partition("=")[0]
    cookies = [f"{name}={value}; {name}={other}"]
    if target.is_https:
        cookies.append(f"begin={value}")
    for cookie in cookies:
        scene = await target.begin(headers={"Cookie": cookie})
        given = scene.cookie.partition("=")[2]
        scene.begun.must(given not in (value, other), "a cookie that another site set is accepted")

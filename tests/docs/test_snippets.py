"""The lines that README and the login page give to other servers, run as programs as they stand."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from services.ids import UserId
from services.tokens.claims import Claims
from services.tokens.issuer import BACKDATED_SECONDS, Issuer
from services.tokens.keys import KeySet, shared_secret
from tests.docs.pages import READMES, ROOT, blocks
from tests.stack import ON_LOOP, Stack

pytestmark = ON_LOOP

MODULES = ROOT / "tests" / "browser"
SECRET = "a secret of more than 32 bytes for HS256"
EXAMPLE = "http://127.0.0.1:8888"

LANGUAGES = ("python", "node")

PROGRAMS = {
    # An import of Node stands at the top of a program; in Python it may stand in a loop.
    "python": """import json, sys
for token in json.load(sys.stdin):
    try:
{lines}
        print({result}["sub"])
    except jwt.PyJWTError as error:
        print(repr(error))
""",
    "node": """{imports}
for (const token of {tokens}) {{
  try {{
{lines}
    console.log({result}.sub);
  }} catch (error) {{ console.log(error.code); }}
}}
""",
}


def from_readme(page: Path, language: str) -> str:
    fence = {"python": "```python\n", "node": "```js\n"}[language]
    (block,) = (block for block in blocks(page) if block.startswith(fence) and "jwks" in block)
    return block.removeprefix(fence).removesuffix("```")


def from_login_page(name: str, language: str) -> str:
    """Its lines, with the parts that its script fills in as with the settings of these tests."""
    script = (ROOT / "static" / "login.js").read_text(encoding="utf-8")
    table = re.search(rf"^const {name} = {{\n(.*?)^}};", script, re.MULTILINE | re.DOTALL)
    assert table is not None
    template = re.search(rf'"verify-{language}": \(.*?\) => `(.*?)`', table[1], re.DOTALL)
    assert template is not None
    filled = {"location.origin": EXAMPLE, "alg": "ES256", "c.aud": "scanpush", "c.iss": "scanpush"}
    return re.sub(r"\$\{(.*?)\}", lambda gap: filled[gap[1]], template[1])


SNIPPETS = {
    **{f"{page.name}-{language}": (page, language) for page in READMES for language in LANGUAGES},
    **{
        f"{name}-{language}": (name, language)
        for name in ("SNIPPETS", "SECRET_SNIPPETS")
        for language in LANGUAGES
    },
}


async def verified(lines: str, language: str, tokens: list[str], url: str) -> list[str]:
    """What the lines say of each token: the person, or why it is refused."""
    if language == "node" and not (
        shutil.which("node") and (MODULES / "node_modules/jose").exists()
    ):
        pytest.skip("node or jose is not installed: npm install in tests/browser")
    lines = lines.replace(EXAMPLE, url)
    result = "user" if re.search(r"\buser\b", lines) else "claims"
    imports = "".join(re.findall(r"^import .*\n", lines, re.MULTILINE))
    if language == "node":
        lines = lines.replace(imports, "")
    else:
        lines = "".join(f"        {line}\n" for line in lines.splitlines())
    program = PROGRAMS[language].format(
        lines=lines, imports=imports, tokens=json.dumps(tokens), result=result
    )
    command = {"python": [sys.executable, "-c"], "node": ["node", "--input-type=module", "-e"]}
    done = await asyncio.to_thread(
        subprocess.run,
        [*command[language], program],
        cwd=MODULES,
        env={"SCANPUSH_JWT__SECRET": SECRET, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        input=json.dumps(tokens),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def token(issuer: Issuer, behind: int, person: str = "p1") -> str:
    """As a login at this moment gets it from a server whose clock is that many seconds ahead of
    this process's: for a verifier here, whose clock is that far behind."""
    now = int(time.time()) + behind
    claims = Claims(jti="j", iat=now, exp=now + 7200, is_new=False)
    return issuer.mint(subject=UserId(person), claims=claims, account="default", amr=["x"])


@pytest.mark.parametrize("snippet", SNIPPETS)
async def test_the_lines_accept_tokens_on_a_clock_that_is_behind(
    tmp_path: Path, snippet: str
) -> None:
    """By up to a minute. A clock that is further behind is refused, and so is a changed token."""
    source, language = SNIPPETS[snippet]
    section: dict[str, Any] = {}
    if source == "SECRET_SNIPPETS":
        section = {"algorithm": "HS256", "secret": SECRET}
    if isinstance(source, Path):
        lines = from_readme(source, language)
    else:
        lines = from_login_page(source, language)
    async with Stack(tmp_path, jwt=section) as stack:
        issuer = stack.container.issuer
        good = [token(issuer, behind, f"p{behind}") for behind in (0, 1, 2, 3, 5, 10, 20, 30, 60)]
        early = token(issuer, 600)
        head, claims, signature = good[0].split(".")
        forged = f"{head}.{claims}.{signature[::-1]}"
        url = f"http://127.0.0.1:{stack.port}"
        said = await verified(lines, language, [*good, early, forged], url)
    assert said[:9] == ["p0", "p1", "p2", "p3", "p5", "p10", "p20", "p30", "p60"]
    assert len(said) >= 11 and not {line for line in said[9:] if re.match(r"p\d", line)}


@pytest.mark.parametrize("behind", range(BACKDATED_SECONDS))
async def test_a_verifier_without_leeway_may_be_a_few_seconds_behind(behind: int) -> None:
    """iat and nbf are before the login."""
    key = shared_secret(SECRET.encode())
    issuer = Issuer(KeySet(key, (key,)), issuer="scanpush", audience="scanpush")
    claims = jwt.decode(
        token(issuer, behind), SECRET, ["HS256"], issuer="scanpush", audience="scanpush"
    )
    assert claims["sub"] == "p1"

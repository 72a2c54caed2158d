"""static/ as browsers are sent it: pages in one answer, the element in one file, addresses at which
a file never changes, and codings made ahead.

The sources are plain modules that import each other, and nothing is generated on disk: `Assets`
reads them once and puts together what is sent. After a change of static/ the server is restarted.

- A **page** has its style sheets, its scripts and the words of one language inside. A script whose
  source says ``async`` runs where it stands, before the rest of the page is there: it asks for the
  code. The others are defined in the head and run at the end of the body, as modules do; so the
  body comes last, and what is painted first has its final size.
- **scan-login.js** holds what it imports: a page of another site loads one file.
- ``/static/<digest>/`` has every file once more, to be kept for ever. The digest covers them all,
  so that modules find each other there by relative names.

`scripts/bench time-to-code` measures what it is for: a page shows its code two round trips after it
was asked for, and the element one after its script.
"""

import asyncio
import functools
import gzip
import hashlib
import html
import json
import mimetypes
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import brotli
import rjsmin
import yaml
from tornado.template import Loader

from services import VERSION
from services.wechat.reply_texts import LANGUAGES

STATIC = Path(__file__).resolve().parent.parent / "static"

PAGES = ("index", "kiosk", "operator", "authorize")
"""The sources of pages, without ``.html``; the words of a page alone are under its name."""

ELEMENT = "scan-login.js"
"""What pages of other sites load."""

ELEMENT_LOOK = "scan-look.js"
FETCHED_LOOKS = ("scan-number.js", "scan-login-form.js")
"""What has a style of the element inside, at once or when it is needed."""
OLD_KIOSK = "kiosk-old.js"
"""What a kiosk's page loads where the engine cannot read its modules. It is sent with the words of
one language in front, as ``kiosk-old.<language>.js``."""

CODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "br": brotli.compress,
    "gzip": functools.partial(gzip.compress, mtime=0),
}
"""How a body may be coded, the best first."""

SHORTEST = 256
"""Bytes below which a coding saves nothing."""

TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of the other files, `mimetypes` knows the type."""

_NO_DIGEST = "0" * 16
"""Stands for the digest until all that it covers is put together."""

_PAGE_IMPORT = f"""const $here = {{}};
const $import = (file) => $here[file] ? Promise.resolve($here[file])
  : import(new URL(file, `${{location.origin}}/static/{_NO_DIGEST}/`));
"""
"""How a page imports: what is in `$here` is inside of it."""

_IMPORT = re.compile(r'^import (?:\{ ([\w, ]+) \} from )?"\./([\w./-]+)";\n', re.M)
_EXPORT = re.compile(
    r"^export (?=(?:async )?(?:function|class|const) (?:(\w+)|\[([\w, ]+)\]))", re.M
)
_REEXPORT = re.compile(r"^export \{ ([\w, ]+) \};\n", re.M)
_ANY_IMPORT = re.compile(r'\b(?:from |import |import\()"\./([\w./-]+)"')
_DYNAMIC_IMPORT = re.compile(r"\bimport\(")
_COMMENT = re.compile(r"^[ \t]*//.*\n|^\s*/\*(?:.|\n)*?\*/\n?|^[ \t]+|^\n", re.M)
"""Comments on lines of their own, empty lines, and indentation: an eighth of what is sent
compressed. No text of several lines in a script may depend on any of them. rjsmin takes the other
spaces out, of what is put together: what is read here goes by lines."""

_STYLE_TEXT = re.compile(r"^const (STYLE|DARK) = `([^`]*)`;", re.M)
_STYLES = re.compile(r'(?:<link rel="stylesheet" href="/static/[\w./-]+">\n)+')
_SCRIPT = re.compile(r'<script type="module"( async)? src="/static/([\w./-]+)"></script>\n')
_INLINE = re.compile(r"<script>(.*?)</script>", re.S)
_WORDED = re.compile(r'<[a-z]\w*[^<>]* data-t="(\w+)"[^<>]*>(?=</)')
_LABELLED = re.compile(r' data-t-label="(\w+)"')

_threads = ThreadPoolExecutor(1, thread_name_prefix="codings")


class Asset:
    """A body and its type; its codings are made in a thread when they are first asked for."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
        self._digest = hashlib.sha256(body).hexdigest()[:20]
        self._coded: dict[str, Future[bytes]] = {}

    def coding_for(self, accepted: str) -> str:
        """The coding for a client with that ``Accept-Encoding``; empty for none."""
        is_text = self.content_type.startswith(("text/", "image/svg", "application/json"))
        return accepted_coding(accepted) if is_text and len(self.body) >= SHORTEST else ""

    async def coded(self, coding: str) -> bytes:
        """The body in one of `CODINGS`, or as it is."""
        if not coding:
            return self.body
        if coding not in self._coded:
            # Brotli takes 0.15 s for a page, for which the event loop would stand still.
            self._coded[coding] = _threads.submit(CODINGS[coding], self.body)
        made = self._coded[coding]
        # Shielded: a request that is given up leaves the work to the others.
        return made.result() if made.done() else await asyncio.shield(asyncio.wrap_future(made))

    def etag(self, coding: str) -> str:
        """A strong validator, which differs by coding (RFC 9110, section 8.8.3.3)."""
        return f'"{self._digest}-{coding}"' if coding else f'"{self._digest}"'


class Page(Asset):
    """A page. Its policy has to allow `script_hashes` and `style_hashes`: what is inline."""

    def __init__(self, text: str, scripts: Iterable[str], styles: Iterable[str]) -> None:
        super().__init__(text.encode(), TYPES[".html"])
        self.script_hashes = "".join(map(policy_hash, scripts))
        self.style_hashes = "".join(map(policy_hash, styles))


class Assets:
    """What is sent of `root`.

    Raises:
        ValueError: a script imports or exports in a way that is not known here.
    """

    def __init__(self, root: Path = STATIC) -> None:
        paths = (path for path in sorted(root.rglob("*")) if path.is_file())
        sent = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
        self._texts = {
            name: _COMMENT.sub("", body.decode())
            for name, body in sent.items()
            if name.endswith((".js", ".css"))
        }
        self._loader = Loader(str(root))
        # Templates, which are sent filled in and with a policy.
        sent = {name: body for name, body in sent.items() if not re.fullmatch(r"\w+\.html", name)}
        sent[ELEMENT] = self._one_module(ELEMENT).encode()
        # Engines that cannot import words get them in one classic script.
        if sent.pop(OLD_KIOSK, None):
            sent |= {f"kiosk-old.{lang}.js": self._old_kiosk(lang).encode() for lang in LANGUAGES}
        digest = hashlib.sha256()
        for name, body in sent.items():
            digest.update(f"{name} {len(body)} ".encode() + body)
        self.digest = digest.hexdigest()[: len(_NO_DIGEST)]
        sent[ELEMENT] = self._with_digest(sent[ELEMENT].decode()).encode()
        self._files = {name: Asset(body, _type_of(name)) for name, body in sent.items()}
        self._pages: dict[tuple[str, ...], Page] = {}

    def find(self, path: str) -> tuple[Asset | None, bool]:
        """The file at a path below ``/static/``, and whether it may be kept for ever.

        Below the digest of another version, as a node of that version wrote it into a page, is the
        file of this version.
        """
        if path in self._files:
            return self._files[path], False
        digest, _, name = path.partition("/")
        is_digest = re.fullmatch("[0-9a-f]{16}", digest) is not None
        return self._files.get(name) if is_digest else None, digest == self.digest

    def page(self, name: str, lang: str, facts: Mapping[str, str]) -> Page:
        """One of `PAGES`; `facts` are what the source's template is told of the server."""
        key = (name, lang, *facts.values())
        if key not in self._pages:
            self._pages[key] = self._assembled(name, lang, facts)
        return self._pages[key]

    def words(self, file: str) -> dict[str, Any]:
        """What a file of words exports: an object of texts, lists and objects; YAML, too."""
        text = self._texts[file].partition("export default ")[2].rstrip(";\n")
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        words: dict[str, Any] = yaml.load(text, loader)  # nosec B506  # makes only texts
        return words

    def element_styles(self) -> list[str]:
        """The style sheets that the element puts into its shadow: where a browser makes no sheet
        by a constructor (Safari before 16.4, Firefox before 101), they are inline, and a policy has
        to allow them. The first is in what is put together, the others are fetched as they are."""
        fetched = (self._files[name].body.decode() for name in FETCHED_LOOKS)
        texts = [dict(_STYLE_TEXT.findall(text)) for text in (self._texts[ELEMENT_LOOK], *fetched)]
        return [text["STYLE"].replace("${DARK}", text.get("DARK", "")) for text in texts]

    def tags(self, url: str) -> str:
        """The markup with which a page loads the element from the server at `url` and has the
        browser check every file by its hash (Subresource Integrity; HTML, "import map integrity").

        What comes later is in the import map, which stands first and is inline: a comment says what
        a policy must name to allow it, and another does so for the style in older browsers.
        """
        base = f"{url.rstrip('/')}/static/{self.digest}/"
        names = [ELEMENT]
        for name in names:
            imports = _ANY_IMPORT.findall(self._files[name].body.decode())
            names += sorted({found for found in imports if found not in names})
        hashes = {base + name: _integrity(self._files[name].body) for name in names}
        whole = f'src="{base}{ELEMENT}" integrity="{hashes.pop(base + ELEMENT)}"'
        import_map = json.dumps({"integrity": hashes}, indent=1)
        return (
            f"<!-- script-src {url.rstrip('/')}{policy_hash(import_map)} -->\n"
            f"<!-- style-src{''.join(map(policy_hash, self.element_styles()))} -->\n"
            f'<script type="importmap">{import_map}</script>\n'
            f'<script type="module" {whole} crossorigin></script>'
        )

    def _assembled(self, name: str, lang: str, facts: Mapping[str, str]) -> Page:
        files = (f"i18n/pages/{lang}.js", f"i18n/{lang}.js")
        words, element_words = map(self.words, files)
        text = (
            self._loader.load(f"{name}.html")
            .generate(
                lang=lang,
                words=words,
                page_words=words,
                version=VERSION,
                digest=self.digest,
                **facts,
            )
            .decode()
        )
        scripts_of_source = _INLINE.findall(text)
        text = _WORDED.sub(lambda at: at[0] + html.escape(words[at[1]], quote=False), text)
        text = _LABELLED.sub(lambda at: f'{at[0]} aria-label="{html.escape(words[at[1]])}"', text)
        text = text.replace(f'<option value="{lang}"', f'<option selected value="{lang}"')
        others = {page for page in PAGES if page != name}
        own_words = {key: words[key] for key in words if key not in others}
        spoken = {
            f"./{file}": {"default": texts}
            for file, texts in zip(files, (own_words, element_words), strict=True)
        }
        styles: list[str] = []
        scripts: list[str] = []
        done: list[str] = []

        def style(found: re.Match[str]) -> str:
            names = re.findall(r'href="/static/([^"]+)"', found[0])
            styles.append("".join(self._texts[file] for file in names) + facts.get("colours", ""))
            return f"<style>{styles[-1]}</style>\n"

        def script(found: re.Match[str]) -> str:
            code = self._bundle(found[2], done)
            if found[1] is None:
                code = f"Object.assign($here, {_literal(spoken)});\n{code}"
                code = f"function start() {{\n{code}}}\n"
            if not scripts:
                code = self._with_digest(_PAGE_IMPORT) + code
            scripts.append(rjsmin.jsmin(f'"use strict";\n{code}'))
            return f"<script>{scripts[-1]}</script>\n"

        text = _SCRIPT.sub(script, _STYLES.sub(style, text))
        scripts.append("start();")
        text = text.replace("</body>", f"<script>{scripts[-1]}</script>\n</body>")
        text = text.replace(' href="/static/', f' href="/static/{self.digest}/')
        if ELEMENT_LOOK in done:
            styles += self.element_styles()
        return Page(text, scripts_of_source + scripts, styles)

    def _bundle(self, name: str, done: list[str]) -> str:
        """A module, behind those that it imports, as far as they are not `done`."""
        if name in done:
            return ""
        done.append(name)
        source = self._texts[name]
        imported = "".join(self._bundle(found[2], done) for found in _IMPORT.finditer(source))
        return imported + _scope(name, source)

    def _one_module(self, name: str) -> str:
        """A module that holds what it imports."""
        source, done = self._texts[name], [name]
        imported = "".join(self._bundle(found[2], done) for found in _IMPORT.finditer(source))
        # The path is below the module's own origin (HTML, "resolve a module specifier"), which it
        # need not know: import.meta is younger than Chromium 63.
        here = f'const $import = (file) => import(file.replace(".", "/static/{_NO_DIGEST}"));\n'
        return str(rjsmin.jsmin(f"{here}{imported}{_without_imports(source)}"))

    def _old_kiosk(self, lang: str) -> str:
        """What a kiosk's page is where its modules cannot run, with its words."""
        page = self.words(f"i18n/pages/{lang}.js")
        words = {
            "states": self.words(f"i18n/{lang}.js"),
            "kiosk": page["kiosk"],
            "simulated": page["simulated"],
        }
        return f"var scanpushWords = {_literal(words)};\n{self._texts[OLD_KIOSK]}"

    def _with_digest(self, text: str) -> str:
        return text.replace(_NO_DIGEST, self.digest)


@functools.cache
def static_assets() -> Assets:
    """What is sent of `STATIC`."""
    return Assets()


@functools.lru_cache(maxsize=256)
def accepted_coding(accepted: str) -> str:
    """The best of `CODINGS` that an ``Accept-Encoding`` names and does not refuse, or nothing
    (RFC 9110, section 12.5.3)."""
    named = {}
    for part in accepted.lower().split(","):
        name, _, weight = part.replace(" ", "").replace("\t", "").partition(";q=")
        named[name] = not re.fullmatch(r"0(\.0*)?", weight)
    return next((coding for coding in CODINGS if named.get(coding)), "")


def _scope(name: str, source: str) -> str:
    """A module as a function's scope, whose value is what the module exports."""
    given = [named for found in _EXPORT.finditer(source) for named in found.groups() if named]
    given += [found[1] for found in _REEXPORT.finditer(source)]
    code = _REEXPORT.sub("", _EXPORT.sub("", _without_imports(source)))
    if found := re.search(r"^(export\b|import\b.*\"\./).*", code, re.M):
        raise ValueError(f"static/{name}: cannot be put into a page: {found[0]}")
    return (
        f"const {_scope_name(name)} = (() => {{\n{code}return {{ {', '.join(given)} }};\n}})();\n"
    )


def _without_imports(source: str) -> str:
    """The source with what it imports taken from scopes, and the rest by `$import`."""

    def taken(found: re.Match[str]) -> str:
        return f"const {{ {found[1]} }} = {_scope_name(found[2])};\n" if found[1] else ""

    return _DYNAMIC_IMPORT.sub("$import(", _IMPORT.sub(taken, source))


def _scope_name(file: str) -> str:
    return "$" + re.sub(r"\W", "_", file.removesuffix(".js"))


def _literal(value: Any) -> str:
    """A value as a script has it."""
    # The sequence would end the script.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/")


def policy_hash(inside: str) -> str:
    """The source of a policy that allows an inline part (CSP Level 3, section 2.3.1)."""
    return f" 'sha256-{b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"


def _integrity(body: bytes) -> str:
    """What an ``integrity`` attribute holds (SRI, section 3.1)."""
    return f"sha384-{b64encode(hashlib.sha384(body).digest()).decode()}"


def _type_of(name: str) -> str:
    suffix = Path(name).suffix
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


if __name__ == "__main__":
    print(static_assets().tags(sys.argv[1]))

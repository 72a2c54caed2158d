"""packages/web as `npm pack` makes it: its files, its import in Node, and the snippets of
docs/embedding.md, built by esbuild and, with ``--all``, by vite and Next."""

import configparser
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from deploy.programs import free_port
from handlers.assets import static_assets
from tests.docs.pages import blocks
from tests.listeners import served_in_thread

from .conftest import ROOT, Fake, eventually, view
from .real_server import Real

pytestmark = pytest.mark.browser

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
BUNDLERS = HERE / "bundlers"
SOURCE = ROOT / "packages" / "web"
PAGE = ROOT / "docs" / "embedding.md"
SERVER = "https://login.example.com"


def run(*command: object, folder: Path, **variables: str) -> str:
    """Standard output of a program that has to succeed."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1", **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def snippets(page: Path) -> dict[str, str]:
    """The blocks of a page whose first line is the name of a file, by that name."""
    named = re.compile(r"```\w+\n(?://|<!--) (\w+/[\w./]+)(?: -->)?\n(.*)```", re.DOTALL)
    found = filter(None, map(named.match, blocks(page)))
    return {block[1]: block[2] for block in found}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project beside which the package lies, as npm installs it, with React and Vue.

    It is packed from a copy of the repository: other tests may read lib/ or pack it as well.
    """
    if shutil.which("npm") is None or not (MODULES / "esbuild").exists():
        pytest.skip("npm or its packages are not installed: npm install in tests/browser")
    folder = tmp_path_factory.mktemp("packed")
    copy, made = folder / "repository", ("node_modules", "lib", "LICENSE", "*.tgz")
    shutil.copytree(SOURCE, copy / "packages" / "web", ignore=shutil.ignore_patterns(*made))
    shutil.copytree(ROOT / "static", copy / "static")
    shutil.copy(ROOT / "LICENSE", copy)
    name = run("npm", "pack", "--silent", copy / "packages" / "web", folder=folder).strip()
    modules = folder / "node_modules"
    with tarfile.open(folder / name) as archive:
        archive.extractall(modules, filter="data")
    (modules / "@scanpush").mkdir()
    (modules / "package").rename(modules / "@scanpush" / "web")
    for name in ("react", "react-dom", "vue"):
        (modules / name).symlink_to(MODULES / name)
    return folder


def of_package(packed: Path) -> Path:
    return packed / "node_modules" / "@scanpush" / "web"


# What is in it.


def test_the_package_holds_its_files_and_no_others(packed: Path) -> None:
    """What `exports` name, with types, and the element's modules; no script and no test."""
    package = of_package(packed)
    found = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    entries = {f"{name}{end}" for name in ("index", "element", "react", "vue") for end in ENDS}
    words = {f"lib/i18n/{lang}.js" for lang in ("zh-CN", "zh-TW", "en", "ja")}
    modules = {path for path in found if re.fullmatch(r"lib/[\w-]+\.js", path)}
    others = {"package.json", "README.md", "LICENSE", "lib/scan-login.d.ts"}
    assert found == entries | words | modules | others
    told = json.loads((package / "package.json").read_text())
    named = {
        file
        for entry in told["exports"].values()
        if isinstance(entry, dict)
        for file in entry.values()
    }
    assert named == {f"./{name}" for name in entries}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert told["version"] == setup["metadata"]["version"]
    assert told["license"] == setup["metadata"]["license"]


ENDS = (".js", ".d.ts")


def test_the_sources_have_lines_that_can_be_read(packed: Path) -> None:
    """At most 120 characters, but for the words."""
    for path in of_package(packed).rglob("*.[jt]s"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert path.parent.name == "i18n" or max(map(len, lines)) <= 120, path.name


def test_the_package_is_what_the_server_serves(packed: Path) -> None:
    """Each module of lib/ is the file of static/, byte by byte."""
    lib = of_package(packed) / "lib"
    files = [path.relative_to(lib) for path in lib.rglob("*") if path.is_file()]
    assert {"scan-element.js", "scan-client.js", "scan-login-form.js"} <= {str(f) for f in files}
    for file in files:
        assert (lib / file).read_bytes() == (ROOT / "static" / file).read_bytes(), file


IN_NODE = """
const { createElement } = await import("react");
const { renderToString } = await import("react-dom/server");
const { createSSRApp, h } = await import("vue");
const { renderToString: renderVue } = await import("vue/server-renderer");
const before = Object.getOwnPropertyNames(globalThis).join();
const { ScanLogin: Login, define, language } = await import("@scanpush/web");
await import("@scanpush/web/element");
const { ScanLogin: InReact } = await import("@scanpush/web/react");
const { ScanLogin: InVue } = await import("@scanpush/web/vue");
define({ server: "https://login.example.com" });
const clean = Object.getOwnPropertyNames(globalThis).join() === before;
const given = { server: "https://login.example.com", lang: "en", onLogin() {} };
const slotted = (create) => create("p", { slot: "scanned" }, "Hold on");
console.log(JSON.stringify({
  clean,
  language: language("zh-HK"),
  state: new Login({ server: "https://login.example.com" }).view.state,
  react: renderToString(
    createElement(InReact, { ...given, className: "big" }, slotted(createElement))),
  vue: await renderVue(createSSRApp(
    () => h(InVue, { ...given, class: "big" }, () => slotted(h)))),
}));
"""


def test_node_imports_and_renders_it(packed: Path) -> None:
    """Nothing is done to the global object, and a server renders the bare tag."""
    (packed / "in_node.mjs").write_text(IN_NODE)
    told = json.loads(run("node", "in_node.mjs", folder=packed))
    inside = '<p slot="scanned">Hold on</p>'
    assert re.sub("<!--.*?-->", "", told.pop("vue")) == (
        f'<scan-login server="{SERVER}" lang="en" class="big">{inside}</scan-login>'
    )
    assert told == {
        "clean": True,
        "language": "zh-TW",
        "state": "starting",
        "react": f'<scan-login server="{SERVER}" lang="en" class="big">{inside}</scan-login>',
    }


# What bundlers make of it.


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, as a site serves them that lets no script in but its own."""

    policies: dict[str, str] = {}

    def end_headers(self) -> None:
        policy = self.policies.get(self.path, self.policies[""])
        self.send_header("Content-Security-Policy", policy)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


class Site:
    """A folder as a web site, and the scanpush that allows it."""

    def __init__(self, folder: Path, real: Real, url: str) -> None:
        self.folder = folder
        self.real = real
        self.url = url

    def page(self, name: str, script: str, inside: str = '<div id="app"></div>') -> str:
        """The address of a page that loads one script."""
        text = (
            f'<!doctype html><meta charset="utf-8"><script type="module" src="{script}"></script>'
        )
        (self.folder / f"{name}.html").write_text(text + inside)
        return f"{self.url}/{name}.html"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, fake_process: Fake) -> Iterator[Site]:
    """The site of all builds, which may ask a real server and the fake one."""
    folder = tmp_path_factory.mktemp("site")
    handler = partial(Handler, directory=str(folder))
    shop = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    url = f"http://localhost:{shop.server_port}"
    state = tmp_path_factory.mktemp("allowing")
    with served_in_thread(shop), Real(state, server={"allowed_origins": [url]}) as real:
        asked = f"{real.url} {fake_process.url}"
        sockets = asked.replace("http", "ws")
        Handler.policies[""] = f"default-src 'self'; connect-src {asked} {sockets}"
        yield Site(folder, real, url)


def logs_in(page: Page, url: str, real: Real, person: str) -> None:
    """Open it, scan, and see who is logged in."""
    page.goto(url)
    page.locator("scan-login svg[part=qr]").wait_for()
    real.do("scan", person=person, url=view(page)["qr"]["content"])
    expect(page.get_by_text("Logged in: ")).to_be_visible()


REACT_ENTRY = """
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import App from "./App.jsx";
createRoot(document.getElementById("app")).render(createElement(App));
"""
VUE_ENTRY = """
import { createApp } from "vue";
import App from "./App.vue";
createApp(App).mount("#app");
"""


def esbuild(packed: Path, entry: str, to: Path, *options: str) -> None:
    told = ("--bundle", "--minify", "--define:process.env.NODE_ENV='production'")
    program = MODULES / "esbuild" / "bin" / "esbuild"
    run(program, entry, f"--outdir={to}", *told, *options, folder=packed)


@pytest.mark.parametrize("splitting", [(), ("--format=esm", "--splitting")], ids=["one", "split"])
def test_esbuild_with_no_framework(
    page: Page, packed: Path, site: Site, splitting: tuple[str, ...]
) -> None:
    """The snippet logs a person in, as one file and in chunks."""
    write(packed, {"src/main.js": snippets(PAGE)["src/main.js"].replace(SERVER, site.real.url)})
    name = f"plain-{len(splitting)}"
    esbuild(packed, "src/main.js", site.folder / name, *splitting)
    inside = '<scan-login lang="en"></scan-login><p id="result"></p>'
    logs_in(page, site.page(name, f"{name}/main.js", inside), site.real, name)


def test_esbuild_with_react(page: Page, packed: Path, site: Site) -> None:
    """The snippet logs a person in."""
    app = snippets(PAGE)["src/App.jsx"].replace(SERVER, site.real.url)
    write(packed, {"src/App.jsx": app, "src/react.js": REACT_ENTRY})
    esbuild(packed, "src/react.js", site.folder, "--jsx=automatic", "--format=esm")
    logs_in(page, site.page("react", "react.js"), site.real, "react")


BOTH = """
import * as react from "react";
import { createRoot } from "react-dom/client";
import { ScanLogin as InReact } from "@scanpush/web/react";
import * as vue from "vue";
import { ScanLogin as InVue } from "@scanpush/web/vue";

window.told = [];
window.version = react.version;
const tell = (from) => ({ state = "login", refresh_token }) =>
  window.told.push([from, state, refresh_token]);
const handlers = (from) => ({
  id: from, server: window.server, lang: "en",
  onScanned: tell(from), onLogin: tell(from), onError: tell(from),
});
const field = (create) => create("input", { type: "text", name: "of-the-page" });

const root = createRoot(document.getElementById("app"));
window.react = (from) => root.render(
  from && react.createElement(
    InReact, { ...handlers(from), className: "mine", ref: (e) => { window.seen = e; } },
    field(react.createElement)));
let app;
window.vue = (from) => {
  app?.unmount();
  app = from ? vue.createApp(
    () => vue.h(InVue, { ...handlers(from), class: "mine" }, () => field(vue.h))) : null;
  app?.mount("#app2");
};
"""


@pytest.mark.parametrize(
    ("framework", "version"),
    [("react", ""), ("vue", ""), pytest.param("react", "18", marks=pytest.mark.slow)],
)
def test_a_component_passes_events_on(
    page: Page, packed: Path, site: Site, fake: Fake, framework: str, version: str
) -> None:
    """To the handler of the last rendering, with a refresh token where there is one; a page's own
    field inside it does not count, and what is taken away stops watching."""
    (packed / "both.js").write_text(BOTH)
    modules = BUNDLERS / "node_modules"
    names = ("react", "react-dom", "scheduler") if version else ()
    other = [f"--alias:{name}={modules / f'{name}-{version}'}" for name in names]
    esbuild(packed, "both.js", site.folder, "--format=esm", *other)
    page.add_init_script(f"window.server = {json.dumps(fake.url)}")
    page.goto(site.page("both", "both.js", '<div id="app"></div><div id="app2"></div>'))
    page.evaluate(f"window.{framework}('first')")
    page.locator("scan-login.mine svg[part=qr]").wait_for()
    if framework == "react":
        page.evaluate("window.react('second')")
        page.locator("scan-login#second").wait_for()
        assert page.evaluate("window.seen === document.querySelector('scan-login')")
    # A page may put fields of its own into the element.
    page.evaluate("""() => document.querySelector("[name=of-the-page]").dispatchEvent(
      new Event("error", { bubbles: true }))""")
    name = "second" if framework == "react" else "first"
    fake.move("scanned", user={"name": "王**"})
    eventually(lambda: page.evaluate("window.told.length") == 1)
    fake.move("authorized", refresh_token="once")
    eventually(lambda: page.evaluate("window.told.length") == 2)
    if framework == "react":
        assert page.evaluate("window.version").startswith(version or "19")
    assert page.evaluate("window.told") == [[name, "scanned", None], [name, "login", "once"]]
    page.evaluate(f"window.{framework}('')")
    expect(page.locator("scan-login")).to_have_count(0)


# Integrity.


def of_server(packed: Path, site: Site) -> str:
    """What ``scripts/sri`` prints."""
    return static_assets().tags(site.real.url)


def of_cdn(packed: Path, site: Site) -> str:
    """What ``npm run sri`` prints, for a CDN that the site itself is."""
    shutil.copytree(of_package(packed), site.folder / "cdn", dirs_exist_ok=True)
    script = packed / "repository" / "packages" / "web" / "scripts" / "sri.mjs"
    return run("node", script, f"{site.url}/cdn/", folder=packed).replace(SERVER, site.real.url)


@pytest.mark.parametrize("tags", [of_server, of_cdn])
def test_a_page_checks_what_it_loads(
    page: Page, packed: Path, site: Site, tags: Callable[[Path, Site], str]
) -> None:
    """The printed tags work under the policy that they name, and stop what has another hash: the
    script itself, and what it loads later."""
    text = tags(packed, site)
    policy = re.search("<!-- (script-src .*?) -->", text)
    assert policy is not None
    element = '<scan-login lang="en"></scan-login>' if "<scan-login" not in text else ""
    script = re.search(r'integrity="(sha384-[^"]+)"', text)
    words = re.search(r'i18n/en\.js": "(sha384-[^"]+)"', text)
    assert script is not None and words is not None
    other = f"sha384-{'A' * 64}"
    for name, hashes in {"good": (), "script": script.groups(), "words": words.groups()}.items():
        path = f"/sri-{name}.html"
        changed = text
        for known in hashes:
            changed = changed.replace(known, other)
        Handler.policies[path] = Handler.policies[""] + "; " + policy[1]
        if hashes == words.groups():
            # The map is another one by that.
            made = re.search(r'importmap">(.*?)</script>', changed, re.DOTALL)
            assert made is not None
            digest = b64encode(hashlib.sha256(made[1].encode()).digest()).decode()
            Handler.policies[path] += f" 'sha256-{digest}'"
        (site.folder / path[1:]).write_text(f"<!doctype html><html lang=en>{changed}{element}")
        page.goto(site.url + path)
        if name == "good":
            page.locator("scan-login svg[part=qr]").wait_for()
        elif name == "script":
            page.wait_for_load_state("networkidle")
            assert page.evaluate("!customElements.get('scan-login')")
        else:
            expect(page.locator("scan-login [part=title]")).to_contain_text("Please reload")


# What takes long, with ``scripts/test --all`` only.


@pytest.fixture(scope="module")
def project(packed: Path) -> Iterator[Path]:
    """A folder inside that of the bundlers' own packages, with the package installed."""
    if not (BUNDLERS / "node_modules" / ".bin" / "vite").exists():
        pytest.skip("vite and Next are not installed: npm install in tests/browser/bundlers")
    folder = BUNDLERS / "build" / f"of-{os.getpid()}"
    shutil.copytree(of_package(packed), folder / "node_modules" / "@scanpush" / "web")
    yield folder
    shutil.rmtree(folder)


def installed(name: str) -> Path:
    return BUNDLERS / "node_modules" / ".bin" / name


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("framework", "app", "entry"),
    [("react", "src/App.jsx", REACT_ENTRY), ("vue", "src/App.vue", VUE_ENTRY)],
    ids=["react", "vue"],
)
def test_vite(page: Page, project: Path, site: Site, framework: str, app: str, entry: str) -> None:
    """The snippet of each framework, built for production, logs a person in."""
    folder = project / f"vite-{framework}"
    write(
        folder,
        {
            "package.json": '{"type": "module"}',
            "vite.config.js": f'import plugin from "@vitejs/plugin-{framework}";\n'
            f'export default {{ base: "/vite-{framework}/", plugins: [plugin()] }};\n',
            "index.html": '<!doctype html><div id="app"></div>'
            '<script type="module" src="/src/main.js"></script>',
            "src/main.js": entry,
            app: snippets(PAGE)[app].replace(SERVER, site.real.url),
        },
    )
    to = site.folder / f"vite-{framework}"
    run(installed("vite"), "build", "--outDir", to, "--emptyOutDir", folder=folder)
    logs_in(page, f"{site.url}/vite-{framework}/index.html", site.real, f"vite-{framework}")


LAYOUT = """export default function Layout({ children }) {
  return <html lang="en"><body>{children}</body></html>;
}
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_next(page: Page, tmp_path: Path, project: Path) -> None:
    """Its server renders the bare tag; in the browser it becomes a code, and a login a session."""
    port, origin_port = free_port(), free_port()
    url, origin = f"http://127.0.0.1:{port}", f"http://localhost:{origin_port}"
    folder = project / "next"
    files = {name: text for name, text in snippets(PAGE).items() if name.startswith("app/")}
    assert files.keys() == {"app/login.jsx", "app/page.jsx", "app/session/route.js"}
    write(folder, {name: text.replace(SERVER, url) for name, text in files.items()})
    root = json.dumps(str(BUNDLERS))
    config = f"export default {{ turbopack: {{ root: {root} }} }};\n"
    write(folder, {"app/layout.jsx": LAYOUT, "next.config.mjs": config, "package.json": "{}"})
    run(installed("next"), "build", folder=folder)
    sections = {"server": {"port": port, "allowed_origins": [origin]}, "jwt": {"issuer": url}}
    command = [str(installed("next")), "start", "--port", str(origin_port)]
    with (
        Real(tmp_path, **sections) as real,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as site,
    ):
        assert site.stdout is not None
        try:
            assert any("Ready" in line for line in site.stdout)
            rendered = httpx.get(origin).text
            assert f'<scan-login server="{url}" lang="en"></scan-login>' in rendered
            logs_in(page, origin, real, "next")
            assert httpx.post(f"{origin}/session").status_code == 401
        finally:
            site.terminate()


TYPED = """
import { ScanLogin, define, language, type Login, type View } from "@scanpush/web";
import "@scanpush/web/element";

define({ server: new URL("https://login.example.com") });
const element = document.querySelector("scan-login")!;
element.addEventListener("login", (event) => {
  const login: Login = event.detail;
  const token: string = event.detail.token, refresh: string | undefined = login.refresh_token;
  // @ts-expect-error a login has no such part
  event.detail.password;
  // @ts-expect-error a number it is not
  const wrong: number = event.detail.token;
  console.log(token, refresh, wrong);
});
element.addEventListener("change", ({ detail }) => {
  const view: View = detail;
  console.log(view.state);
});
element.addEventListener("click", (event) => console.log(event.clientX));
element.addEventListener("of-the-page", (event: Event) => console.log(event.type));
const login = new ScanLogin({ server: "https://login.example.com", kind: "code" });
login.addEventListener("login", ({ detail }) => console.log(detail.user.id, language("ja")));
// @ts-expect-error no such kind
new ScanLogin({ kind: "sms" });
"""
TYPED_REACT = """
import { useRef } from "react";
import { ScanLogin } from "@scanpush/web/react";
import type { ScanLoginElement } from "@scanpush/web";

export function App() {
  const element = useRef<ScanLoginElement>(null);
  return <>
    <ScanLogin server="https://login.example.com" kind="code" className="big" ref={element}
      onLogin={(login, event) => console.log(login.token, event.detail.user.id)}
      onError={(view) => console.log(view.error)}><p slot="scanned">Hold on</p></ScanLogin>
    {/* @ts-expect-error no such kind */}
    <ScanLogin kind="sms" />
    <scan-login server="https://login.example.com" theme="dark" ref={element} class="big"
      onlogin={(event) => console.log(event.detail.token)} />
    {/* @ts-expect-error no such theme */}
    <scan-login theme="pink" />
  </>;
}
"""
# vue-tsc 3.3 loses the types of handlers beside an attribute with "//", with any component.
TYPED_VUE = """<script setup lang="ts">
import { ref } from "vue";
import { ScanLogin } from "@scanpush/web/vue";
const component = ref<InstanceType<typeof ScanLogin>>();
const state = () => component.value?.element?.login?.view.state;
defineProps<{ server: string }>();
defineExpose({ state });
</script>
<template>
  <ScanLogin ref="component" :server="server" kind="code" class="big"
    @login="(login) => login.token" @error="(view) => view.error" />
  <!-- @vue-expect-error no such kind -->
  <ScanLogin kind="sms" />
</template>
"""
TYPED_VUE_TAG = """<script setup lang="ts">
import type {} from "@scanpush/web/vue";
defineProps<{ server: string }>();
</script>
<template>
  <scan-login :server="server" lang="en" @login="(event) => event.detail.token">
    <p slot="scanned">Hold on</p>
  </scan-login>
  <!-- @vue-expect-error no such theme -->
  <scan-login theme="pink" />
</template>
"""
TYPESCRIPT = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "lib": ["es2022", "dom", "dom.iterable"],
        "module": "esnext",
        "moduleResolution": "bundler",
        "jsx": "react-jsx",
        "skipLibCheck": False,
        "types": [],
    },
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("compiler", "files", "options"),
    [
        ("tsc", {"element.ts": TYPED}, {}),
        ("tsc", {"element.ts": TYPED}, {"module": "nodenext", "moduleResolution": "nodenext"}),
        ("tsc", {"app.tsx": TYPED_REACT}, {}),
        (
            "tsc",
            {"app.tsx": TYPED_REACT},
            {"paths": {"react": ["REACT18"], "react/*": ["REACT18/*"]}},
        ),
        ("vue-tsc", {"App.vue": TYPED_VUE, "Tag.vue": TYPED_VUE_TAG}, {}),
    ],
    ids=["element", "element-nodenext", "react-19", "react-18", "vue"],
)
def test_types(
    project: Path, compiler: str, files: dict[str, str], options: dict[str, Any]
) -> None:
    """What is right compiles, and what is marked as wrong does not."""
    folder = project / f"types-{len(list(project.iterdir()))}"
    told = {**TYPESCRIPT, "compilerOptions": {**TYPESCRIPT["compilerOptions"], **options}}
    text = json.dumps(told).replace("REACT18", str(BUNDLERS / "node_modules" / "react-18-types"))
    write(folder, {**files, "tsconfig.json": text, "package.json": '{"type": "module"}'})
    run(installed(compiler), "--project", ".", folder=folder)

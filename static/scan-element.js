// What <scan-login> does, without registering it: importing this changes nothing, in a browser or in Node.

import { world } from "./begin.js";
import { ScanLogin } from "./scan-client.js";
import { dress, parts, PICTURES } from "./scan-look.js";
import { encode, path, warmUp } from "./qr.js";

/** The language that serves `tag` best. */
export const bestLanguage = (tag = "") =>
  /^zh-(tw|hk|mo|hant)/i.test(tag) ? "zh-TW" : /^zh/i.test(tag) ? "zh-CN" : /^ja/i.test(tag) ? "ja" : "en";

// Each by its whole name, by which a bundler finds it.
const WORDS = {
  "zh-CN": () => import("./i18n/zh-CN.js"),
  "zh-TW": () => import("./i18n/zh-TW.js"),
  en: () => import("./i18n/en.js"),
  ja: () => import("./i18n/ja.js"),
};
const { userAgent } = world.navigator || {};
const inWeChat = /MicroMessenger/i.test(userAgent);
// Only there is an app that the button could open.
const onPhone = !inWeChat && /Android|iPhone|iPad/.test(userAgent);
// SVG has no property of this name, and toggleAttribute is younger than Chromium 63.
const hide = (element, hidden) => hidden ? element.setAttribute("hidden", "") : element.removeAttribute("hidden");
const nameOf = ({ user }) => user && user.name;
const AGAIN = "expired paused denied cancelled failed replaced";

let ownServer = "";

class ScanLoginElement extends (world.HTMLElement || Object) {
  static get observedAttributes() { return ["server", "account", "kind", "authorize", "lang"]; }

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.append(...parts());
    dress(root);
    this._find("[part=button]").onclick = () => this._press();
    this._find("[part=copy]").onclick = () => this._copy();
  }

  get login() { return this._login; }
  again() { return this._login && this._login.again(); }
  cancel() { return this._login && this._login.cancel(); }

  connectedCallback() {
    const of = (name) => this.hasAttribute(name) ? this.getAttribute(name) : undefined;
    const spoken = this.closest("[lang]");
    const lang = bestLanguage(spoken && spoken.lang || navigator.language);
    const server = new URL(this.hasAttribute("server") ? of("server") : ownServer, location);
    const login = this._login = new ScanLogin({
      server, account: of("account"), kind: of("kind"), authorize: of("authorize"), lang });
    for (const name of "change scanned confirming registering login expired denied cancelled error".split(" "))
      login.addEventListener(name, ({ detail }) => {
        if (name === "change") this._draw();
        this.dispatchEvent(new CustomEvent(name, { detail: detail || login.view }));
      });
    this._tick = setInterval(() => this._time(), 1000);
    this._speak(lang);
    login.start();
    this._draw();
    warmUp();
  }

  disconnectedCallback() {
    clearInterval(this._tick);
    this._login.stop();
  }

  attributeChangedCallback(name, before, now) {
    if (!this.isConnected || !this._login || before === now) return;
    if (name === "lang") this._speak(this._login.lang = bestLanguage(now || ""));
    else this.disconnectedCallback(), this.connectedCallback();
  }

  _find(selector) { return this.shadowRoot.querySelector(selector); }

  async _speak(lang) {
    const words = await WORDS[lang]().catch(WORDS.en).catch(() => 0);
    if (lang !== this._login.lang || !this.isConnected) return;
    if (!words) {
      if (!this._words) this._find("[part=title]").textContent = "请刷新页面 · Please reload this page";
      return setTimeout(() => this._speak(lang), 5000);
    }
    this._words = words.default;
    this._face = "";
    this._find("[part=box]").lang = lang;
    this._draw();
  }

  // A trouble of the way hides a code, but never what a person already did.
  _faceOf({ state, trouble, kind, error, confirm }) {
    if (trouble && "starting waiting expired".includes(state)) return [trouble, error];
    return state === "waiting"
      ? [state, kind, inWeChat ? `inside ${kind || "official_account"}` : onPhone && `phone ${kind}`]
      : [state, error || confirm];
  }

  _wordsOf(face, variants) {
    return variants.reduce((found, name) => this._words[`${face} ${name}`] || found, this._words[face]);
  }

  _draw() {
    if (!this._words) return;
    const { view } = this._login;
    const [face, ...variants] = this._faceOf(view), words = this._wordsOf(face, variants);
    const shows = face === "waiting", key = [face, variants, view.scene_str, nameOf(view)].join();
    if (key !== this._face) {
      this._face = key;
      this._find("[part=box]").className = face + (shows && view.qr ? " qr" : "");
      this._find("[role=status] slot").name = face;
      this._say("[part=title]", words[0], view);
      this._say("[part=hint]", words[1], view);
      this._find(".sign").setAttribute("d", PICTURES[face] || PICTURES.failed);
      this._showCode(shows ? view : {});
      this._showForm(view.confirm === "number" ? () => import("./scan-number.js")
        : face === "registering" ? () => import("./scan-login-form.js") : null);
      const [, ...coming] = this._faceOf({ state: "waiting", kind: this.getAttribute("kind") });
      const next = face === "starting" ? this._wordsOf("waiting", coming) : [];
      this._find(".next .title").textContent = next[0] || "";
      this._find(".next .hint").textContent = next[1] || "";
      const button = this._find("[part=button]");
      button.textContent = next[2] || words[2] || (AGAIN.includes(face) ? this._words.again : "");
      button.hidden = !button.textContent;
    }
    this._time();
  }

  _say(selector, text = "", view) {
    const place = this._find(selector);
    place.textContent = "";
    text.split("{name}").forEach((part, i) => {
      const name = document.createElement("bdi");
      name.textContent = [...(nameOf(view) || this._words.somebody)].slice(0, 64).join("");
      place.append(...i ? [name, part] : [part]);
    });
  }

  _showCode({ qr, code }) {
    const drawn = this._find("svg[part=qr]"), img = this._find("img"), content = qr && qr.content;
    const choose = (image) => {
      img.hidden = !qr || !image;
      hide(drawn, !qr || image);
    };
    // A long press in WeChat reads an img and nothing else.
    choose(inWeChat || !content);
    img.onerror = content && (() => choose(false));
    this._find("[part=code]").textContent = code || "";
    this._find("[part=code]").style.setProperty("--characters", code ? code.length : 6);
    this._find("[part=copy]").textContent = this._words.copy;
    this._find("[part=copy]").hidden = !code;
    hide(this._find("[part=picture]"), qr || code);
    if (content) {
      const rows = encode(content);
      drawn.setAttribute("viewBox", `-1 -1 ${rows.length + 2} ${rows.length + 2}`);
      drawn.setAttribute("aria-label", this._words.qr);
      drawn.firstChild.setAttribute("d", path(rows));
    }
    if (!img.hidden) Object.assign(img, { src: new URL(qr.png, this._login.server), alt: this._words.qr });
  }

  async _showForm(load) {
    const form = this._find("form"), face = this._face;
    form.hidden = !load;
    form.textContent = "";
    const module = load && await load();
    if (module && face === this._face) module.fill(form, this._words, this._login, dress);
  }

  async _copy() {
    const { clipboard } = navigator, { code } = this._login.view;
    const copied = clipboard && await clipboard.writeText(code).then(() => true, () => false);
    // Selected, it can be copied by hand.
    if (copied) this._find("[part=copy]").textContent = this._words.copied;
    else getSelection().selectAllChildren(this._find("[part=code]"));
  }

  _press() {
    const { state, kind, start, qr } = this._login.view, { server } = this._login;
    if (state !== "waiting") this.again();
    else if (kind === "code") location.assign("weixin://");
    else if (start) open(new URL(start, server), "_blank", "noopener,popup,width=480,height=640");
    else if (kind === "web") {
      const address = new URL(qr.content);
      const pending = this.getAttribute("authorize");
      const next = location.pathname + (pending ? `?pending=${pending}` : "");
      if (server.origin === location.origin) address.searchParams.set("next", next);
      location.assign(address);
    }
  }

  // Once a second, and outside the live region.
  _time() {
    const { state, began, fresh_until, ends, retry, trouble } = this._login.view;
    const until = retry || (trouble ? 0 : { waiting: fresh_until, confirming: ends, registering: ends }[state]);
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000)) || 0;
    const share = until && until === fresh_until ? left / (until - began) * 1e5 : 0;
    this._find(".time").setAttribute("stroke-dasharray", `${share} 200`);
    const text = `${left / 60 | 0}:${String(left % 60).padStart(2, "0")}`;
    const words = this._words && this._words[retry ? "retry" : state === "waiting" ? "refresh" : "left"];
    const shows = until && words && left < (retry ? 600 : 3600);
    this._find("[part=timer]").textContent = shows ? words.replace("{time}", text) : "";
  }
}

/**
 * Registers `<scan-login>`, once; later calls and calls outside of a browser do no harm. `server` is asked by
 * the elements that have no such attribute; default: the page's own origin.
 */
export function define({ server = "" } = {}) {
  if (server) ownServer = server;
  const { customElements } = world;
  if (customElements && !customElements.get("scan-login")) customElements.define("scan-login", ScanLoginElement);
}

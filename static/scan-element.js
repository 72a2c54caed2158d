// What <scan-login> does, without registering it: importing this changes nothing, in a browser or in Node.

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
const inWeChat = /MicroMessenger/i.test(globalThis.navigator?.userAgent);
// Only there is an app that the button could open.
const onPhone = !inWeChat && /Android|iPhone|iPad/.test(globalThis.navigator?.userAgent);
const AGAIN = "expired paused denied cancelled failed replaced";

class ScanLoginElement extends (globalThis.HTMLElement ?? Object) {
  static server = "";
  static observedAttributes = ["server", "account", "kind", "authorize", "lang"];
  #login;
  #words;
  #tick;
  #face;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.append(...parts());
    dress(root);
    this.#find("[part=button]").onclick = () => this.#press();
    this.#find("[part=copy]").onclick = () => this.#copy();
  }

  get login() { return this.#login; }
  again() { return this.#login?.again(); }
  cancel() { return this.#login?.cancel(); }

  connectedCallback() {
    const of = (name) => this.getAttribute(name) ?? undefined;
    const lang = bestLanguage(this.closest("[lang]")?.lang || navigator.language);
    const server = new URL(of("server") ?? ScanLoginElement.server, location);
    const login = this.#login = new ScanLogin({
      server, account: of("account"), kind: of("kind"), authorize: of("authorize"), lang });
    for (const name of "change scanned confirming registering login expired denied cancelled error".split(" "))
      login.addEventListener(name, ({ detail }) => {
        if (name === "change") this.#draw();
        this.dispatchEvent(new CustomEvent(name, { detail: detail ?? login.view }));
      });
    this.#tick = setInterval(() => this.#time(), 1000);
    this.#speak(lang);
    login.start();
    this.#draw();
    warmUp();
  }

  disconnectedCallback() {
    clearInterval(this.#tick);
    this.#login.stop();
  }

  attributeChangedCallback(name, before, now) {
    if (!this.isConnected || !this.#login || before === now) return;
    if (name === "lang") this.#speak(this.#login.lang = bestLanguage(now ?? ""));
    else this.disconnectedCallback(), this.connectedCallback();
  }

  #find(selector) { return this.shadowRoot.querySelector(selector); }

  async #speak(lang) {
    const words = await WORDS[lang]().catch(WORDS.en).catch(() => 0);
    if (lang !== this.#login.lang || !this.isConnected) return;
    if (!words) {
      if (!this.#words) this.#find("[part=title]").textContent = "请刷新页面 · Please reload this page";
      return setTimeout(() => this.#speak(lang), 5000);
    }
    this.#words = words.default;
    this.#face = "";
    this.#find("[part=box]").lang = lang;
    this.#draw();
  }

  // A trouble of the way hides a code, but never what a person already did.
  #faceOf({ state, trouble, kind, error, confirm }) {
    if (trouble && "starting waiting expired".includes(state)) return [trouble, error];
    return state === "waiting"
      ? [state, kind, inWeChat ? `inside ${kind ?? "official_account"}` : onPhone && `phone ${kind}`]
      : [state, error ?? confirm];
  }

  #wordsOf(face, variants) {
    return variants.reduce((found, name) => this.#words[`${face} ${name}`] ?? found, this.#words[face]);
  }

  #draw() {
    if (!this.#words) return;
    const { view } = this.#login;
    const [face, ...variants] = this.#faceOf(view), words = this.#wordsOf(face, variants);
    const shows = face === "waiting", key = [face, variants, view.scene_str, view.user?.name].join();
    if (key !== this.#face) {
      this.#face = key;
      this.#find("[part=box]").className = face + (shows && view.qr ? " qr" : "");
      this.#find("[role=status] slot").name = face;
      this.#say("[part=title]", words[0], view);
      this.#say("[part=hint]", words[1], view);
      this.#find(".sign").setAttribute("d", PICTURES[face] ?? PICTURES.failed);
      this.#showCode(shows ? view : {});
      this.#showForm(view.confirm === "number" ? () => import("./scan-number.js")
        : face === "registering" ? () => import("./scan-login-form.js") : null);
      const [, ...coming] = this.#faceOf({ state: "waiting", kind: this.getAttribute("kind") ?? undefined });
      const next = face === "starting" ? this.#wordsOf("waiting", coming) : [];
      this.#find(".next .title").textContent = next[0] ?? "";
      this.#find(".next .hint").textContent = next[1] ?? "";
      const button = this.#find("[part=button]");
      button.textContent = next[2] ?? words[2] ?? (AGAIN.includes(face) ? this.#words.again : "");
      button.hidden = !button.textContent;
    }
    this.#time();
  }

  #say(selector, text = "", { user }) {
    const parts = text.split("{name}").flatMap((part, i) => {
      const name = document.createElement("bdi");
      name.textContent = [...(user?.name || this.#words.somebody)].slice(0, 64).join("");
      return i ? [name, part] : part;
    });
    this.#find(selector).replaceChildren(...parts);
  }

  #showCode({ qr, code }) {
    const drawn = this.#find("svg[part=qr]"), img = this.#find("img"), content = qr?.content;
    const choose = (image) => {
      img.hidden = !qr || !image;
      drawn.toggleAttribute("hidden", !qr || image);
    };
    // A long press in WeChat reads an img and nothing else.
    choose(inWeChat || !content);
    img.onerror = content && (() => choose(false));
    this.#find("[part=code]").textContent = code ?? "";
    this.#find("[part=code]").style.setProperty("--characters", code?.length ?? 6);
    this.#find("[part=copy]").textContent = this.#words.copy;
    this.#find("[part=copy]").hidden = !code;
    this.#find("[part=picture]").toggleAttribute("hidden", !!(qr || code));
    if (content) {
      const rows = encode(content);
      drawn.setAttribute("viewBox", `-1 -1 ${rows.length + 2} ${rows.length + 2}`);
      drawn.setAttribute("aria-label", this.#words.qr);
      drawn.firstChild.setAttribute("d", path(rows));
    }
    if (!img.hidden) Object.assign(img, { src: new URL(qr.png, this.#login.server), alt: this.#words.qr });
  }

  async #showForm(load) {
    const form = this.#find("form"), face = this.#face;
    form.hidden = !load;
    form.replaceChildren();
    const module = await load?.();
    if (face === this.#face) module?.fill(form, this.#words, this.#login, dress);
  }

  async #copy() {
    const copied = await navigator.clipboard?.writeText(this.#login.view.code).then(() => true, () => false);
    // Selected, it can be copied by hand.
    if (copied) this.#find("[part=copy]").textContent = this.#words.copied;
    else getSelection().selectAllChildren(this.#find("[part=code]"));
  }

  #press() {
    const { state, kind, start, qr } = this.#login.view, { server } = this.#login;
    if (state !== "waiting") this.again();
    else if (kind === "code") location.assign("weixin://");
    else if (start) open(new URL(start, server), "_blank", "noopener,popup,width=480,height=640");
    else if (kind === "web") {
      const door = new URL(qr.content);
      const pending = this.getAttribute("authorize");
      const next = location.pathname + (pending ? `?pending=${pending}` : "");
      if (server.origin === location.origin) door.searchParams.set("next", next);
      location.assign(door);
    }
  }

  // Once a second, and outside the live region.
  #time() {
    const { state, began, fresh_until, ends, retry, trouble } = this.#login.view;
    const until = retry ?? (trouble ? 0 : { waiting: fresh_until, confirming: ends, registering: ends }[state]);
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000)) || 0;
    const share = until && until === fresh_until ? left / (until - began) * 1e5 : 0;
    this.#find(".time").setAttribute("stroke-dasharray", `${share} 200`);
    const text = `${left / 60 | 0}:${String(left % 60).padStart(2, "0")}`;
    const words = this.#words?.[retry ? "retry" : state === "waiting" ? "refresh" : "left"];
    const shows = until && words && left < (retry ? 600 : 3600);
    this.#find("[part=timer]").textContent = shows ? words.replace("{time}", text) : "";
  }
}

/**
 * Registers `<scan-login>`, once; later calls and calls outside of a browser do no harm. `server` is asked by
 * the elements that have no such attribute; default: the page's own origin.
 */
export function define({ server = "" } = {}) {
  if (server) ScanLoginElement.server = server;
  const { customElements } = globalThis;
  if (customElements && !customElements.get("scan-login")) customElements.define("scan-login", ScanLoginElement);
}

// The section of `/operator` for screens: pair one, see them all, and do what a screen needs.
//
// `/operator#pair=<code>`, which the QR code of a screen holds, opens it with the code filled in.

import { brief, fill } from "./operator-meters.js";
import { encode, path } from "./qr.js";

const SVG = "http://www.w3.org/2000/svg";

const make = (tag, text = "", more = {}) => Object.assign(document.createElement(tag), { textContent: text, ...more });

/** A field with its label around it. */
function field(text, more) {
  const label = make("label", "", { className: more.type === "checkbox" ? "check" : "field" });
  const input = make("input", "", { autocomplete: "off", spellcheck: false, ...more });
  const words = make("span", text);
  label.append(...(more.type === "checkbox" ? [input, words] : [words, input]));
  return [label, input];
}

function button(text, onclick, more = {}) {
  return make("button", text, { type: "button", className: "quiet", onclick, ...more });
}

/** The address as a QR code: a television's remote control types no secrets. */
function codeOf(address) {
  const rows = encode(address);
  const svg = document.createElementNS(SVG, "svg"), dark = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", `-2 -2 ${rows.length + 4} ${rows.length + 4}`);
  svg.setAttribute("class", "screen-qr");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "QR");
  dark.setAttribute("d", path(rows));
  svg.append(dark);
  return svg;
}

class Section {
  constructor(section, ask) {
    this.section = section;
    this.ask = ask;
    this.shown = new Map();
    this.version = "";
    this.now = 0;
    this.pairing = make("form", "", { className: "screen-pair" });
    this.list = make("div", "", { className: "screen-list" });
    this.said = make("p", "", { className: "small" });
    this.said.setAttribute("role", "status");
    this.title = make("h2", "", { id: "h-screens" });
    section.setAttribute("aria-labelledby", this.title.id);
    section.append(this.title, this.pairing, this.said, this.list);
    addEventListener("hashchange", () => this.readHash());
    new MutationObserver(() => this.speak()).observe(document.documentElement, { attributeFilter: ["lang"] });
    this.ready = this.speak();
  }

  async speak() {
    const lang = document.documentElement.lang;
    const words = await import(`./i18n/screens/${lang}.js`).then((module) => module.default, () => null);
    if (!words || lang !== document.documentElement.lang) return;
    this.words = words;
    this.title.textContent = words.title;
    this.said.textContent = "";
    const typed = this.code?.value ?? "";
    this.drawPairing();
    this.code.value = typed;
    this.readHash();
    this.shown.forEach((row) => row.article.remove());
    this.shown.clear();
    if (this.kiosks) this.draw();
  }

  say(text) {
    this.said.textContent = text;
  }

  /** Ask for a deed; whether it was done. What went wrong is said. */
  async done(url, method, body) {
    const answer = await this.ask(url, { method, body });
    if (answer.status >= 200 && answer.status < 300) {
      this.say("");
      return answer.body ?? {};
    }
    const { code, field: at } = answer.body?.error ?? {};
    const known = { 404: at === "code" ? "unknown_code" : "gone", 409: "taken", 429: "limited" };
    if (code === "bad_request" && at === "name") known[400] = "bad_name";
    this.say(this.words[known[answer.status] ?? "failed"]);
    return null;
  }

  // Pairing.

  drawPairing() {
    const { words } = this, [label, code] = field(words.code, { maxLength: 24, required: true, name: "code" });
    this.code = code;
    this.pairing.replaceChildren(label, make("button", words.find, { className: "solid" }));
    this.pairing.onsubmit = (event) => {
      event.preventDefault();
      this.find();
    };
    this.asker?.remove();
  }

  readHash() {
    const code = /^#pair=([\w-]{1,24})$/.exec(location.hash)?.[1];
    if (!code || !this.code || code === this.opened) return;
    this.code.value = code;
    this.section.scrollIntoView({ block: "start" });
    // Without the operator's token nothing can be asked yet.
    if (this.now) this.find();
  }

  /** Who asks with the code: the operator compares before the screen gets a name. */
  async find() {
    const { words } = this;
    this.opened = this.code.value.trim();
    this.asker?.remove();
    const seen = await this.done(`/api/operator/kiosks/pair?code=${encodeURIComponent(this.opened)}`);
    if (!seen) return;
    const form = this.asker = make("form", "", { className: "screen-asker" });
    const time = new Date(seen.since * 1000).toLocaleTimeString(document.documentElement.lang, { hour12: false });
    const code = `${seen.code.slice(0, 4)}-${seen.code.slice(4)}`;
    const [nameLabel, name] = field(words.name,
      { name: "name", required: true, maxLength: 32, autocapitalize: "none", placeholder: "lobby3" });
    const [labelLabel, label] = field(words.label, { name: "label", maxLength: 64 });
    const [padLabel, keypad] = field(words.keypad, { type: "checkbox", name: "keypad" });
    form.append(make("p", fill(words.found, { ...seen, time, code })), nameLabel, labelLabel, padLabel,
      make("button", words.pair, { className: "solid" }));
    form.onsubmit = async (event) => {
      event.preventDefault();
      const wish = { code: seen.code, name: name.value.trim(), label: label.value.trim(), keypad: keypad.checked };
      if (!await this.done("/api/operator/kiosks/pair", "POST", wish)) return;
      form.remove();
      this.code.value = "";
      history.replaceState(history.state, "", location.pathname + location.search);
      await this.refresh();
      this.say(fill(words.paired, { name: wish.name }));
    };
    this.pairing.after(form);
    name.focus();
  }

  // The list.

  async refresh() {
    const { status, body } = await this.ask("/api/operator/kiosks", {});
    if (status !== 200 || !this.words) return;
    this.kiosks = body.kiosks ?? [];
    this.draw();
  }

  draw() {
    const names = new Set(this.kiosks.map((kiosk) => kiosk.name));
    for (const [name, row] of this.shown) {
      if (names.has(name)) continue;
      row.article.remove();
      this.shown.delete(name);
    }
    this.empty?.remove();
    this.empty = null;
    if (!this.kiosks.length) {
      const address = `${location.origin}/kiosk`;
      this.list.append(this.empty = make("p", fill(this.words.none, { address }), { className: "small" }));
    }
    for (const kiosk of this.kiosks) {
      if (!this.shown.has(kiosk.name)) this.shown.set(kiosk.name, this.row(kiosk));
      const row = this.shown.get(kiosk.name);
      row.kiosk = kiosk;
      this.tell(row);
    }
  }

  row(kiosk) {
    const { words } = this, article = make("article", "", { className: "screen" });
    article.dataset.screen = kiosk.name;
    const row = {
      kiosk, article, heading: make("h3"), state: make("span", "", { className: "screen-state" }),
      facts: make("p", "", { className: "small" }), more: make("div", "", { className: "screen-more" }),
    };
    const deeds = make("div", "", { className: "row" });
    const open = (draw) => () => draw.call(this, row);
    deeds.append(button(words.notice, open(this.askNotice)), button(words.reload, open(this.reload)));
    if (!kiosk.configured) {
      deeds.append(button(words.rename, open(this.askName)), button(words.secret, open(this.newSecret)),
        button(words.revoke, open(this.askRevoke), { className: "quiet warn" }));
    }
    article.append(row.heading, row.facts, deeds, row.more);
    this.list.append(article);
    return row;
  }

  tell({ kiosk, heading, state, facts }) {
    const { words, now } = this, { up: isUp, last_seen_at: seenAt, code_age_seconds: age } = kiosk;
    const ago = seenAt == null ? null : Math.max(0, now - seenAt);
    state.textContent = isUp ? words.up : ago == null ? words.never : words.down;
    state.classList.toggle("up", isUp);
    const names = [kiosk.label && kiosk.name, kiosk.configured && words.in_settings].filter(Boolean).join(" · ");
    heading.replaceChildren(kiosk.label || kiosk.name, make("small", names), state);
    const page = kiosk.page === this.version ? words.page : words.old_page;
    facts.textContent = [
      ago != null && !isUp && fill(words.seen, { time: brief(ago) }), isUp && words[kiosk.transport], kiosk.browser,
      kiosk.page && fill(page, { version: kiosk.page }), age != null && fill(words.code_age, { time: brief(age) }),
      kiosk.notice && `${words.notice}: ${kiosk.notice}`,
      kiosk.replacing_secret && words.replacing,
    ].filter(Boolean).join(" · ");
  }

  // What a screen needs.

  url({ kiosk }, deed = "") {
    return ["/api/operator/kiosks", encodeURIComponent(kiosk.name), ...deed ? [deed] : []].join("/");
  }

  /** A form below the screen, with a way out; the same button again closes it. */
  form(row, kind, fields, text, submit) {
    const isOpen = row.more.dataset.kind === kind;
    row.more.replaceChildren();
    row.more.dataset.kind = isOpen ? "" : kind;
    if (isOpen) return;
    const form = make("form", "", { className: "screen-form" });
    const submitter = make("button", text, { className: "solid" });
    form.append(...fields, submitter, button(this.words.close, () => this.close(row)));
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (await submit()) {
        this.close(row);
        await this.refresh();
      }
    };
    row.more.append(form);
    form.querySelector("input")?.focus();
  }

  close(row) {
    row.more.replaceChildren();
    row.more.dataset.kind = "";
  }

  askNotice(row) {
    const [label, text] = field(this.words.notice_text, { name: "text", maxLength: 200, value: row.kiosk.notice });
    const submit = () => this.done(this.url(row, "notice"), "POST", { text: text.value });
    this.form(row, "notice", [label], this.words.save, submit);
  }

  async reload(row) {
    if (await this.done(this.url(row, "reload"), "POST")) this.say(this.words.reloading);
  }

  askName(row) {
    const { words } = this, { kiosk } = row;
    const [labelLabel, label] = field(words.label, { name: "label", maxLength: 64, value: kiosk.label });
    const [nameLabel, name] = field(words.name, { name: "name", maxLength: 32, required: true, value: kiosk.name });
    const [padLabel, keypad] = field(words.keypad, { type: "checkbox", name: "keypad", checked: kiosk.keypad });
    this.form(row, "rename", [labelLabel, nameLabel, padLabel], words.save, () => {
      const wish = { label: label.value.trim(), keypad: keypad.checked };
      if (name.value.trim() !== kiosk.name) wish.name = name.value.trim();
      return this.done(this.url(row), "PATCH", wish);
    });
  }

  async newSecret(row) {
    const made = await this.done(this.url(row, "secret"), "POST");
    if (!made) return;
    const address = location.origin + made.path;
    const shown = make("input", "", { readOnly: true, value: address, className: "screen-address" });
    shown.setAttribute("aria-label", this.words.secret);
    row.more.dataset.kind = "";
    row.more.replaceChildren(make("p", this.words.secret_hint), shown, codeOf(address),
      button(this.words.close, () => this.close(row)));
    shown.select();
  }

  askRevoke(row) {
    const hint = make("p", fill(this.words.revoke_hint, { name: row.kiosk.label || row.kiosk.name }));
    this.form(row, "revoke", [hint], this.words.revoke, () => this.done(this.url(row), "DELETE"));
  }
}

let mounted;

/** Fills the section. `ask(path, { method, body })` gives `{ status, body }` of the operator's API. */
export function mount(section, { ask }) {
  mounted = new Section(section, ask);
}

/** Called with each overview: that the operator is there, by which server and at what time. */
export async function update({ version = "", now }) {
  const isFirst = !mounted.now;
  Object.assign(mounted, { version, now: now ?? Date.now() / 1000 });
  await mounted.ready;
  if (isFirst) mounted.readHash();
  await mounted.refresh();
}

// What the login page and the page of the OpenID Provider have in common: the element, the login kinds, language and
// appearance, the simulated phone.

import { firstKind, inWeChat, kinds, meta, onPhone } from "./login-first.js";
import { chosenTheme, copyText, drawn, fill, keepTheme, offerLanguages, speak } from "./page.js";
import { keepKind, keepReference } from "./page.js";
import "./scan-login.js";

export const by = (id) => document.getElementById(id);
export const scan = by("scan");
const simulated = /^(true|1|yes)$/i.test(meta("simulated"));

/** `words` of the page's language, once they are there; `show` puts them where `data-t` does not. */
export const page = { words: null, show: () => {} };

const ENDED = ["failed", "denied", "expired"];
const CLAIMED = ["scanned", "confirming", "registering", "authorized"];

export function showKinds() {
  const list = kinds();
  const now = scan.getAttribute("kind") || "official_account";
  const buttons = list.map((kind) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: page.words[`kind_${kind}`] || kind });
    button.setAttribute("aria-pressed", kind === now);
    button.onclick = () => {
      keepKind(kind);
      scan.setAttribute("kind", kind);
      showKinds();
      showWay();
      by("kinds").querySelector("[aria-pressed=true]").focus();
    };
    return button;
  });
  const hint = document.createElement("p");
  hint.textContent = page.words.phone_hint;
  fill(by("kinds"), onPhone && !inWeChat ? [hint, ...buttons] : buttons);
  closeKinds();
}

/** The login kind does not change while a login is in progress. */
function closeKinds() {
  by("kinds").hidden = kinds().length < 2;
  // Their room stays, so that nothing moves.
  by("kinds").classList.toggle("unready", CLAIMED.includes(scan.login.view.state));
}

/** Heading and steps follow the login kind, and the step that comes next is marked. */
function showWay() {
  const { words } = page, { state } = scan.login.view;
  if (!words) return;
  const kind = scan.getAttribute("kind") || "official_account";
  // A phone cannot scan the screen that WeChat itself is on; elsewhere a code of kind web is scanned as any other.
  const way = inWeChat && kind !== "web" && kind !== "code" ? "hold" : kind === "web" && !inWeChat ? "" : kind;
  const { heading, steps } = words.ways[way] || words;
  by("heading").textContent = heading;
  const item = (step) => Object.assign(document.createElement("li"), { textContent: step });
  fill(by("steps"), steps.map(item));
  const next = CLAIMED.includes(state) ? 2 : 0;
  by("steps").children[next].setAttribute("aria-current", "step");
  showAccount(kind);
  showReference(scan.login.view);
  showTitle();
}

const said = scan.shadowRoot.querySelector("[part=title]");

/** The title of the tab tells what has become of the login. */
function showTitle() {
  const state = scan.login && scan.login.view.state;
  const text = [undefined, "starting", "waiting"].includes(state) ? page.words && page.words.title : said.textContent;
  if (text) document.title = `${text} · ${meta("site")}`;
}

new MutationObserver(showTitle).observe(said, { childList: true });

let scene = "";

/** What a person can tell the operator, who finds the login by it (docs/operations.md). */
function showReference({ state, trouble, scene_str: shown }) {
  if (shown || state === "starting" && !trouble) scene = shown || "";
  const [, first, second] = /^(.{4})(.{4})/.exec(scene.toUpperCase()) || [];
  const told = first && (trouble || ENDED.includes(state)) ? `${first}-${second}` : "";
  const line = by("reference");
  // Its room stays.
  line.classList.toggle("unready", !told);
  if (told) line.textContent = page.words.reference.replace("{id}", told);
  keepReference(told);
}

/** Where a number is typed, the account that it is sent to is named, and its code shown. */
function showAccount(kind) {
  const account = by("account"), name = by("account-name"), to = by("to-account"), { words } = page;
  if (!account) return;
  account.hidden = kind !== "code";
  if (by("account-qr")) {
    by("account-qr").alt = words.account_qr;
    by("account-hint").textContent = inWeChat ? words.account_press : onPhone ? words.account_save : words.account_hint;
  }
  if (!to) return;
  // In place of the element's own words, while it waits.
  to.slot = kind === "code" ? "waiting" : "none";
  by("to-account-title").textContent = words.to_account.replace("{account}", name.textContent);
  by("to-account-hint").textContent = words.to_account_hint;
  by("copy-account").onclick = async () => {
    const copied = await copyText(name.textContent);
    by("copied-account").textContent = copied ? words.copied : words.copy_failed;
    if (!copied) getSelection().selectAllChildren(name);
  };
}

/** Where the simulated phone does what a person would do with this code. */
function atThePhone({ state, trouble, kind, qr, scene_str }) {
  if (!simulated || state !== "waiting" || trouble) return "";
  if (kind === "mini_program") return `${meta("phone")}/m/?scene=${scene_str.replace(/-/g, "")}`;
  if (kind === "code") return `${meta("phone")}/phone`;
  return qr && /^https?:/.test(qr.content) ? qr.content : "";
}

let held;
document.addEventListener("focusin", (event) => {
  held = by("stage").contains(event.target) ? event.composedPath()[0] : null;
});

/** Where what had the focus in the stage is gone, the next Tab goes on from there, not from the top. */
function keepFocus() {
  const gone = held && (!held.getClientRects().length || getComputedStyle(held).visibility === "hidden");
  // Nothing else has it by now; it may also have left the page.
  if (gone && [document.body, null].includes(document.activeElement)) by("stage").focus({ preventScroll: true });
}

// Browsers take it from what is hidden when they draw, and some tell nothing of what is removed.
by("stage").addEventListener("focusout", () => setTimeout(keepFocus));
scan.addEventListener("change", ({ detail }) => {
  if (held) requestAnimationFrame(() => setTimeout(keepFocus));
  if (detail.scene_str) drawn(true);
  const address = atThePhone(detail), link = by("phone-link");
  // Its room stays, so that the code does not move.
  by("phone").classList.toggle("unready", !address);
  closeKinds();
  link.dataset.t = scan.getAttribute("kind") === "code" ? "phone_chat" : "phone";
  link.textContent = page.words ? page.words[link.dataset.t] : "";
  if (address) link.href = address;
  showWay();
});

async function changeLanguage(lang) {
  const spoken = await speak(lang);
  if (!spoken) return false;
  page.words = spoken;
  scan.lang = lang;
  page.show();
  showWay();
  document.documentElement.classList.remove("coming");
  drawn();
  return true;
}

/** To be called when `page.show` is set. */
export function open() {
  // Before the element's first request, so that no code is spent on a login kind that is not used.
  scan.lang = document.documentElement.lang;
  if (firstKind) scan.setAttribute("kind", firstKind);
  by("site").textContent = meta("site");
  by("simulated").hidden = by("phone").hidden = !simulated;
  offerLanguages(changeLanguage);
  by("theme").value = chosenTheme();
  by("theme").onchange = ({ target }) => keepTheme(target.value);
  changeLanguage(document.documentElement.lang);
}

// The page `/kiosk#<name>:<secret>`: a screen that shows codes all day and is never touched.
//
// One scene is shown. The person who scans it becomes a guest, greeted in a line of their own, and the
// next code takes its place at once. A spare code is begun shortly before the shown one ends, and
// while people keep coming, so that an idle screen spends one code per life. No token comes here:
// an exchange code is handed to `document` as the event `scanpush-exchange`, for a kiosk's shell.

import { begin } from "./begin.js";
import { lang, name, secret } from "./kiosk-first.js";
import { jitter, SceneWatch } from "./scan-client.js";
import { drawn } from "./page.js";
import { fill, send } from "./scan-number.js";
import { encode, path, warmUp } from "./qr.js";

const SPARE_BEFORE = 20_000, BUSY = 600_000, GREETING = 5_000, WORDS_AGAIN = 5_000, DAY = 86_400_000;
const ENDINGS = ["authorized", "denied", "failed", "expired", "cancelled"];
const by = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name="scanpush-${name}"]`).content.trim();
const opened = Date.now();
const way = {};
let words, states, shown, spare, guests = [], atPad, timer, tries = 0, busyUntil = 0, beginning = false, beat = Date.now();

// A corrected address is another screen.
addEventListener("hashchange", () => location.reload());

/** Begin one scene; the way it fails says what the screen shows. */
async function fetchScene() {
  if (beginning) return;
  beginning = true;
  const { scene, status, retryAfter, body } = await begin(location.origin, { kiosk: name, lang }, secret);
  beginning = false;
  if (scene) {
    tries = 0;
    drawn(true);
    by("label").textContent = words.screen.replace("{label}", scene.label ?? name);
    return follow(scene);
  }
  // What the browser believes of its network only words a failure.
  const known = { 0: navigator.onLine ? "degraded" : "offline", 401: "unknown", 403: "unknown", 429: "limited" };
  if (!isFresh(shown)) say(known[status] ?? `degraded ${body.error?.code}`);
  const least = status === 401 || status === 403 ? 60 : 1;
  plan(Math.max(retryAfter, least, jitter(tries++, 2, 30)) * 1000);
}

function follow(scene) {
  const watch = new SceneWatch(location.origin, scene, way);
  watch.addEventListener("status", () => onStatus(watch));
  watch.addEventListener("path", () => { by("way").dataset.way = watch.transport; });
  watch.addEventListener("end", () => onEnd(watch));
  if (isFresh(shown)) spare = watch;
  else show(watch);
  keepUp();
}

const isFresh = (watch) => !!watch && !watch.ended && watch.status.state === "waiting" && watch.scene.fresh_until > Date.now();

function show(watch) {
  const { content } = watch.scene.qr, code = by("code"), rows = encode(content);
  code.setAttribute("viewBox", `-1 -1 ${rows.length + 2} ${rows.length + 2}`);
  code.firstElementChild.setAttribute("d", path(rows));
  code.toggleAttribute("hidden", false);
  by("plate").classList.remove("empty");
  by("trouble").replaceChildren();
  shown = watch;
  by("plate").dataset.scene = watch.scene.scene_str;
  // Long-running tabs are renewed when it is safe: the server is there, and no login is in progress.
  if (Date.now() - opened > DAY && !by("guests").children.length) location.reload();
}

/** No code to be had: the plate says why. A stale code is never left standing. */
function say(why) {
  const [title, hint] = why === "unknown" ? [words.unknown, words.unknown_hint] : states[why] ?? states.degraded;
  const small = document.createElement("small");
  small.textContent = hint;
  by("code").toggleAttribute("hidden", true);
  by("code").firstElementChild.setAttribute("d", "");
  by("plate").classList.add("empty");
  by("trouble").replaceChildren(title, small);
}

function onStatus(watch) {
  const { state } = watch.status;
  if (state === "waiting") return;
  if (watch === shown || watch === spare) {
    if (state !== "expired") busyUntil = Date.now() + BUSY;
    if (watch === spare) spare = null;
    else advance();
  }
  if (state !== "expired" && state !== "cancelled") greet(watch);
  showPad();
  if (watch.status.exchange_code && !watch.handed) {
    watch.handed = true;
    const { scene_str, exchange_code } = watch.status;
    document.dispatchEvent(new CustomEvent("scanpush-exchange", { detail: { scene_str, exchange_code } }));
  }
}

/** The next code takes the place of the shown one, at once when a spare is there. */
function advance() {
  shown = null;
  keepUp();
}

/** Gone without a word (a server that lost its scenes) or ended: it is not shown any longer. */
function onEnd(watch) {
  if (watch === spare) spare = null;
  if (watch === shown) advance();
  showPad();
}

/** A keypad stands on the plate while a guest has to type a number there; of several, the first comes first. */
function showPad() {
  guests = guests.filter((guest) => !guest.ended && guest.status.confirm === "number");
  const [guest] = guests;
  by("plate").classList.toggle("asks", !!guest);
  by("pad").hidden = !guest;
  if (guest === atPad) return;
  atPad = guest;
  by("number").replaceChildren();
  if (!guest) return;
  sayTo(by("pad-guest"), words.number, guest);
  fill(by("number"), states, { number: (digits) => send(guest, digits) });
  by("leave").textContent = words.cancel;
  by("leave").onclick = () => {
    guest.line?.remove();
    guest.cancel();
  };
}

/** A line for this guest, which follows the login and goes a few seconds after its end. */
function greet(watch) {
  const { state, user } = watch.status;
  const line = watch.line ??= by("guests").appendChild(document.createElement("li"));
  let face = state === "consumed" ? "authorized" : state;
  if (watch.status.confirm === "number") face = "number", guests.includes(watch) || guests.push(watch);
  if (face === "denied" && watch.numbered) face = "wrong_number";
  watch.guest = user?.name || watch.guest;
  line.className = face;
  sayTo(line, face === "authorized" && !watch.guest ? words.welcome : words[face] ?? words.failed, watch);
  if (ENDINGS.includes(state)) setTimeout(() => line.remove(), GREETING);
  else watch.addEventListener("end", () => setTimeout(() => line.remove(), GREETING), { once: true });
  while (by("guests").children.length > 3) by("guests").firstChild.remove();
}

function sayTo(element, text, { guest }) {
  const bdi = document.createElement("bdi");
  bdi.textContent = [...(guest ?? words.somebody)].slice(0, 24).join("");
  element.replaceChildren(...text.split("{name}").flatMap((part, i) => (i ? [bdi, part] : part)));
}

/** Whatever should be begun now, or later. */
function keepUp() {
  if (!isFresh(shown)) {
    // It was up for long enough; a scan that has just begun is still followed to the end.
    shown = null;
    if (!isFresh(spare)) return fetchScene();
    show(spare);
    spare = null;
  }
  const now = Date.now(), end = shown.scene.fresh_until;
  if (isFresh(spare)) return plan(end - now);
  if (now < busyUntil || now >= end - SPARE_BEFORE) return fetchScene();
  plan(end - SPARE_BEFORE - now);
}

function plan(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(keepUp, Math.max(250, milliseconds));
}

/** Once a second: the clock; and after a sleep, everything afresh. */
function pulse() {
  const now = new Date();
  by("clock").textContent = now.toLocaleTimeString(lang, { hour: "2-digit", minute: "2-digit" });
  by("clock").dateTime = now.toISOString();
  if (now - beat > 20_000) wake();
  beat = +now;
  if (shown && !isFresh(shown) && !isFresh(spare) && !by("code").hasAttribute("hidden")) say("starting");
  // A few pixels round and round, so that no picture burns into the screen.
  const turn = (now / 60_000 | 0) % 8 * Math.PI / 4;
  by("wall").style.transform = `translate(${Math.round(6 * Math.cos(turn))}px, ${Math.round(6 * Math.sin(turn))}px)`;
}

function wake() {
  tries = 0;
  shown?.wake();
  spare?.wake();
  keepUp();
}

async function stayAwake() {
  if (document.visibilityState !== "visible") return;
  // Refused on low battery or by policy: the screen's own settings decide then.
  await navigator.wakeLock?.request("screen").catch(() => null);
}

/** A screen that starts before its network does keeps trying. */
async function wordsOf(file) {
  const module = await import(file).catch(() => new Promise((resolve) => setTimeout(resolve, WORDS_AGAIN)));
  return module?.default ?? wordsOf(file);
}

async function start() {
  document.documentElement.lang = lang;
  states = await wordsOf(`./i18n/${lang}.js`);
  const page = await wordsOf(`./i18n/pages/${lang}.js`);
  words = page.kiosk;
  for (const id of ["heading", "hint"]) by(id).textContent = words[id];
  by("code").setAttribute("aria-label", states.qr);
  by("site").textContent = document.title = meta("site");
  by("label").textContent = words.screen.replace("{label}", name);
  by("simulated").textContent = page.simulated;
  by("simulated").hidden = !/^(true|1|yes)$/i.test(meta("simulated"));
  say("starting");
  addEventListener("online", wake);
  addEventListener("offline", wake);
  document.addEventListener("visibilitychange", stayAwake);
  stayAwake();
  pulse();
  setInterval(pulse, 1000);
  if (name && secret) fetchScene(), warmUp();
  else say("unknown");
  drawn();
}

start();

// The page `/kiosk`: a screen that shows codes all day and is touched only where it has a keypad.
//
// One scene is shown. The person who scans it is answered on the plate and becomes a guest with a line of
// their own, and the next code takes its place. A spare code is begun shortly before the shown one ends, and
// while people keep coming, so that an idle screen spends one code per life. No token comes here:
// an exchange code is handed to `document` as the event `scanpush-exchange`, for a kiosk's shell.
// A screen without a secret is paired first (kiosk-pair.js); what the operator does to it comes with its
// scenes: a reload, a notice, another label, its end.

import { begin } from "./begin.js";
import { forget, isTyped, keep, lang, name, secret, wish } from "./kiosk-first.js";
import { pair, wakePairing } from "./kiosk-pair.js";
import { jitter, SceneWatch } from "./scan-client.js";
import { drawn } from "./page.js";
import { fill, send } from "./scan-number.js";
import { encode, path, warmUp } from "./qr.js";

const SECOND = 1000, SPARE_BEFORE = 20 * SECOND, BUSY = 600 * SECOND, GREETING = 5 * SECOND;
const WORDS_AGAIN = 5 * SECOND, DAY = 86400 * SECOND, ANSWER = 1.6 * SECOND, FRESH = 2 * SECOND;
const RELOAD_WITHIN = 60 * SECOND;
const ENDINGS = ["authorized", "denied", "failed", "expired", "cancelled"];
const by = (id) => document.getElementById(id);
const meta = (name) => document.querySelector(`meta[name="scanpush-${name}"]`).content.trim();
const opened = Date.now();
const way = {};
let words, states, shown, spare, guests = [], atPad, timer, tries = 0, busyUntil = 0, beginning = false;
let beat = Date.now();
let answered, answerTimer, freshTimer, pairing = false, codeUntil = 0, reloaded, reloadBy;

// A corrected address is another screen.
addEventListener("hashchange", () => location.reload());

function empty(element) {
  while (element.firstChild) element.firstChild.remove();
}

/** Begin one scene; the way it fails says what the screen shows. */
async function fetchScene() {
  if (beginning || pairing) return;
  beginning = true;
  const { scene, status, retryAfter, body } = await begin(location.origin, wish, secret);
  beginning = false;
  if (pairing) return;
  if (scene) {
    tries = 0;
    drawn(true);
    const { screen } = scene;
    // The first answer tells which reload this page is the result of.
    if (reloaded === undefined) reloaded = screen && screen.reload || null;
    heed(Object.assign({ label: scene.label || name }, screen));
    return follow(scene);
  }
  // What a pairing gave is over; a mistake in the address is for the person who typed it.
  if (status === 401 && !isTyped) return startPairing(true);
  // What the browser believes of its network only words a failure.
  const known = {
    0: navigator.onLine ? "degraded" : "offline", 401: "unknown", 403: "unknown",
    404: [words.pair_off, words.pair_off_hint], 429: "limited",
  };
  if (!isFresh(shown)) say(known[status] || `degraded ${body.error && body.error.code}`);
  const least = status === 401 || status === 403 || status === 404 ? 60 : 1;
  plan(Math.max(retryAfter, least, jitter(tries++, 2, 30)) * SECOND);
}

function follow(scene) {
  const watch = new SceneWatch(location.origin, scene, way);
  watch.addEventListener("status", () => onStatus(watch));
  watch.addEventListener("screen", ({ detail }) => heed(detail));
  watch.addEventListener("path", () => { by("way").dataset.way = watch.transport; });
  watch.addEventListener("end", () => onEnd(watch));
  if (isFresh(shown)) spare = watch;
  else show(watch);
  keepUp();
}

const isFresh = (watch) =>
  !!watch && !watch.ended && watch.status.state === "waiting" && watch.scene.fresh_until > Date.now();

function draw(content) {
  const code = by("code"), rows = encode(content);
  code.setAttribute("viewBox", `-1 -1 ${rows.length + 2} ${rows.length + 2}`);
  code.firstElementChild.setAttribute("d", path(rows));
  code.removeAttribute("hidden");
  by("plate").classList.remove("empty", "down");
  empty(by("trouble"));
}

function show(watch) {
  draw(watch.scene.qr.content);
  shown = watch;
  codeUntil = watch.scene.fresh_until;
  if (by("plate").dataset.scene && by("answer").hidden) markFresh();
  by("plate").dataset.scene = watch.scene.scene_str;
  // Long-running tabs are renewed when it is safe: the server is there, and no login is in progress.
  if (Date.now() - opened > DAY && !by("guests").children.length) location.reload();
}

/** Another code than the one before it: seen from afar. */
function markFresh() {
  const { classList } = by("plate");
  classList.remove("fresh");
  // Read, so that the animation begins again.
  void by("plate").offsetWidth;
  classList.add("fresh");
  clearTimeout(freshTimer);
  freshTimer = setTimeout(() => classList.remove("fresh"), FRESH);
}

/** The plate itself answers a scan, and the login that follows from it. */
function answer(watch, isWelcome) {
  const title = by("answer-title"), isNew = answered !== watch;
  if (isWelcome) sayTo(title, watch.guest ? words.authorized : words.welcome, watch);
  else sayTo(title, watch.guest ? states.scanned[0] : words.scan, watch);
  by("answer-hint").textContent = isWelcome ? "" : states.scanned[1];
  // Another word for the same guest leaves it as long as it is up; more would keep the next person from the code.
  if (!isNew && !by("answer").hidden) return;
  answered = watch;
  by("answer").hidden = false;
  clearTimeout(answerTimer);
  answerTimer = setTimeout(endAnswer, ANSWER);
}

function endAnswer() {
  by("answer").hidden = true;
  if (isFresh(shown)) markFresh();
  else if (!pairing && !by("plate").classList.contains("empty")) say("starting");
}

/** No code to be had: the plate says why. A stale code is never left standing. */
function say(why) {
  const [title, hint] = Array.isArray(why) ? why
    : why === "unknown" ? [words.unknown, words.unknown_hint] : states[why] || states.degraded;
  const small = document.createElement("small");
  small.textContent = hint;
  by("code").setAttribute("hidden", "");
  by("code").firstElementChild.setAttribute("d", "");
  by("plate").classList.add("empty");
  by("plate").classList.toggle("down", why !== "starting");
  by("plate").classList.remove("fresh");
  empty(by("trouble"));
  by("trouble").append(title, small);
  codeUntil = 0;
}

function onStatus(watch) {
  const { state } = watch.status;
  if (state === "waiting" || pairing) return;
  const wasOffered = watch === shown || watch === spare;
  if (state !== "expired" && state !== "cancelled") {
    greet(watch);
    if (state === "authorized" || wasOffered && !ENDINGS.includes(state)) answer(watch, state === "authorized");
  }
  if (wasOffered) {
    if (state !== "expired") busyUntil = Date.now() + BUSY;
    if (watch === spare) spare = null;
    else advance();
  }
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
  empty(by("number"));
  if (!guest) return;
  sayTo(by("pad-guest"), words.number, guest);
  fill(by("number"), states, { number: (digits) => send(guest, digits) });
  by("leave").textContent = words.cancel;
  by("leave").onclick = () => {
    if (guest.line) guest.line.remove();
    guest.cancel();
  };
}

/** A line for this guest, which follows the login and goes a few seconds after its end. */
function greet(watch) {
  const { state, user } = watch.status;
  if (!watch.line) watch.line = by("guests").appendChild(document.createElement("li"));
  const { line } = watch;
  let face = state === "consumed" ? "authorized" : state;
  if (watch.status.confirm === "number") face = "number", guests.includes(watch) || guests.push(watch);
  if (face === "denied" && watch.numbered) face = "wrong_number";
  watch.guest = user && user.name || watch.guest;
  line.className = face;
  sayTo(line, face === "authorized" && !watch.guest ? words.welcome : words[face] || words.failed, watch);
  if (ENDINGS.includes(state)) setTimeout(() => line.remove(), GREETING);
  else watch.addEventListener("end", () => setTimeout(() => line.remove(), GREETING), { once: true });
  while (by("guests").children.length > 3) by("guests").firstChild.remove();
}

function sayTo(element, text, { guest }) {
  const bdi = document.createElement("bdi");
  bdi.textContent = [...(guest || words.somebody)].slice(0, 24).join("");
  empty(element);
  text.split("{name}").forEach((part, i) => element.append(...(i ? [bdi, part] : [part])));
}

/** What the operator does to this screen. */
function heed({ label, notice, reload, revoked }) {
  if (revoked) return startPairing(true);
  if (label) by("label").textContent = words.screen.replace("{label}", label);
  if (notice !== undefined) by("notice").textContent = notice || "";
  if (!reload || reload <= reloaded) return;
  reloaded = reload;
  reloadBy = Date.now() + RELOAD_WITHIN;
  reloadNow();
}

/** As soon as no login is in progress, and soon in any case. */
function reloadNow() {
  if (!by("guests").children.length || Date.now() > reloadBy) location.reload();
}

/** Show codes for the operator until one of them has been used; `isRevoked`: this screen had a secret until now. */
async function startPairing(isRevoked) {
  if (pairing) return;
  pairing = true;
  clearTimeout(timer);
  clearTimeout(answerTimer);
  if (isRevoked) forget();
  const over = [shown, spare, ...guests].filter(Boolean);
  shown = spare = null;
  for (const watch of over) watch.stop();
  for (const id of ["guests", "label", "notice"]) empty(by(id));
  by("answer").hidden = true;
  showPad();
  by("way").dataset.way = "";
  by("heading").textContent = isRevoked ? words.revoked : words.pair;
  by("hint").textContent = words.pair_hint.replace("{address}", `${location.host}/operator`);
  by("pair-code").hidden = false;
  by("code").setAttribute("aria-label", words.pair);
  say("starting");
  const paired = await pair({
    code(code, until) {
      drawn(true);
      draw(`${location.origin}/operator#pair=${code}`);
      by("pair-code").textContent = code.replace(/^(\w{4})(\w{4})$/, "$1-$2");
      codeUntil = until;
    },
    trouble(status) {
      const known = { 0: navigator.onLine ? "degraded" : "offline", 429: "limited" };
      say(status === 404 ? [words.pair_off, words.pair_off_hint] : known[status] || "degraded");
    },
  });
  keep(paired.name, paired.secret);
  location.reload();
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
  by("clock").textContent = now.toLocaleTimeString(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  by("clock").dateTime = now.toISOString();
  if (now - beat > 20 * SECOND) wake();
  beat = +now;
  const isStale = !pairing && !isFresh(shown) && !isFresh(spare);
  if (isStale && by("answer").hidden && !by("plate").classList.contains("empty")) say("starting");
  if (reloadBy) reloadNow();
  const left = Math.ceil((codeUntil - now) / SECOND), time = `${left / 60 | 0}:${`${left % 60}`.padStart(2, "0")}`;
  by("left").textContent = left > 0 ? states.refresh.replace("{time}", time) : "";
  // A few pixels round and round, so that no picture burns into the screen.
  const turn = (now / 60000 | 0) % 8 * Math.PI / 4;
  by("wall").style.transform = `translate(${Math.round(6 * Math.cos(turn))}px, ${Math.round(6 * Math.sin(turn))}px)`;
}

function wake() {
  tries = 0;
  if (pairing) return wakePairing();
  if (shown) shown.wake();
  if (spare) spare.wake();
  keepUp();
}

async function stayAwake() {
  if (document.visibilityState !== "visible") return;
  // Refused on low battery or by policy: the screen's own settings decide then.
  if (navigator.wakeLock) await navigator.wakeLock.request("screen").catch(() => null);
}

/** A screen that starts before its network does keeps trying. */
async function wordsOf(file) {
  const module = await import(file).catch(() => new Promise((resolve) => setTimeout(resolve, WORDS_AGAIN)));
  return module && module.default || wordsOf(file);
}

async function start() {
  document.documentElement.lang = lang;
  states = await wordsOf(`./i18n/${lang}.js`);
  const page = await wordsOf(`./i18n/pages/${lang}.js`);
  words = page.kiosk;
  for (const id of ["heading", "hint"]) by(id).textContent = words[id];
  by("code").setAttribute("aria-label", states.qr);
  by("site").textContent = document.title = meta("site");
  by("simulated").textContent = page.simulated;
  by("simulated").hidden = !/^(true|1|yes)$/i.test(meta("simulated"));
  say("starting");
  if (name) by("label").textContent = words.screen.replace("{label}", name);
  addEventListener("online", wake);
  addEventListener("offline", wake);
  document.addEventListener("visibilitychange", stayAwake);
  stayAwake();
  pulse();
  setInterval(pulse, SECOND);
  if (name && secret) fetchScene(), warmUp();
  else if (isTyped) say("unknown");
  else startPairing(false);
  drawn();
}

start();

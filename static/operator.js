// The page `/operator`: what GET /api/operator/overview says, every two seconds; failed logins, one scene's
// timeline, and the parts that are modules of their own. The operator's token is asked for once a tab; it is kept
// longer only where the operator wants that.

import { request } from "./begin.js";
import { jitter } from "./scan-client.js";
import { mount, update } from "./operator-screens.js";
import { drawn, followTheme, offerLanguages, speak } from "./page.js";
import { STATES, bars, chart, clock, count, fill, judge, make, milliseconds, moment } from "./operator-meters.js";
import { nameUnits, problems, shortId, showProblems, showTiles, span, table, timeline } from "./operator-meters.js";

const EVERY = 2000, OTHERS_EVERY = 3000, OTHERS_TRIES = 4;
const by = (id) => document.getElementById(id);
let words, token = "", timer, tries = 0, latest, shown = "", found = "", audit = null, meanings = null;

// The token, in this tab, or in this browser where the operator says so.

const storage = (name) => {
  try {
    return globalThis[name];
  } catch {
    // A browser without storage asks again after each reload.
    return null;
  }
};
const KEPT = "scanpush operator";
const keptToken = () => storage("sessionStorage")?.getItem(KEPT) ?? storage("localStorage")?.getItem(KEPT) ?? "";
const isKept = () => Boolean(storage("localStorage")?.getItem(KEPT));

function keepToken(value, longer) {
  storage("sessionStorage")?.setItem(KEPT, value);
  if (longer) storage("localStorage")?.setItem(KEPT, value);
}

function forgetToken() {
  storage("sessionStorage")?.removeItem(KEPT);
  storage("localStorage")?.removeItem(KEPT);
}

/** Asks one of the operator's routes. Resolves always; `status` 0: nothing usable came back. */
const ask = (path, { method, body } = {}) => request(path, { method, bearer: token, json: body });

/** Has the browser save what a route answers, whatever its form; whether it could. */
async function download(path, name) {
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(path, { headers, cache: "no-store" }).catch(() => null);
  if (!answer?.ok) return false;
  const link = Object.assign(make("a"), { href: URL.createObjectURL(await answer.blob()), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
  return true;
}

// What is drawn of an overview.

function showHour({ hour }) {
  if (!hour) return;
  const { from, series } = hour, says = words.chart;
  const draw = (id, title, unit, ...lines) => chart(by(id), {
    title, unit, from, lines,
    summary: lines.map(([, name, values]) => `${name}: ${count(Math.max(...values))}`).join(", "),
  });
  const taken = series.callbacks.map((all, at) => all - series.refused[at]);
  draw("logins-chart", says.logins, says.a_minute,
    ["good", says.authorized, series.authorized], ["bad", says.failed, series.failed],
    ["other", says.denied, series.denied]);
  draw("callbacks-chart", says.callbacks, says.a_minute,
    ["bad", says.refused, series.refused], ["good", says.taken, taken]);
  draw("sockets-chart", says.sockets, says.most, ["good", says.sockets, series.sockets]);
  draw("stores-chart", says.stores, says.slowest, ["good", says.stores, series.store_ms]);
}

const ago = (seconds) => fill(words.ago, { time: span(Math.max(0, Math.floor(latest.now - seconds))) });
const several = () => latest?.backend === "distributed";

/** docs/errors.md as this server has it, in Chinese or in English. */
const errorsFile = () => `/operator/errors?lang=${document.documentElement.lang}`;

/** An errcode leads to its line in docs/errors.md. */
function errcodeLink(errcode) {
  const link = make("a", errcode);
  return Object.assign(link, { href: `${errorsFile()}#:~:text=${errcode}`, target: "_blank", rel: "noopener" });
}

/** What errcodes mean in Chinese stands in the table of that file; an overview has it in English. */
async function learnMeanings() {
  const learned = meanings = {};
  const text = await fetch(errorsFile()).then((answer) => answer.ok ? answer.text() : "", () => "");
  for (const line of text.split("\n")) {
    const [, errcode, meaning] = /^\| (-?\d+) \| ([^|]+) \| [a-z_]+ \|/.exec(line) ?? [];
    if (errcode) learned[errcode] = meaning;
  }
  if (latest && meanings === learned) show(latest);
}

/** One row for each store on the nodes that it answers, with the slowest of them; one for each where it does not. */
function storeRows(reports) {
  const seen = reports.filter(({ gone }) => !gone).flatMap(({ node_id, stores = [] }) =>
    stores.map((store) => ({ ...store, node_id })));
  const names = [...new Set(seen.map(({ store }) => store))];
  const worst = (of, figure) => milliseconds(Math.max(...of.map((one) => one[figure])));
  return names.flatMap((name) => {
    const nodes = seen.filter(({ store }) => store === name), up = nodes.filter((one) => one.up);
    const label = `${nodes[0].engine} · ${words.store[name] ?? name}`;
    const down = nodes.filter((one) => one.up === false).map((one) => {
      const told = [one.answered_at ? fill(words.down_since, { time: clock(one.answered_at) }) : words.no];
      if (several()) told.push(fill(words.on_node, { node: one.node_id }));
      return [label, [told.join(" · "), "bad long"], "–", "–"];
    });
    const yes = several() ? fill(words.yes_nodes, { n: up.length }) : words.yes;
    if (up.length) return [...down, [label, yes, worst(up, "median_ms"), worst(up, "most_ms")]];
    return down.length ? down : [[label, words.not_checked, "–", "–"]];
  });
}

function showTables({ wechat = [], reports = [], nodes = [], callbacks = [], errors = [] }) {
  const { head } = words;
  table(by("callbacks"), [head.outcome, head.account, head.count, head.last], callbacks.map((entry) => [
    [words.outcome[entry.outcome] ?? entry.outcome, entry.refused ? "bad" : ""], entry.account, count(entry.count),
    ago(entry.last_at),
  ]), words.nothing_yet);
  table(by("errors"), [head.errcode, head.meaning, head.count, head.last], errors.map((entry) => [
    errcodeLink(entry.errcode), [entry.meaning, entry.alarming ? "bad long" : "long"], count(entry.count),
    ago(entry.last_at),
  ]), words.none);
  const levels = judge(latest).levels;
  const errorsOf = (account) => {
    const found = Object.entries(account.errors ?? {}), made = make("span");
    made.append(...found.flatMap(([code, times], at) => [at ? ", " : "", errcodeLink(code), ` × ${times}`]));
    return found.length ? [made, "bad"] : words.none;
  };
  table(by("wechat"), [head.account, head.credential, head.codes, head.errors], wechat.map((account) => [
    account.account,
    [span(account.credential_expires_in), levels.credential ? "bad" : ""],
    [account.codes_left == null ? "–" : count(account.codes_left), levels.codes ? "bad" : ""],
    errorsOf(account),
  ]), words.none);
  table(by("stores"), [head.store, head.answers, head.median, head.most], storeRows(reports), words.none);
  const hours = Object.fromEntries(reports.map((report) => [report.node_id, report]));
  const of = (node, name) => count(hours[node]?.hour[name]);
  const p99 = (node, name) => milliseconds(hours[node]?.latency[name]?.p99_ms);
  const gone = reports.filter((report) => report.gone);
  table(by("nodes"), [head.node, head.state, head.sockets, head.logins, head.failed, head.refused, head.callback,
    head.push, head.uptime, head.version], [
    ...nodes.map((node) => [node.node_id, node.draining ? [words.draining, "bad"] : words.running, count(node.sockets),
      of(node.node_id, "authorized"), of(node.node_id, "failed"), of(node.node_id, "refused"),
      p99(node.node_id, "callback"), p99(node.node_id, "push"), span(node.uptime_seconds), node.version ?? ""]),
    ...gone.map(({ node_id, told_at, ended }) => [node_id,
      [fill(ended ? words.ended : words.gone, { time: clock(told_at) }), ended ? "" : "bad"], "–",
      of(node_id, "authorized"), of(node_id, "failed"), of(node_id, "refused"), p99(node_id, "callback"),
      p99(node_id, "push"), "–", "–"]),
  ], words.none);
}

function showFailures({ failures = [] }) {
  const key = JSON.stringify([document.documentElement.lang, failures]);
  // What the operator has opened stays open until there is something else to show.
  if (key === shown) return;
  shown = key;
  const open = new Set([...by("failures").querySelectorAll("details[open]")].map(({ dataset }) => dataset.scene));
  by("failures").replaceChildren(...failures.length ? failures.map((failure) => {
    const details = make("details"), summary = make("summary"), time = make("time", clock(failure.at));
    time.dateTime = new Date(failure.at * 1000).toISOString();
    details.dataset.scene = failure.scene_str;
    details.open = open.has(failure.scene_str);
    const why = (words.failure[failure.error] ?? failure.error) || words.left_in[failure.left_in];
    summary.append(time, make("code", shortId(failure.scene_str)),
      make("b", why || words.failure[failure.state] || failure.state),
      make("span", [failure.account, failure.kind, failure.kiosk].filter(Boolean).join(" · ")));
    details.append(summary, timeline(failure.timeline, failure.timeline[0]?.at, words, several()));
    return details;
  }) : [make("p", words.none, "small")]);
}

function show(overview) {
  latest = overview;
  if (!meanings && overview.errors?.length && document.documentElement.lang.startsWith("zh")) learnMeanings();
  const errors = overview.errors?.map((one) => ({ ...one, meaning: meanings?.[one.errcode] ?? one.meaning }));
  const seen = { ...overview, errors };
  by("fresh").textContent = fill(words.updated, { time: clock(seen.now) });
  const wrong = problems(seen, words), text = JSON.stringify([document.documentElement.lang, wrong]);
  // A list that is put there again would be read aloud again.
  if (by("problems").dataset.shown !== text) showProblems(by("problems"), wrong, words, errcodeLink);
  by("problems").dataset.shown = text;
  showTiles(by("tiles"), seen, words);
  showHour(seen);
  const added = (name) =>
    seen.hour ? seen.hour.series[name].reduce((all, value) => all + value, 0) : seen.funnel?.[name];
  bars(by("funnel"), ["shown", "scanned", "authorized", "consumed"].map((step) => [words[step], added(step) ?? 0]), "");
  const scenes = {};
  const live = (seen.reports ?? [seen]).filter(({ gone }) => !gone);
  for (const [state, n] of live.flatMap((report) => Object.entries(report.scenes ?? {})))
    scenes[state] = (scenes[state] ?? 0) + n;
  const states = STATES.filter((state) => state in scenes);
  bars(by("scenes"), states.map((state) => [words.event[state], scenes[state]]), words.none);
  showTables(seen);
  showFailures(seen);
  update(seen);
  audit?.update(seen);
}

async function refresh() {
  clearTimeout(timer);
  const mine = token;
  const { status, body } = await ask("/api/operator/overview");
  if (mine !== token) return;
  if (status === 200) {
    tries = 0;
    drawn(true);
    by("alert").textContent = "";
    enter(true);
    show(body);
  } else if ([401, 403, 404].includes(status)) {
    leave();
    by("alert").textContent = words.refused;
    return;
  } else by("alert").textContent = words.unreachable;
  timer = setTimeout(refresh, status === 200 ? EVERY : EVERY + 1000 * jitter(tries++));
}

// The part about people and events is asked for when the operator is in: it is of no use before.

async function openParts() {
  if (by("parts").childElementCount) return;
  const section = make("section", "", "part");
  by("parts").append(section);
  // Where it is lost on the way the rest of the page goes on.
  audit = await import("./operator-audit.js").catch(() => null);
  if (!audit || !section.isConnected) return section.remove();
  audit.mount(section, { ask, download, words: () => words });
  sayWords(section);
  if (latest) audit.update(latest);
}

function enter(inside) {
  by("gate").hidden = inside;
  by("board").hidden = by("logout").hidden = !inside;
  by("logout").dataset.w = isKept() ? "forget" : "logout";
  by("logout").textContent = words[by("logout").dataset.w];
  if (inside) openParts();
}

function leave() {
  token = "";
  forgetToken();
  clearTimeout(timer);
  latest = undefined;
  shown = found = "";
  audit = null;
  for (const id of ["story", "failures", "parts"]) by(id).replaceChildren();
  by("fresh").textContent = "";
  enter(false);
  by("token").focus();
}

/** One scene, step by step. Another node may know it: its answer comes with its next report. */
async function tell(scene, turn = 0) {
  found = scene;
  const { status, body } = await ask(`/api/operator/scenes/${encodeURIComponent(scene)}`);
  if (found !== scene || !token) return;
  const again = several() && turn < OTHERS_TRIES && [200, 404].includes(status);
  if (again) setTimeout(() => { if (found === scene && token) tell(scene, turn + 1); }, OTHERS_EVERY);
  if (status !== 200) {
    const text = !status ? words.unreachable : again ? words.asking : words.unknown;
    by("story").replaceChildren(make("p", text, again ? "small" : "alert"));
    return;
  }
  const steps = body.timeline ?? [], start = steps[0]?.at ?? body.created_at;
  const error = body.error && (words.failure[body.error] ?? body.error);
  const facts = [body.short, words.event[body.state], error, body.kind, body.account, body.kiosk,
    start && moment(start)];
  const head = make("p", facts.filter(Boolean).join(" · "), "facts");
  by("story").replaceChildren(head, make("p", body.scene_str, "small mono"), timeline(steps, start, words, several()));
  if (again) by("story").append(make("p", words.asking, "small"));
}

/** Puts the words of the chosen language into every element that names one of `operator`'s. */
function sayWords(root) {
  const named = (key) => key.split(".").reduce((value, part) => value?.[part], words) ?? "";
  for (const element of root.querySelectorAll("[data-w]")) element.textContent = named(element.dataset.w);
  for (const element of root.querySelectorAll("[data-w-hint]")) element.placeholder = named(element.dataset.wHint);
}

async function changeLanguage(lang) {
  const spoken = await speak(lang);
  if (!spoken) return false;
  words = spoken.operator;
  nameUnits(words.units);
  meanings = null;
  document.title = `${words.title} · ${by("site").textContent}`;
  by("title").textContent = words.title;
  sayWords(document);
  by("scene").placeholder = words.paste;
  by("scene").setAttribute("aria-label", words.paste);
  if (latest) show(latest);
  audit?.redraw();
  if (found) tell(found);
  drawn();
  return true;
}

by("gate").onsubmit = (event) => {
  event.preventDefault();
  token = by("token").value;
  by("token").value = "";
  keepToken(token, by("keep").checked);
  refresh();
};
by("search").onsubmit = (event) => {
  event.preventDefault();
  by("story").replaceChildren();
  tell(by("scene").value.trim());
};
by("logout").onclick = leave;
mount(by("screens"), { ask });
by("site").textContent = document.querySelector('meta[name="scanpush-site"]').content;
offerLanguages(changeLanguage);
document.addEventListener("visibilitychange", () => {
  if (token && document.visibilityState === "visible") refresh();
});
followTheme();
token = keptToken();
by("gate").hidden = Boolean(token);
changeLanguage(document.documentElement.lang).then((spoken) => { if (spoken && token) refresh(); });

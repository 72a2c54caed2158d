// The page `/operator`: what GET /api/operator/overview says, every two seconds, and one scene's
// timeline. The operator's token stays in this page's memory: a reload asks for it again.

import { request } from "./begin.js";
import { jitter } from "./scan-client.js";
import { mount, update } from "./operator-screens.js";
import { drawn, followTheme, offerLanguages, speak } from "./page.js";

const EVERY = 2000, KEPT = 120;
const STATES = ["waiting", "scanned", "confirming", "registering", "authorized", "consumed", "expired", "denied", "cancelled", "failed"];
// What a node tells of itself alone; the rest is of all nodes.
const OF_ONE_NODE = { "h-logins": "logins", "h-funnel": "funnel", "h-scenes": "scenes", "h-latency": "latency", "h-wechat": "wechat" };
const by = (id) => document.getElementById(id);
const make = (tag, text = "", className = "") => Object.assign(document.createElement(tag), { textContent: text, className });
const sockets = [];
let words, token = "", timer, tries = 0, latest;

const count = (number) => (number ?? 0).toLocaleString(document.documentElement.lang);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString(document.documentElement.lang, { hour12: false });

/** Seconds as the largest two units that matter. */
function span(seconds) {
  if (seconds == null) return "–";
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = Math.max(0, units.findIndex(([, size]) => seconds >= size));
  const [[name, size], next] = [units[at], units[at + 1]];
  const rest = next && Math.floor(seconds % size / next[1]);
  return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

function bars(list, rows) {
  const most = Math.max(1, ...rows.map(([, value]) => value));
  list.replaceChildren(...rows.map(([name, value]) => {
    const row = make("div"), meter = make("meter"), figure = make("dd");
    Object.assign(meter, { max: most, value });
    meter.setAttribute("aria-hidden", "true");
    const middle = make("dd");
    middle.append(meter);
    figure.textContent = count(value);
    row.append(make("dt", name), middle, figure);
    return row;
  }));
}

function table(element, heads, rows) {
  const head = make("tr");
  for (const text of heads) {
    const cell = make("th", text);
    cell.scope = "col";
    head.append(text ? cell : make("td"));
  }
  element.replaceChildren(head, ...rows.map((cells) => {
    const row = make("tr");
    row.append(...cells.map((cell) => Array.isArray(cell) ? make("td", cell[0], cell[1]) : make("td", cell)));
    return row;
  }));
}

function line(svg, values) {
  const most = Math.max(1, ...values), step = 120 / Math.max(1, KEPT - 1);
  const at = (value, i) => `${((KEPT - values.length + i) * step).toFixed(2)} ${(38 - 34 * value / most).toFixed(2)}`;
  const points = values.map(at).join("L");
  svg.querySelector(".line").setAttribute("d", `M${points}`);
  svg.querySelector(".area").setAttribute("d", `M${((KEPT - values.length) * step).toFixed(2)} 40L${points}L120 40z`);
}

function columns(svg, values) {
  const most = Math.max(1, ...values), width = 120 / Math.max(1, values.length);
  svg.querySelector(".bars").setAttribute("d", values.map((value, i) => {
    const height = value ? Math.max(1, 38 * value / most) : .4;
    return `M${(i * width + width * .15).toFixed(2)} 40v-${height.toFixed(2)}h${(width * .7).toFixed(2)}v${height.toFixed(2)}z`;
  }).join(""));
}

const milliseconds = (value) => value == null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

/** Where there can be several nodes, says which one answered, over all that is of this one alone. */
function nameNode({ backend, node_id = "" }) {
  const several = backend === "distributed", only = words.only_node.replace("{node}", node_id);
  for (const [id, key] of Object.entries(OF_ONE_NODE)) {
    by(id).textContent = words[key];
    if (several) by(id).append(" ", make("small", only));
  }
  by("counts").hidden = by("asks").hidden = !several;
}

/** Every field may be missing: an older server beside a newer page shows what it has. */
function show(seen) {
  latest = seen;
  nameNode(seen);
  by("fresh").textContent = words.updated.replace("{time}", clock(seen.now));
  by("sockets").textContent = count(seen.sockets);
  by("polls").textContent = `${words.polls} ${count(seen.waiting_polls)}`;
  line(by("sockets-chart"), sockets);
  const minutes = seen.logins_per_minute ?? [];
  by("logins").textContent = count(minutes[minutes.length - 1]);
  columns(by("logins-chart"), minutes);
  const { window_seconds = 3600, ...steps } = seen.funnel ?? {};
  by("window").textContent = words.last_minutes.replace("{minutes}", Math.round(window_seconds / 60));
  bars(by("funnel"), ["shown", "scanned", "authorized", "consumed"].map((step) => [words[step], steps[step] ?? 0]));
  bars(by("scenes"), STATES.filter((state) => state in (seen.scenes ?? {})).map((state) => [state, seen.scenes[state]]));
  table(by("latency"), ["", words.median, "p90", "p99", words.count], Object.entries(seen.latency ?? {}).map(
    ([name, { p50_ms, p90_ms, p99_ms, count: times }]) => [words[name] ?? name, ...[p50_ms, p90_ms, p99_ms].map(milliseconds), count(times)]));
  table(by("wechat"), ["", words.credential, words.codes, words.errors], (seen.wechat ?? []).map((account) => {
    const errors = Object.entries(account.errors ?? {}).map(([code, times]) => `${code} × ${times}`).join(", ");
    const left = account.codes_left == null ? "–" : count(account.codes_left);
    return [account.account, span(account.credential_expires_in), left, [errors || words.none, errors && "bad"]];
  }));
  table(by("nodes"), ["", words.node_sockets, words.uptime, "", ""], (seen.nodes ?? []).map((node) => [
    node.node_id, count(node.sockets), span(node.uptime_seconds), node.version ?? "", [node.draining ? words.draining : "", "bad"]]));
}

async function refresh() {
  clearTimeout(timer);
  const mine = token;
  const { status, body } = await request("/api/operator/overview", { bearer: mine });
  if (mine !== token) return;
  if (status === 200) {
    tries = 0;
    sockets.push(body.sockets ?? 0);
    if (sockets.length > KEPT) sockets.shift();
    drawn(true);
    enter(true);
    by("alert").textContent = "";
    show(body);
    update(body);
  } else if ([401, 403, 404].includes(status)) {
    leave();
    by("alert").textContent = words.refused;
    return;
  } else by("alert").textContent = words.unreachable;
  timer = setTimeout(refresh, status === 200 ? EVERY : EVERY + 1000 * jitter(tries++));
}

function enter(inside) {
  by("gate").hidden = inside;
  by("board").hidden = by("logout").hidden = !inside;
}

function leave() {
  token = "";
  clearTimeout(timer);
  sockets.length = 0;
  by("story").replaceChildren();
  by("fresh").textContent = "";
  enter(false);
  by("token").focus();
}

/** One scene, step by step, with the time since its beginning. */
async function tell(scene) {
  const url = `/api/operator/scenes/${encodeURIComponent(scene)}`;
  const { status, body } = await request(url, { bearer: token });
  if (status !== 200) {
    by("story").replaceChildren(make("p", status ? words.unknown : words.unreachable, "alert"));
    return;
  }
  const steps = body.timeline ?? [], list = make("ol", "", "timeline");
  const start = steps[0]?.at ?? body.created_at;
  list.append(...steps.map(({ at, event, note }) => {
    const item = make("li"), time = make("time", at - start < 60 ? `+${(at - start).toFixed(3)} s` : clock(at));
    time.dateTime = new Date(at * 1000).toISOString();
    item.append(time, make("b", event), make("span", note));
    return item;
  }));
  const facts = [body.state, body.kind, body.account, body.kiosk, body.node_id].filter(Boolean).join(" · ");
  by("story").replaceChildren(make("p", facts, "facts"), list);
}

async function changeLanguage(lang) {
  const spoken = await speak(lang);
  if (!spoken) return false;
  words = spoken.operator;
  document.title = `${words.title} · scanpush`;
  const texts = { title: "title", "token-label": "token", open: "open", logout: "logout", find: "find", counts: "counts",
    "h-sockets": "sockets", "h-last-hour": "last_hour", "h-nodes": "nodes", "h-scene": "scene", asks: "asks" };
  for (const [id, key] of Object.entries(texts)) by(id).textContent = words[key];
  by("scene").placeholder = words.paste;
  by("scene").setAttribute("aria-label", words.paste);
  if (latest) show(latest);
  drawn();
  return true;
}

by("gate").onsubmit = (event) => {
  event.preventDefault();
  token = by("token").value;
  by("token").value = "";
  refresh();
};
by("search").onsubmit = (event) => {
  event.preventDefault();
  tell(by("scene").value.trim());
};
by("logout").onclick = leave;
mount(by("screens"), { ask: (path, { method, body } = {}) => request(path, { method, json: body, bearer: token }) });
by("site").textContent = document.querySelector('meta[name="scanpush-site"]').content;
offerLanguages(changeLanguage);
document.addEventListener("visibilitychange", () => { if (token && document.visibilityState === "visible") refresh(); });
followTheme();
changeLanguage(document.documentElement.lang);

// How the page `/operator` draws: tiles, charts with axes, tables, and what is wrong in words. Nothing here asks
// the server; `overview` is the document of GET /api/operator/overview.

const SVG = "http://www.w3.org/2000/svg";
const MINUTES = 60, LATELY = 10;
export const STATES = ["waiting", "scanned", "confirming", "registering", "authorized", "consumed", "expired", "denied",
  "cancelled", "failed"];

// From where on a figure is shown as a warning, and as critical.
const LIMITS = {
  codes: [10000, 2000], // left of WeChat's 100,000 a day
  credential: [240, 60], // seconds; it is renewed with 300 to 360 left
  failed: [0.05, 0.2], // of the logins of the last ten minutes
  refused: [0.02, 0.2], // of the callbacks of the last ten minutes
  store: [50, 500], // milliseconds
  backlog: [60, 900], // seconds that an event has waited
};
const LEAST = 5; // fewer logins or callbacks than these say nothing about a share

export const make = (tag, text = "", className = "") =>
  Object.assign(document.createElement(tag), { textContent: text, className });
const drawing = (tag, attributes) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const lang = () => document.documentElement.lang;
export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
export const count = (number) => (number ?? 0).toLocaleString(lang());
const MINUTE = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }, SECOND = { ...MINUTE, second: "2-digit" };
const local = (seconds, form) => new Date(seconds * 1000).toLocaleString(lang(), form);
export const clock = (seconds) => local(seconds, SECOND);
export const moment = (seconds) => local(seconds, { year: "numeric", month: "2-digit", day: "2-digit", ...SECOND });
const share = (part) => part.toLocaleString(lang(), { style: "percent", maximumFractionDigits: part < 0.1 ? 1 : 0 });
export const milliseconds = (value) =>
  value == null ? "–" : `${value < 10 ? value.toFixed(1) : count(Math.round(value))} ms`;
export const shortId = (scene) => `${scene.slice(0, 4)}-${scene.slice(4, 8)}`.toUpperCase();

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
let units = {};

/** From now on spans are told in these units: what `d`, `h`, `min` and `s` are called. */
export const nameUnits = (named) => { units = named; };
const of = (number, unit) => `${count(number)} ${units[unit] ?? unit}`;

/** Seconds as the largest two units that matter. */
export function span(seconds) {
  if (seconds == null) return "–";
  const at = UNITS.findIndex(([, size]) => seconds >= size);
  if (at < 0) return of(0, "s");
  const [[name, size], next] = [UNITS[at], UNITS[at + 1]];
  const rest = next && Math.floor(seconds % size / next[1]);
  return [of(Math.floor(seconds / size), name), ...rest ? [of(rest, next[0])] : []].join(" ");
}

/** Seconds in one unit, of which there are at least three, for where there is little room. */
export function brief(seconds) {
  if (seconds == null) return "–";
  const [name, size] = UNITS.find(([, long]) => seconds >= 3 * long) ?? UNITS[3];
  return of(Math.floor(seconds / size), name);
}

const sum = (values) => values.reduce((all, value) => all + value, 0);
const lately = (values = []) => sum(values.slice(-LATELY));
/** 0 well, 1 a warning, 2 critical; `down`: the smaller, the worse. */
const level = (value, [warning, critical], down = false) => {
  if (value == null) return 0;
  const beyond = (limit) => down ? value < limit : value >= limit;
  return beyond(critical) ? 2 : beyond(warning) ? 1 : 0;
};
const shareOf = (part, whole) => whole ? part / whole : 0;
const telling = (part, whole) => whole >= LEAST ? part / whole : 0;

/**
 * The figures that are looked at first, of all nodes, each with how bad it is: what tiles and problems are made of.
 * Every field may be missing: an older server beside a newer page shows what it has.
 */
export function judge(overview) {
  const { hour, wechat = [], reports = [], events, now } = overview;
  const series = hour?.series ?? {};
  const failed = lately(series.failed), logins = lately(series.authorized);
  const refused = lately(series.refused), callbacks = lately(series.callbacks);
  const stores = reports.filter((report) => !report.gone).flatMap(({ node_id, stores: seen = [] }) =>
    seen.map((store) => ({ ...store, node: node_id })));
  const checked = stores.filter(({ up }) => up !== null);
  const slowest = checked.length ? Math.max(...checked.map(({ median_ms }) => median_ms)) : null;
  const known = (name) => wechat.map((account) => account[name]).filter((value) => value != null);
  const least = (values) => values.length ? Math.min(...values) : null;
  const codes = least(known("codes_left")), credential = least(known("credential_expires_in"));
  const failing = shareOf(failed, failed + logins);
  return {
    failed, logins, refused, callbacks, failing, slowest, codes, credential, events,
    down: checked.filter(({ up }) => !up),
    errors: (overview.errors ?? []).filter(({ last_at }) => now - last_at < 60 * LATELY),
    gone: reports.filter((report) => report.gone && !report.ended && now - report.told_at < 60 * LATELY),
    levels: {
      failing: level(telling(failed, failed + logins), LIMITS.failed),
      refusing: Math.max(level(telling(refused, callbacks), LIMITS.refused), refused ? 1 : 0),
      slowest: level(slowest, LIMITS.store),
      codes: level(codes, LIMITS.codes, true),
      credential: level(credential, LIMITS.credential, true),
      events: events ? Math.max(level(events.oldest_seconds, LIMITS.backlog), events.dead ? 1 : 0) : 0,
    },
  };
}

/** What is wrong now, the worst first; an empty list is a server that is well. Each: how bad, and in which words. */
export function problems(overview, words) {
  const seen = judge(overview), found = [], says = words.problem;
  const add = (bad, text, values = {}) =>
    bad && found.push({ level: bad, text: fill(text, values), errcode: values.errcode });
  for (const { engine, store, node } of seen.down)
    add(2, says.down, { engine, store: words.store[store] ?? store, node });
  // What strangers post is refused in many ways; a wrong Token refuses everything in one.
  const [most] = (overview.callbacks ?? [])
    .filter((entry) => entry.refused && overview.now - entry.last_at < 60 * LATELY)
    .sort((one, other) => other.count - one.count);
  add(seen.levels.refusing, most?.outcome === "signature" ? says.signature : says.refused,
    { refused: count(seen.refused), callbacks: count(seen.callbacks), account: most?.account });
  for (const { errcode, meaning, alarming, count: times } of seen.errors) add(alarming ? 2 : 1, says.errcode,
    { errcode, meaning, times: count(times) });
  add(seen.levels.failing, says.failing, { failed: count(seen.failed), share: share(seen.failing) });
  add(seen.levels.codes, says.codes, { codes: count(seen.codes) });
  add(seen.levels.credential, says.credential, { left: span(seen.credential) });
  add(seen.levels.slowest, says.slow, { time: milliseconds(seen.slowest) });
  if (seen.events) add(seen.levels.events, says.events,
    { pending: count(seen.events.pending), oldest: span(seen.events.oldest_seconds), dead: count(seen.events.dead) });
  for (const { node_id, told_at } of seen.gone) add(1, says.gone, { node: node_id, time: clock(told_at) });
  return found.sort((one, other) => other.level - one.level);
}

/** `link` makes the link of an errcode, which stands in place of the number. */
export function showProblems(list, found, words, link) {
  const rows = found.length ? found : [{ level: 0, text: words.all_well }];
  list.replaceChildren(...rows.map(({ level: bad, text, errcode }) => {
    const row = make("li", "", LEVELS[bad]), said = make("span", text), at = text.indexOf(errcode);
    if (errcode && at >= 0)
      said.replaceChildren(text.slice(0, at), link(errcode), text.slice(at + String(errcode).length));
    row.append(make("b", words.level[LEVELS[bad]]), said);
    return row;
  }));
}

const LEVELS = ["well", "warning", "critical"];

/** The figures that are read first. A tile that is not well says so in a word, not only by its colour. */
export function showTiles(section, overview, words) {
  const seen = judge(overview), { levels } = seen, says = words.tile;
  const minutes = overview.logins_per_minute ?? [];
  const perMinute = overview.hour?.series.authorized ?? minutes;
  const tiles = [
    [says.logins, count(perMinute[perMinute.length - 1]), fill(says.hour, { n: count(sum(perMinute)) }), 0, "logins"],
    [says.sockets, count(overview.sockets), fill(says.polls, { n: count(overview.waiting_polls) }), 0, "sockets"],
    [says.failing, share(seen.failing), fill(says.of, { n: count(seen.failed), all: count(seen.failed + seen.logins) }),
      levels.failing],
    [says.refused, count(seen.refused), fill(says.of_callbacks, { n: count(seen.callbacks) }), levels.refusing],
    [says.stores, seen.down.length ? says.down : milliseconds(seen.slowest), says.median,
      seen.down.length ? 2 : levels.slowest],
    [says.codes, seen.codes == null ? "–" : count(seen.codes), says.today, levels.codes],
    [says.credential, brief(seen.credential), says.renewed, levels.credential],
  ];
  if (seen.events) tiles.push([says.events, count(seen.events.pending),
    fill(says.dead, { n: count(seen.events.dead) }), levels.events]);
  const drawn = tiles.map(([name, figure, below, bad, id]) => {
    const tile = make("div", "", `card tile ${LEVELS[bad]}`), head = make("p", name, "name");
    if (bad) head.append(make("b", words.level[LEVELS[bad]]));
    const [number, unit] = figure.split(" "), value = make("p", number, "figure");
    if (unit) value.append(" ", make("small", unit));
    if (id) value.id = id;
    tile.append(head, value, make("p", below, "small"));
    return tile;
  });
  section.replaceChildren(section.firstElementChild, ...drawn);
}

/** The next round figure, of which the half is round as well: an axis ends there. */
function rounded(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 3, 4, 5, 6, 8, 10].find((first) => most <= first * power) * power;
}

/**
 * One picture of the last hour: columns, stacked in the order of `lines`.
 *
 * @param lines each `[class, name, sixty values]`
 */
export function chart(figure, { title, unit, from, lines, summary }) {
  const most = rounded(Math.max(1, ...lines[0][2].map((_, at) => sum(lines.map((line) => line[2][at])))));
  const svg = drawing("svg", { viewBox: `0 0 ${MINUTES} 100`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${title}. ${summary}` });
  for (const at of [0, 50]) svg.append(drawing("path", { class: "grid", d: `M0 ${at}H${MINUTES}` }));
  const floor = Array(MINUTES).fill(0);
  for (const [kind, , values] of lines) {
    const height = (at) => 100 * values[at] / most;
    let d = "";
    for (let at = 0; at < MINUTES; at += 1) {
      if (!values[at]) continue;
      const low = 100 - floor[at], tall = Math.max(1, height(at));
      d += `M${at + .1} ${low.toFixed(2)}v-${tall.toFixed(2)}h.8v${tall.toFixed(2)}z`;
      floor[at] += tall;
    }
    svg.append(drawing("path", { class: `bars ${kind}`, d: d || "M0 100" }));
  }
  svg.append(drawing("path", { class: "axis", d: `M0 100H${MINUTES}` }));
  const caption = figure.firstElementChild, legend = make("span", "", "legend");
  if (lines.length > 1) legend.append(...lines.map(([kind, name]) => make("span", name, kind)));
  caption.replaceChildren(make("b", title), make("small", unit), legend);
  const heights = make("div", "", "heights"), times = make("div", "", "times");
  // Half a login is no height.
  heights.append(...[most, most / 2, 0].map((value) => make("span", Number.isInteger(value) ? count(value) : "")));
  times.append(...[0, 15, 30, 45, 59].map((minute) => make("span", local(from + 60 * minute, MINUTE))));
  heights.setAttribute("aria-hidden", "true");
  times.setAttribute("aria-hidden", "true");
  const plot = make("div", "", "plot");
  plot.append(heights, svg, times);
  figure.replaceChildren(caption, plot);
}

export function bars(list, rows, nothing) {
  if (!rows.length) {
    const row = make("div");
    row.append(make("dt", nothing, "small"), make("dd"));
    list.replaceChildren(row);
    return;
  }
  const most = Math.max(1, ...rows.map(([, value]) => value));
  list.replaceChildren(...rows.map(([name, value]) => {
    const row = make("div"), middle = make("dd"), bar = make("span", "", "length");
    bar.style.inlineSize = `${100 * value / most}%`;
    middle.append(bar);
    middle.setAttribute("aria-hidden", "true");
    row.append(make("dt", name), middle, make("dd", count(value)));
    return row;
  }));
}

/** A cell is a text, an element, or `[text or element, class]`; without rows one line says that there is nothing. */
export function table(element, heads, rows, nothing) {
  if (!rows.length) {
    const row = make("tr");
    row.append(make("td", nothing, "none"));
    element.replaceChildren(row);
    return;
  }
  const head = make("tr");
  head.append(...heads.map((text) => Object.assign(make("th", text), { scope: "col" })));
  element.replaceChildren(head, ...rows.map((cells) => {
    const row = make("tr");
    row.append(...cells.map((cell) => {
      const [content, className] = Array.isArray(cell) ? cell : [cell, ""];
      const made = make("td", "", className);
      made.append(content);
      return made;
    }));
    return row;
  }));
}

/** What stands beside a step, in words; a screen's name and what has none stay as they are. */
function noteOf({ event, note }, words) {
  const [, n, most] = /^(\d+) of (\d+), duplicate$/.exec(note) ?? [];
  if (n) return fill(words.note.duplicate, { n, most });
  const [, state] = /^refused: (\w+)$/.exec(note) ?? [];
  if (state) return fill(words.note.refused, { state: words.event[state] ?? state });
  return (event !== "made" && (words.note[note] ?? words.failure[note])) || note;
}

/** What happened to one scene, with the time since its beginning. */
export function timeline(steps, start, words, several) {
  const list = make("ol", "", "timeline");
  list.append(...steps.map((step) => {
    const { at, event, node } = step;
    const item = make("li"), time = make("time", at - start < 60 ? `+${(at - start).toFixed(3)} s` : clock(at));
    time.dateTime = new Date(at * 1000).toISOString();
    const told = [noteOf(step, words), several && fill(words.on_node, { node })].filter(Boolean).join(" · ");
    item.append(time, make("b", words.event[event] ?? event), make("span", told));
    return item;
  }));
  return list;
}

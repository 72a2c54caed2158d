// Parts of the page `/operator` that ask about people: the audit, events that could not be delivered, and users.
// A part whose route the server does not have (404) is not shown.

import { clock, count, fill, make, moment, shortId, table } from "./operator-meters.js";

const AUDIT = "/api/operator/audit", DEAD = "/api/operator/events/dead", USERS = "/api/operator/users";
const FILTERS = ["scene", "person", "since", "until", "outcome", "account", "screen"];
const FIND_BY = ["name", "id", "openid", "unionid"];
// What is offered for the outcome; any other text can be looked for as well.
const OUTCOMES = ["authorized", "denied", "failed", "ended", "banned", "unsubscribed", "up", "down", "users ban",
  "users unban", "delete users", "delete users sessions", "events send", "kiosks pair", "patch kiosks", "kiosks reload",
  "kiosks notice", "kiosks secret", "delete kiosks", "get users export", "get access_token"];

let parts;

/** Fills the empty `section`; the words that `data-w` names are filled in by the caller. */
export function mount(section, { ask, download, words }) {
  const users = usersPart(ask, download, words), audit = auditPart(ask, download, words, users.look);
  const dead = deadPart(ask, words);
  parts = { audit, users, dead };
  section.append(audit.card, users.card, dead.card, users.dialog);
  audit.begin();
  users.begin();
}

/** Told of each overview document. */
export function update(overview) {
  parts.dead.update(overview);
}

/** In the words of another language. */
export function redraw() {
  for (const part of Object.values(parts)) part.draw();
}

function card(heading) {
  const made = make("section", "", "card wide");
  made.append(worded("h2", heading));
  made.hidden = true;
  return made;
}

const worded = (tag, key, className = "") => {
  const element = make(tag, "", className);
  element.dataset.w = key;
  return element;
};

function button(key, onclick, className = "quiet small-button") {
  return Object.assign(worded("button", key, className), { type: "button", onclick });
}

function field(name, type) {
  const label = make("label", "", "field"), input = Object.assign(make("input"), { name, type, autocomplete: "off" });
  label.append(worded("span", `audit.${name}`), input);
  return label;
}

function auditPart(ask, download, words, lookAt) {
  const made = card("audit.heading"), form = make("form", "", "filters"), rows = [];
  const list = make("table"), said = make("p", "", "small"), results = make("div", "", "results");
  const more = button("audit.more", () => load(true));
  const outcomes = make("datalist");
  let asked = "", cursor = null, loadedAt = 0;
  const typeOf = (name) => name === "since" || name === "until" ? "datetime-local" : "search";
  form.append(...FILTERS.map((name) => field(name, typeOf(name))));
  outcomes.id = "outcomes";
  outcomes.append(...OUTCOMES.map((value) => Object.assign(make("option"), { value })));
  form.elements.outcome.setAttribute("list", outcomes.id);
  const buttons = make("div", "", "row wide");
  buttons.append(worded("button", "find", "solid"), button("audit.export", save, "quiet small-button"));
  form.append(buttons, outcomes);
  said.setAttribute("role", "status");
  results.tabIndex = 0;
  results.setAttribute("role", "group");
  results.append(list);
  made.append(form, said, results, more);

  /** What is filled in, as the route wants it: times as unix seconds, a short id without its hyphen. */
  function query() {
    const wanted = new URLSearchParams();
    for (const [name, text] of new FormData(form)) {
      const value = text.trim();
      if (!value) continue;
      const isTime = name === "since" || name === "until";
      wanted.set(name, isTime ? String(Date.parse(value) / 1000) : value);
    }
    return wanted;
  }

  async function load(goOn = false) {
    if (!goOn) asked = query().toString();
    const wanted = new URLSearchParams(asked);
    if (goOn) wanted.set("cursor", cursor);
    const { status, body } = await ask(`${AUDIT}?${wanted}`);
    if (status === 404) return;
    made.hidden = false;
    if (status !== 200) {
      said.textContent = body.error?.message ?? words().unreachable;
      return;
    }
    if (!goOn) rows.length = 0;
    rows.push(...body.entries);
    cursor = body.cursor;
    more.hidden = !cursor;
    loadedAt = Date.now() / 1000;
    draw();
  }

  // Ids are short here, so that the table is not wider than the page.
  const short = (user) => user.length > 12 ? `${user.slice(0, 8)}…` : user;

  /** An id leads to its user, who has it whole. */
  function userOf({ user, person }) {
    if (!user) return person || "–";
    const made = make("button", short(user), "link");
    return Object.assign(made, { type: "button", title: user, onclick: () => lookAt(user) });
  }

  /** Of a deed its path, which names the user once more. */
  const detailOf = ({ detail, user }) => user ? plain(detail).split(user).join(short(user)) : plain(detail);

  function draw() {
    if (!loadedAt) return;
    const { head } = words(), says = words().audit;
    said.textContent = fill(says.as_of, { time: clock(loadedAt) });
    results.setAttribute("aria-label", says.heading);
    const of = [head.time, head.event, head.outcome, says.person, head.account, says.screen, says.scene, head.detail];
    table(list, of, rows.map((entry) => [
      moment(entry.at), entry.type, entry.outcome ?? "", userOf(entry),
      entry.account ?? "", entry.screen ?? "", entry.scene ? shortId(entry.scene) : "", [detailOf(entry), "long"],
    ]), words().none);
  }

  async function save() {
    const wanted = query();
    wanted.set("format", "jsonl");
    if (!await download(`${AUDIT}?${wanted}`, "audit.jsonl")) said.textContent = words().unreachable;
  }

  form.onsubmit = (event) => {
    event.preventDefault();
    load();
  };
  return { card: made, begin: load, draw };
}

const plain = (detail) => detail == null ? "" : typeof detail === "object" ? JSON.stringify(detail) : String(detail);

function deadPart(ask, words) {
  const made = card("dead.heading"), list = make("table"), said = make("p", "", "small");
  const all = button("dead.send_all", sendAll), more = button("audit.more", () => load(true)), rows = [];
  let known, cursor = null;
  said.setAttribute("role", "status");
  made.append(said, list, all, more);

  async function load(goOn = false) {
    const { status, body } = await ask(goOn ? `${DEAD}?cursor=${encodeURIComponent(cursor)}` : DEAD);
    if (status !== 200) return;
    if (!goOn) rows.length = 0;
    rows.push(...body.events);
    cursor = body.cursor;
    more.hidden = !cursor;
    all.hidden = !rows.length;
    draw();
  }

  function draw() {
    const { head, dead } = words();
    table(list, [head.time, head.event, dead.tries, head.error, dead.again], rows.map((event) => [
      moment(event.at), event.type, count(event.tries), [event.error ?? "", "long"], sender(event.id),
    ]), words().none);
  }

  function sender(id) {
    const made = button("dead.send", async () => {
      const { status } = await ask(`${DEAD.replace("/dead", "")}/${encodeURIComponent(id)}/send`, { method: "POST" });
      said.textContent = status === 204 ? words().dead.sent : words().unreachable;
      load();
    });
    made.textContent = words().dead.send;
    return made;
  }

  async function sendAll() {
    const { status, body } = await ask(DEAD.replace("/dead", "/send"), { method: "POST" });
    said.textContent = status === 200 ? fill(words().dead.sent_all, { n: count(body.sent) }) : words().unreachable;
    load();
  }

  return {
    card: made,
    draw,
    update({ events }) {
      made.hidden = !events?.dead && !rows.length;
      if (events && events.dead !== known) load();
      known = events?.dead;
    },
  };
}

function usersPart(ask, download, words) {
  const made = card("users.heading"), form = make("form", "", "row"), by = make("select"), value = make("input");
  const said = make("p", "", "small"), list = make("div", "", "people"), rows = [];
  const more = button("audit.more", () => load(true));
  const dialog = make("dialog"), question = make("p"), yes = button("users.do_it", null, "solid");
  const no = button("users.cancel", () => dialog.close(), "quiet"), row = make("div", "", "row");
  let asked = "", cursor = null;
  by.append(...FIND_BY.map((name) => Object.assign(worded("option", `users.by_${name}`), { value: name })));
  const label = make("label", "", "field"), wanted = make("label", "", "field grow");
  label.append(worded("span", "users.by"), by);
  wanted.append(worded("span", "users.value"), Object.assign(value, { required: true, autocomplete: "off" }));
  form.append(label, wanted, worded("button", "find", "solid"));
  said.setAttribute("role", "status");
  made.append(form, said, list, more);
  more.hidden = true;
  row.append(no, yes);
  dialog.append(question, row);

  async function load(goOn = false) {
    if (!goOn) asked = `${USERS}?${new URLSearchParams({ [by.value]: value.value.trim() })}`;
    const { status, body } = await ask(goOn ? `${asked}&cursor=${encodeURIComponent(cursor)}` : asked);
    if (status !== 200) {
      said.textContent = body.error?.message ?? words().unreachable;
      return;
    }
    if (!goOn) rows.length = 0;
    rows.push(...body.users);
    cursor = body.cursor;
    more.hidden = !cursor;
    said.textContent = rows.length ? "" : words().users.nobody;
    draw();
  }

  function draw() {
    const says = words().users;
    list.replaceChildren(...rows.map((user) => {
      const person = make("article"), facts = make("p"), deeds = make("div", "", "row");
      const path = `${USERS}/${encodeURIComponent(user.id)}`;
      const told = [user.account, fill(says.since, { time: moment(user.created_at) }),
        user.last_login_at && fill(says.last, { time: moment(user.last_login_at) })];
      facts.append(make("b", user.name || says.no_name), make("code", user.id));
      if (user.banned) facts.append(make("span", says.banned, "bad"));
      const deed = (key, method, url, after) => Object.assign(button(`users.${key}`, () =>
        confirm(fill(says[`ask_${key}`], { user: user.name || user.id }), async () => {
          const { status } = await ask(url, { method });
          said.textContent = status === 204 ? says.done : status === 404 ? says.nobody : words().unreachable;
          if (status === 204) after?.();
          draw();
        })), { textContent: says[key] });
      const save = Object.assign(button("users.export", async () => {
        said.textContent = await download(`${path}/export`, `user-${user.id}.json`) ? says.done : words().unreachable;
      }), { textContent: says.export });
      deeds.append(
        user.banned ? deed("unban", "POST", `${path}/unban`, () => { user.banned = false; })
          : deed("ban", "POST", `${path}/ban`, () => { user.banned = true; }),
        deed("end", "DELETE", `${path}/sessions`), save,
        deed("delete", "DELETE", path, () => rows.splice(rows.indexOf(user), 1)),
      );
      person.append(facts, make("p", told.filter(Boolean).join(" · "), "small"), deeds);
      return person;
    }));
  }

  /** Nothing is done to a person by one click. */
  function confirm(text, deed) {
    question.textContent = text;
    yes.onclick = () => {
      dialog.close();
      deed();
    };
    dialog.showModal();
    no.focus();
  }

  form.onsubmit = (event) => {
    event.preventDefault();
    load();
  };
  return {
    card: made,
    dialog,
    draw,
    /** Shows the user of that id. */
    look(id) {
      by.value = "id";
      value.value = id;
      load();
      made.scrollIntoView({ block: "nearest" });
    },
    async begin() {
      // A search that finds nobody, to learn whether there is such a search.
      const { status } = await ask(`${USERS}?id=-`);
      made.hidden = status !== 200;
    },
  };
}

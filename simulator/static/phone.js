// The simulated phone: everything it knows comes from .../phone/state, everything it does goes
// to .../phone/act. Only the person's name is kept in the browser.
const page = document.body.dataset;
const words = JSON.parse(page.words);
const element = (id) => document.getElementById(id);
const NAME = "scanpush.simulated.person";
const POLL_MS = 1500;

let person = localStorage.getItem(NAME) ?? "";
let after = 0;
let scanned = false;

function note(text, bad = false) {
  element("note").textContent = text;
  element("note").classList.toggle("bad", bad);
}

function remember(name) {
  person = name.trim();
  localStorage.setItem(NAME, person);
  // The simulated web authorisation pages ask this cookie who holds the phone.
  document.cookie = `simulated_person=${encodeURIComponent(person)}; Path=/; SameSite=Lax`;
  after = 0;
  scanned = false;
  element("lines").replaceChildren();
  note("");
  refresh();
}

function bubble(line) {
  const item = document.createElement("li");
  item.className = `line ${line.sender} ${line.kind}`;
  if (line.kind === "notice") {
    const label = document.createElement("small");
    label.textContent = words.notice;
    item.append(label);
  }
  item.append(line.text);
  const time = document.createElement("small");
  time.textContent = new Date(line.at * 1000).toLocaleTimeString(page.lang, { hour: "2-digit", minute: "2-digit" });
  item.append(time);
  return item;
}

function showLines(lines) {
  const fresh = lines.filter((line) => line.number > after);
  for (const line of fresh) {
    element("lines").append(bubble(line));
    after = line.number;
  }
  element("empty").hidden = after > 0;
  if (fresh.length) element("lines").lastElementChild.scrollIntoView({ block: "nearest" });
}

function showAction(state) {
  const main = element("main");
  const known = page.code !== "";
  element("action").hidden = !person || scanned || (!known && state.follower);
  main.hidden = known && state.code !== "valid";
  if (!known) {
    element("hint").textContent = words.no_code;
    main.textContent = words.follow;
  } else if (state.code !== "valid") {
    element("hint").textContent = words[state.code];
  } else {
    element("hint").textContent = state.follower ? words.scan_hint : words.follow_hint;
    main.textContent = state.follower ? words.scan : words.scan_follow;
  }
}

function show(state) {
  element("account").textContent = state.account || words.account;
  element("who").hidden = person !== "";
  for (const id of ["you", "chat"]) element(id).hidden = !person;
  element("person").textContent = person;
  element("face").textContent = [...person][0] ?? "";
  element("unfollow").hidden = !state.follower;
  element("text-form").hidden = !state.follower;
  showAction(state);
  showLines(state.lines ?? []);
}

async function refresh() {
  const query = new URLSearchParams({ code: page.code, after: String(after) });
  if (person) query.set("person", person);
  const asked = person;
  try {
    const answer = await fetch(`${page.base}/phone/state?${query}`);
    if (answer.status === 400 && person) {
      localStorage.removeItem(NAME);
      person = "";
    } else if (answer.ok && asked === person) {
      show(await answer.json());
    }
    if (element("note").textContent === words.offline) note("");
  } catch {
    note(words.offline, true);
  }
}

async function act(action, more = {}) {
  note(words.busy);
  const buttons = document.querySelectorAll("#main, #unfollow, #text-form button");
  buttons.forEach((button) => { button.disabled = true; });
  try {
    const answer = await fetch(`${page.base}/phone/act`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ person, action, code: page.code, ...more }),
    });
    const delivery = await answer.json();
    report(action, delivery);
    return delivery.outcome === "answered";
  } catch {
    note(words.offline, true);
    return false;
  } finally {
    buttons.forEach((button) => { button.disabled = false; });
    await refresh();
  }
}

function report(action, delivery) {
  if (delivery.outcome === "answered") {
    scanned ||= action === "scan";
    note(action === "scan" ? words.sent : "");
  } else {
    note(words[delivery.outcome] ?? `${words.failed}: ${delivery.problem || delivery.outcome}`, true);
    if (delivery.outcome === "failed") note(`${words.failed}: ${delivery.problem}`, true);
  }
}

document.querySelectorAll(".chip").forEach((chip) => {
  chip.addEventListener("click", () => remember(chip.dataset.name));
});
element("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (element("name").value.trim()) remember(element("name").value);
});
element("change").addEventListener("click", () => {
  person = "";
  localStorage.removeItem(NAME);
  note("");
  refresh();
});
element("main").addEventListener("click", () => act(page.code ? "scan" : "follow"));
element("unfollow").addEventListener("click", () => act("unfollow"));
element("text-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = element("text").value.trim();
  if (text && (await act("text", { text }))) element("text").value = "";
  element("text").focus();
});

setInterval(() => { if (!document.hidden) refresh(); }, POLL_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();

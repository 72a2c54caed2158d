// The headless half of <scan-login>: see scan-login.d.ts.

import { begin, keptScenes, keyOf, request, world } from "./begin.js";

const FINAL = "consumed expired denied cancelled failed";
const CLAIMED = "scanned confirming registering authorized";
const SIGNALS = "online offline pageshow visibilitychange".split(" ");
const CONNECT_SECONDS = 6;
const { document, navigator } = world;
const visible = () => !document || document.visibilityState !== "hidden";
// What the browser believes of its network only words a failure.
const unwell = (status) => status || !navigator || navigator.onLine !== false ? "degraded" : "offline";

// Full jitter, in seconds: a crowd comes back spread out.
export const jitter = (tries, base = 1, cap = 30) => Math.random() * Math.min(cap, base * 2 ** tries);

// Chromium 63 and Safari 13 make no EventTarget of their own; there a comment that is in no document becomes one.
let Target = EventTarget;
try {
  new Target();
} catch (error) {
  Target = function () { return Object.setPrototypeOf(new Comment(), new.target.prototype); };
  Target.prototype = EventTarget.prototype;
}

// What begins with a low line is nobody else's: private fields are too young for the browsers that this is for.
export class SceneWatch extends Target {
  // `path` is what was learnt about the way to the server, shared by the scenes of a page.
  constructor(server, scene, path = {}) {
    super();
    Object.assign(this, { scene, transport: "", trouble: "", ended: "", acked: false, _lost: 0 });
    this.status = { state: scene.state, seq: scene.seq, ends: scene.ends };
    this._path = Object.assign(path, { tries: 0, refused: 0, cut: 0, slower: 0, socketAt: 0, longAt: 0, ...path });
    this.url = new URL(scene.status, server);
    this._run();
  }

  stop(why = "stopped") {
    if (this.ended) return;
    this.ended = why;
    this.wake();
    this.dispatchEvent(new Event("end"));
  }

  cancel() {
    if (this.ended) return;
    this.stop();
    request(this.url, { method: "DELETE", bearer: this.scene.watch_token });
  }

  // The network changed or the machine slept: what is open may be dead.
  wake() {
    Object.assign(this._path, { tries: 0, socketAt: 0 });
    if (this._abort) this._abort();
    if (this._ws) this._ws.drop(1001);
    if (this._rouse) this._rouse();
  }

  async _run() {
    while (!this.ended)
      if (Date.now() < this._path.socketAt) await this._pollTurn();
      else await this._socketTurn();
  }

  _pause(seconds) {
    return new Promise((resolve) => {
      this._rouse = resolve;
      setTimeout(resolve, this.ended ? 0 : seconds * 1000);
    });
  }

  _by(transport, trouble = "") {
    if (!trouble) this._lost = 0;
    if (this.transport === transport && this.trouble === trouble) return;
    Object.assign(this, { transport, trouble });
    this.dispatchEvent(new Event("path"));
  }

  // One socket to its end, and what its close code asks for; 0: nothing ever came.
  async _socketTurn() {
    const path = this._path;
    const code = await this._socket();
    if (this.ended) return;
    if (this.transport === "socket") this._by("");
    if (code === 4409) return this.stop("replaced");
    if (code === 1009 || code === 4400) return this.stop("bug");
    if (code === 4408) return this._hear({ state: "expired", seq: this.status.seq + 1 });
    let blocked = !code && path.refused;
    if (!blocked && [0, 1000, 1006].includes(code))
      blocked = (await this._poll("")).status === 200 && !code;
    // Where requests get through and sockets do not: poll, and try one again ever less often.
    if (blocked && ++path.refused > 1)
      path.socketAt = Date.now() + 1000 * Math.min(300, 8 * 2 ** path.refused);
    else if (!this.ended) await this._pause(jitter(path.tries++));
  }

  _socket() {
    return new Promise((resolve) => {
      const path = this._path;
      let ws, timer;
      const drop = (code) => {
        clearTimeout(timer);
        if (ws) ws.onmessage = ws.onclose = ws.onerror = null;
        if (ws) ws.close();
        this._ws = null;
        resolve(ws && ws.heard || code !== 1006 ? code : 0);
      };
      // The embedding page's policy: a second try finds no other answer.
      const forbidden = () => {
        path.refused = path.refused || 1;
        drop(1006);
      };
      try {
        const url = new URL(this.scene.ws, this.url);
        url.protocol = url.protocol.replace("http", "ws");
        ws = new WebSocket(url, ["scanpush.v1", `watch.${this.scene.watch_token}`]);
      } catch (error) {
        return forbidden();
      }
      this._ws = Object.assign(ws, { drop });
      timer = setTimeout(drop, CONNECT_SECONDS * 1000, 1006);
      ws.onclose = ({ code }) => drop(code);
      // Else a close follows at once.
      ws.onerror = () => {
        clearTimeout(timer);
        timer = setTimeout(forbidden);
      };
      ws.onmessage = ({ data }) => {
        clearTimeout(timer);
        ws.heard = true;
        Object.assign(path, { tries: 0, refused: 0, cut: 0, longAt: 0 });
        this._by("socket");
        this._hear(JSON.parse(data));
      };
    });
  }

  // A long poll, or a short one where long ones get cut off.
  async _pollTurn() {
    const path = this._path, began = Date.now(), { seq } = this.status;
    const long = began >= path.longAt;
    const wait = Math.max(1, Math.min(25, Math.ceil((path.socketAt - began) / 1000)));
    const query = long ? `?wait=${wait}&seq=${seq}` : "";
    const { status, body, retryAfter } = await this._poll(query, wait);
    if (this.ended) return;
    if (body.error && body.error.code === "slow_down") path.slower += 5;
    const interval = (this.scene.poll_interval || 1) + path.slower;
    if (status === 200) {
      path.tries = 0;
      if (long) path.cut = 0;
      this._by(long ? "long_poll" : "poll");
      // A long poll answered at once without news did not wait: never spin on it.
      if (!long || (this.status.seq === seq && Date.now() - began < 900)) await this._pause(interval);
      return;
    }
    // Long polls are cut where short ones get through.
    const cut = long && [0, 408, 502, 504].includes(status) && (await this._poll("")).status === 200;
    if (cut && ++path.cut > 1) path.longAt = Date.now() + 15000 * 2 ** Math.min(path.cut, 5);
    await this._pause(Math.max(retryAfter, status === 429 ? interval : 0, jitter(path.tries++)));
  }

  async _poll(query, wait = 0) {
    let aborted = false;
    const stopped = new Promise((resolve) => {
      this._abort = () => resolve(aborted = true);
    });
    const answer = await request(this.url + query, { bearer: this.scene.watch_token, stopped, seconds: wait + 10 });
    if (this.ended || aborted) return answer;
    if (answer.status === 200) {
      this._by(this.transport);
      await this._hear(answer.body);
    } else if ([401, 404, 410].includes(answer.status)) this.stop("gone");
    else if (answer.status !== 429 && ++this._lost > 1) this._by("", unwell(answer.status));
    return answer;
  }

  async _hear(status) {
    const { seq, state } = status, screen = status.type === "screen" ? status : status.screen;
    // What the operator does to the kiosk that shows this scene (docs/contract.md).
    if (screen && !this.ended) this.dispatchEvent(new CustomEvent("screen", { detail: screen }));
    if (this.ended || !(seq >= this.status.seq)) return;
    const news = seq > this.status.seq || state === "authorized";
    this.status = { ...status, ends: Date.now() + 1000 * (status.expires_in || 0) };
    if (news) this.dispatchEvent(new Event("status"));
    // An exchange code is collected by a server, a ticket is posted, and that is its ack.
    if (state === "authorized") status.exchange_code || status.ticket || await this._ack(seq);
    else if (FINAL.includes(state)) this.stop("finished");
  }

  post(path, json) {
    return request(`${this.url}/${path}`, { method: "POST", bearer: this.scene.watch_token, json });
  }

  async _ack(seq) {
    if (this._ws && this._ws.heard) {
      this._ws.send(JSON.stringify({ type: "ack", seq }));
      this.acked = true;
      return this.dispatchEvent(new Event("ack"));
    }
    // Else the next poll brings the login again, and with it the next try.
    if ((await this.post("ack", { seq })).status === 204) this.stop("finished");
  }
}

export class ScanLogin extends Target {
  constructor({ server, account, kind, authorize, lang, refreshes = 3 } = {}) {
    super();
    this.server = new URL(server || world.location.origin);
    this.view = { state: "starting" };
    Object.assign(this, { refreshes, lang, _path: {}, _watches: [], _tries: 0, _turn: 0 });
    this._onSignal = (event) => this._signalled(event);
    this._wish = { account, kind, authorize };
    this._key = keyOf(this.server, this._wish);
  }

  start() {
    this.stop();
    if (world.addEventListener) for (const name of SIGNALS) world.addEventListener(name, this._onSignal);
    this._pulse = setInterval(this._onSignal, 5000, {});
    this._beat = Date.now();
    this._left = this.refreshes;
    keptScenes(this._key).forEach((scene) => this._follow(scene));
    const claimed = this._watches.find((watch) => CLAIMED.includes(watch.status.state));
    if (this._watches.length) this._show(claimed || this._watches.slice(-1)[0]);
    else this._plan(0, () => this._begin());
    return this;
  }

  stop() {
    if (world.addEventListener) for (const name of SIGNALS) world.removeEventListener(name, this._onSignal);
    clearInterval(this._pulse);
    this._plan();
    this._lead = null;
    this._watches.splice(0).forEach((watch) => watch.stop());
  }

  again() {
    this._left = this.refreshes;
    this._drop();
    this._set({ state: "starting" });
    return this._begin();
  }

  cancel() {
    this._drop();
    this._set({ state: "cancelled" });
    this._tell("cancelled");
  }

  async number(number) {
    return (await import("./scan-number.js")).send(this._lead, number);
  }

  async register(fields) {
    const json = { registration_token: this.view.registration_token, ...fields };
    const answer = await request(new URL("/api/register", this.server), { method: "POST", json });
    return answer.status === 200 ? null : answer.body.error || { code: "unreachable" };
  }

  _signalled({ type, persisted }) {
    // A late pulse tells that this machine was asleep.
    const slept = Date.now() - this._beat > 20000;
    this._beat = Date.now();
    if (type === "online" || type === "offline" || persisted || (slept && visible())) this._wake();
    else this._arm();
  }

  _wake() {
    this._watches.forEach((watch) => watch.wake());
    if (this.view.retry) this._plan(0, () => this._begin());
    this._arm();
  }

  // What time alone will bring: in a visible tab, else as soon as it is visible again.
  _plan(at, act) {
    this._turn++;
    this._next = act && { at, act };
    this._arm();
  }

  _arm() {
    clearTimeout(this._timer);
    const { at, act } = this._next || {};
    if (!act || !visible()) return;
    const go = () => {
      if (!this._next || this._next.act !== act) return;
      this._next = null;
      act();
    };
    // At once, but behind what is set right after `start`. A timer would come 25 ms later while a page loads.
    if (at) this._timer = setTimeout(go, Math.max(0, at - Date.now()));
    else Promise.resolve().then(go);
  }

  async _begin() {
    this._plan();
    const turn = this._turn, wish = { ...this._wish, lang: this.lang };
    let answer = await begin(this.server, wish);
    if (!answer.status && this.view.state === "starting" && document)
      answer = await import("./scan-refusal.js").then(({ ask }) => ask(this.server, wish, answer), () => answer);
    const { scene } = answer;
    if (turn === this._turn) {
      if (!scene) return this._missed(answer);
      this._tries = 0;
      this._show(this._follow(scene));
    } else if (scene) new SceneWatch(this.server, scene).cancel();
  }

  _missed({ status, retryAfter, body }) {
    const error = body.error && body.error.code || "unreachable";
    const trouble = status === 429 ? "limited" : status && status < 500 ? "" : unwell(status);
    if (trouble) {
      const retry = Date.now() + 1000 * Math.max(retryAfter, 1 + jitter(this._tries++, 3, 60));
      this._set({ ...this.view, trouble, error, retry });
      this._plan(retry, () => this._begin());
    } else this._set({ state: "failed", error });
    this._tell("error");
  }

  // Only so often by itself: every code spends WeChat's quota.
  _refresh() {
    if (this._left-- > 0) this._begin();
    else this._set({ state: "paused" });
  }

  _follow(scene) {
    const watch = new SceneWatch(this.server, scene, this._path);
    watch.addEventListener("status", () => this._onStatus(watch));
    watch.addEventListener("end", () => this._onEnd(watch));
    watch.addEventListener("ack", () => this._save());
    watch.addEventListener("path", () => {
      if (watch !== this._lead || this.view.retry) return;
      this._set({ ...this.view, transport: watch.transport, trouble: watch.trouble });
    });
    this._watches.push(watch);
    return watch;
  }

  _onStatus(watch) {
    const { state } = watch.status, lead = this._lead, before = this.view.state;
    const claims = CLAIMED.includes(state);
    const counts = claims ? !(lead && CLAIMED.includes(lead.status.state)) : !this.view.retry;
    if (!(watch === lead ? claims || counts : claims && counts)) return;
    if (before === { consumed: "authorized", expired: "paused" }[state]) return;
    // Whichever code was scanned first wins; no other may be scanned now.
    if (claims) this._drop(watch);
    this._show(watch);
    const { view } = this;
    if (view.state === before || state === "waiting") return;
    if (state === "authorized") this._tell("login", view.login || view);
    else this._tell(view.state === "failed" ? "error" : view.state);
    if (state === "expired" && before === "waiting") this._plan(0, () => this._refresh());
  }

  _onEnd(watch) {
    if (!this._watches.includes(watch)) return;
    this._watches = this._watches.filter((other) => other !== watch);
    this._save();
    if (watch !== this._lead || this.view.state === "authorized" || this.view.retry) return;
    if (watch.ended === "replaced") this._set({ state: "replaced" });
    else if (watch.ended === "bug") this._set({ state: "failed", error: "bug" });
    else if (watch.ended === "gone") this._set({ state: "expired" });
    else return;
    this._lead = null;
    if (watch.ended === "gone") this._plan(0, () => this._refresh());
    else this._plan();
  }

  _show(watch) {
    const { scene, status, transport, trouble } = this._lead = watch;
    const { state, ends, error } = status;
    const view = { kind: this._wish.kind, ...status, scene_str: scene.scene_str, transport, trouble };
    view.error = error && error.code || error;
    if (state === "denied" && watch.numbered) view.error = "wrong_number";
    if (state === "consumed") Object.assign(view, { state: "failed", error: "already_used" });
    if (state === "waiting") {
      const { qr, code, start, began, fresh_until } = scene;
      Object.assign(view, { qr, code, start, began, fresh_until });
      this._plan(fresh_until, () => this._refresh());
    } else if (CLAIMED.includes(state)) this._plan(ends + 3000, () => watch.wake());
    else this._plan();
    this._set(view);
    this._save();
  }

  _drop(except) {
    this._plan();
    if (!except) this._lead = null;
    this._watches.filter((watch) => watch !== except).forEach((watch) => watch.cancel());
  }

  _set(view) {
    this.view = view;
    this.dispatchEvent(new Event("change"));
  }

  _tell(name, detail = this.view) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  // What a reload needs, never a login: `seq` 0 has the server tell everything again. Nothing of a login that
  // the page has: a site that reloads at once, and shows the element again after a log-out, gets a new code.
  _save() {
    const kept = this._watches.filter(({ acked }) => !acked).map(({ scene, status: { state, ends } }) => (
      { ...scene, state: state === "authorized" ? "scanned" : state, seq: 0, ends }));
    try {
      sessionStorage[this._key] = JSON.stringify(kept);
    } catch (error) {
      // Then a reload begins a new scene.
    }
  }
}

// The headless half of <scan-login>: see scan-login.d.ts.

import { begin, keptScenes, keyOf, request } from "./begin.js";

const FINAL = "consumed expired denied cancelled failed";
const CLAIMED = "scanned confirming registering authorized";
const SIGNALS = "online offline pageshow visibilitychange".split(" ");
const CONNECT_SECONDS = 6;
const visible = () => globalThis.document?.visibilityState !== "hidden";
// What the browser believes of its network only words a failure.
const unwell = (status) => status || globalThis.navigator?.onLine !== false ? "degraded" : "offline";

// Full jitter, in seconds: a crowd comes back spread out.
export const jitter = (tries, base = 1, cap = 30) => Math.random() * Math.min(cap, base * 2 ** tries);

export class SceneWatch extends EventTarget {
  transport = "";
  trouble = "";
  ended = "";
  acked = false;
  #path;
  #lost = 0;
  #ws;
  #abort;
  #rouse;

  // `path` is what was learnt about the way to the server, shared by the scenes of a page.
  constructor(server, scene, path = {}) {
    super();
    this.scene = scene;
    this.status = { state: scene.state, seq: scene.seq, ends: scene.ends };
    this.#path = Object.assign(path, { tries: 0, refused: 0, cut: 0, slower: 0, socketAt: 0, longAt: 0, ...path });
    this.url = new URL(scene.status, server);
    this.#run();
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
    Object.assign(this.#path, { tries: 0, socketAt: 0 });
    this.#abort?.abort();
    this.#ws?.drop(1001);
    this.#rouse?.();
  }

  async #run() {
    while (!this.ended)
      if (Date.now() < this.#path.socketAt) await this.#pollTurn();
      else await this.#socketTurn();
  }

  #pause(seconds) {
    return new Promise((resolve) => {
      this.#rouse = resolve;
      setTimeout(resolve, this.ended ? 0 : seconds * 1000);
    });
  }

  #by(transport, trouble = "") {
    if (!trouble) this.#lost = 0;
    if (this.transport === transport && this.trouble === trouble) return;
    Object.assign(this, { transport, trouble });
    this.dispatchEvent(new Event("path"));
  }

  // One socket to its end, and what its close code asks for; 0: nothing ever came.
  async #socketTurn() {
    const path = this.#path;
    const code = await this.#socket();
    if (this.ended) return;
    if (this.transport === "socket") this.#by("");
    if (code === 4409) return this.stop("replaced");
    if (code === 1009 || code === 4400) return this.stop("bug");
    if (code === 4408) return this.#hear({ state: "expired", seq: this.status.seq + 1 });
    let blocked = !code && path.refused;
    if (!blocked && [0, 1000, 1006].includes(code))
      blocked = (await this.#poll("")).status === 200 && !code;
    // Where requests get through and sockets do not: poll, and try one again ever less often.
    if (blocked && ++path.refused > 1)
      path.socketAt = Date.now() + 1000 * Math.min(300, 8 * 2 ** path.refused);
    else if (!this.ended) await this.#pause(jitter(path.tries++));
  }

  #socket() {
    return new Promise((resolve) => {
      const path = this.#path;
      let ws, timer;
      const drop = (code) => {
        clearTimeout(timer);
        if (ws) ws.onmessage = ws.onclose = ws.onerror = null;
        ws?.close();
        this.#ws = null;
        resolve(ws?.heard || code !== 1006 ? code : 0);
      };
      // The embedding page's policy: a second try finds no other answer.
      const forbidden = () => {
        path.refused ||= 1;
        drop(1006);
      };
      try {
        const url = new URL(this.scene.ws, this.url);
        url.protocol = url.protocol.replace("http", "ws");
        ws = new WebSocket(url, ["scanpush.v1", `watch.${this.scene.watch_token}`]);
      } catch {
        return forbidden();
      }
      this.#ws = Object.assign(ws, { drop });
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
        this.#by("socket");
        this.#hear(JSON.parse(data));
      };
    });
  }

  // A long poll, or a short one where long ones get cut off.
  async #pollTurn() {
    const path = this.#path, began = Date.now(), { seq } = this.status;
    const long = began >= path.longAt;
    const wait = Math.max(1, Math.min(25, Math.ceil((path.socketAt - began) / 1000)));
    const query = long ? `?wait=${wait}&seq=${seq}` : "";
    const { status, body, retryAfter } = await this.#poll(query, wait);
    if (this.ended) return;
    if (body.error?.code === "slow_down") path.slower += 5;
    const interval = (this.scene.poll_interval || 1) + path.slower;
    if (status === 200) {
      path.tries = 0;
      if (long) path.cut = 0;
      this.#by(long ? "long_poll" : "poll");
      // A long poll answered at once without news did not wait: never spin on it.
      if (!long || (this.status.seq === seq && Date.now() - began < 900)) await this.#pause(interval);
      return;
    }
    // Long polls are cut where short ones get through.
    const cut = long && [0, 408, 502, 504].includes(status) && (await this.#poll("")).status === 200;
    if (cut && ++path.cut > 1) path.longAt = Date.now() + 15000 * 2 ** Math.min(path.cut, 5);
    await this.#pause(Math.max(retryAfter, status === 429 ? interval : 0, jitter(path.tries++)));
  }

  async #poll(query, wait = 0) {
    const { signal } = this.#abort = new AbortController();
    const bearer = this.scene.watch_token;
    const answer = await request(this.url + query, { bearer, signal, seconds: wait + 10 });
    if (this.ended || signal.aborted) return answer;
    if (answer.status === 200) {
      this.#by(this.transport);
      await this.#hear(answer.body);
    } else if ([401, 404, 410].includes(answer.status)) this.stop("gone");
    else if (answer.status !== 429 && ++this.#lost > 1) this.#by("", unwell(answer.status));
    return answer;
  }

  async #hear(status) {
    const { seq, state } = status, screen = status.type === "screen" ? status : status.screen;
    // What the operator does to the kiosk that shows this scene (docs/contract.md).
    if (screen && !this.ended) this.dispatchEvent(new CustomEvent("screen", { detail: screen }));
    if (this.ended || !(seq >= this.status.seq)) return;
    const news = seq > this.status.seq || state === "authorized";
    this.status = { ...status, ends: Date.now() + 1000 * (status.expires_in ?? 0) };
    if (news) this.dispatchEvent(new Event("status"));
    // An exchange code is collected by a server, a ticket is posted, and that is its ack.
    if (state === "authorized") status.exchange_code || status.ticket || await this.#ack(seq);
    else if (FINAL.includes(state)) this.stop("finished");
  }

  post(path, json) {
    return request(`${this.url}/${path}`, { method: "POST", bearer: this.scene.watch_token, json });
  }

  async #ack(seq) {
    if (this.#ws?.heard) {
      this.#ws.send(JSON.stringify({ type: "ack", seq }));
      this.acked = true;
      return this.dispatchEvent(new Event("ack"));
    }
    // Else the next poll brings the login again, and with it the next try.
    if ((await this.post("ack", { seq })).status === 204) this.stop("finished");
  }
}

export class ScanLogin extends EventTarget {
  view = { state: "starting" };
  #wish;
  #key;
  #path = {};
  #watches = [];
  #lead;
  #left;
  #tries = 0;
  #turn = 0;
  #next;
  #timer;
  #pulse;
  #beat;

  constructor({ server = globalThis.location?.origin, account, kind, authorize, lang, refreshes = 3 } = {}) {
    super();
    this.server = new URL(server);
    Object.assign(this, { refreshes, lang });
    this.#wish = { account, kind, authorize };
    this.#key = keyOf(this.server, this.#wish);
  }

  start() {
    this.stop();
    for (const name of SIGNALS) globalThis.addEventListener?.(name, this.#onSignal);
    this.#pulse = setInterval(this.#onSignal, 5000, {});
    this.#beat = Date.now();
    this.#left = this.refreshes;
    keptScenes(this.#key).forEach((scene) => this.#follow(scene));
    const claimed = this.#watches.find((watch) => CLAIMED.includes(watch.status.state));
    if (this.#watches.length) this.#show(claimed ?? this.#watches.slice(-1)[0]);
    else this.#plan(0, () => this.#begin());
    return this;
  }

  stop() {
    for (const name of SIGNALS) globalThis.removeEventListener?.(name, this.#onSignal);
    clearInterval(this.#pulse);
    this.#plan();
    this.#lead = null;
    this.#watches.splice(0).forEach((watch) => watch.stop());
  }

  again() {
    this.#left = this.refreshes;
    this.#drop();
    this.#set({ state: "starting" });
    return this.#begin();
  }

  cancel() {
    this.#drop();
    this.#set({ state: "cancelled" });
    this.#tell("cancelled");
  }

  async number(number) {
    return (await import("./scan-number.js")).send(this.#lead, number);
  }

  async register(fields) {
    const json = { registration_token: this.view.registration_token, ...fields };
    const answer = await request(new URL("/api/register", this.server), { method: "POST", json });
    return answer.status === 200 ? null : answer.body.error ?? { code: "unreachable" };
  }

  #onSignal = ({ type, persisted }) => {
    // A late pulse tells that this machine was asleep.
    const slept = Date.now() - this.#beat > 20000;
    this.#beat = Date.now();
    if (type === "online" || type === "offline" || persisted || (slept && visible())) this.#wake();
    else this.#arm();
  };

  #wake() {
    this.#watches.forEach((watch) => watch.wake());
    if (this.view.retry) this.#plan(0, () => this.#begin());
    this.#arm();
  }

  // What time alone will bring: in a visible tab, else as soon as it is visible again.
  #plan(at, act) {
    this.#turn++;
    this.#next = act && { at, act };
    this.#arm();
  }

  #arm() {
    clearTimeout(this.#timer);
    const { at, act } = this.#next ?? {};
    if (!act || !visible()) return;
    const go = () => {
      if (this.#next?.act !== act) return;
      this.#next = null;
      act();
    };
    // At once, but behind what is set right after `start`. A timer would come 25 ms later while a page loads.
    if (at) this.#timer = setTimeout(go, Math.max(0, at - Date.now()));
    else queueMicrotask(go);
  }

  async #begin() {
    this.#plan();
    const turn = this.#turn, wish = { ...this.#wish, lang: this.lang };
    let answer = await begin(this.server, wish);
    if (!answer.status && this.view.state === "starting" && globalThis.document)
      answer = await import("./scan-refusal.js").then(({ ask }) => ask(this.server, wish, answer), () => answer);
    const { scene } = answer;
    if (turn === this.#turn) {
      if (!scene) return this.#missed(answer);
      this.#tries = 0;
      this.#show(this.#follow(scene));
    } else if (scene) new SceneWatch(this.server, scene).cancel();
  }

  #missed({ status, retryAfter, body }) {
    const error = body.error?.code ?? "unreachable";
    const trouble = status === 429 ? "limited" : status && status < 500 ? "" : unwell(status);
    if (trouble) {
      const retry = Date.now() + 1000 * Math.max(retryAfter, 1 + jitter(this.#tries++, 3, 60));
      this.#set({ ...this.view, trouble, error, retry });
      this.#plan(retry, () => this.#begin());
    } else this.#set({ state: "failed", error });
    this.#tell("error");
  }

  // Only so often by itself: every code spends WeChat's quota.
  #refresh() {
    if (this.#left-- > 0) this.#begin();
    else this.#set({ state: "paused" });
  }

  #follow(scene) {
    const watch = new SceneWatch(this.server, scene, this.#path);
    watch.addEventListener("status", () => this.#onStatus(watch));
    watch.addEventListener("end", () => this.#onEnd(watch));
    watch.addEventListener("ack", () => this.#save());
    watch.addEventListener("path", () => {
      if (watch !== this.#lead || this.view.retry) return;
      this.#set({ ...this.view, transport: watch.transport, trouble: watch.trouble });
    });
    this.#watches.push(watch);
    return watch;
  }

  #onStatus(watch) {
    const { state } = watch.status, lead = this.#lead, before = this.view.state;
    const claims = CLAIMED.includes(state);
    const counts = claims ? !CLAIMED.includes(lead?.status.state) : !this.view.retry;
    if (!(watch === lead ? claims || counts : claims && counts)) return;
    if (before === { consumed: "authorized", expired: "paused" }[state]) return;
    // Whichever code was scanned first wins; no other may be scanned now.
    if (claims) this.#drop(watch);
    this.#show(watch);
    const { view } = this;
    if (view.state === before || state === "waiting") return;
    if (state === "authorized") this.#tell("login", view.login ?? view);
    else this.#tell(view.state === "failed" ? "error" : view.state);
    if (state === "expired" && before === "waiting") this.#plan(0, () => this.#refresh());
  }

  #onEnd(watch) {
    if (!this.#watches.includes(watch)) return;
    this.#watches = this.#watches.filter((other) => other !== watch);
    this.#save();
    if (watch !== this.#lead || this.view.state === "authorized" || this.view.retry) return;
    if (watch.ended === "replaced") this.#set({ state: "replaced" });
    else if (watch.ended === "bug") this.#set({ state: "failed", error: "bug" });
    else if (watch.ended === "gone") this.#set({ state: "expired" });
    else return;
    this.#lead = null;
    if (watch.ended === "gone") this.#plan(0, () => this.#refresh());
    else this.#plan();
  }

  #show(watch) {
    const { scene, status, transport, trouble } = this.#lead = watch;
    const { state, ends, error } = status;
    const view = { kind: this.#wish.kind, ...status, scene_str: scene.scene_str, transport, trouble };
    view.error = error?.code ?? error;
    if (state === "denied" && watch.numbered) view.error = "wrong_number";
    if (state === "consumed") Object.assign(view, { state: "failed", error: "already_used" });
    if (state === "waiting") {
      const { qr, code, start, began, fresh_until } = scene;
      Object.assign(view, { qr, code, start, began, fresh_until });
      this.#plan(fresh_until, () => this.#refresh());
    } else if (CLAIMED.includes(state)) this.#plan(ends + 3000, () => watch.wake());
    else this.#plan();
    this.#set(view);
    this.#save();
  }

  #drop(except) {
    this.#plan();
    if (!except) this.#lead = null;
    this.#watches.filter((watch) => watch !== except).forEach((watch) => watch.cancel());
  }

  #set(view) {
    this.view = view;
    this.dispatchEvent(new Event("change"));
  }

  #tell(name, detail = this.view) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  // What a reload needs, never a login: `seq` 0 has the server tell everything again. Nothing of a login that
  // the page has: a site that reloads at once, and shows the element again after a log-out, gets a new code.
  #save() {
    const kept = this.#watches.filter(({ acked }) => !acked).map(({ scene, status: { state, ends } }) => (
      { ...scene, state: state === "authorized" ? "scanned" : state, seq: 0, ends }));
    try {
      sessionStorage[this.#key] = JSON.stringify(kept);
    } catch {
      // Then a reload begins a new scene.
    }
  }
}

// Begins a scene. A page loads this before everything else, so that its code is on the way while the rest comes.

/** The object that everything global is a member of; `globalThis` is younger than Chromium 63. */
export const world = typeof self === "undefined" ? globalThis : self;

const NOTHING = { status: 0, retryAfter: 0, body: {} };

async function read(answer) {
  const text = await answer.text();
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  return { status: answer.status, retryAfter, body: text ? JSON.parse(text) : {} };
}

// Resolves always, and as soon as `stopped` does; `status` 0: nothing usable came back.
export async function request(url, { method, bearer, json, seconds = 15, stopped } = {}) {
  // Chromium 63 has none. What is given up there comes to an end by itself.
  const cut = world.AbortController && new AbortController();
  let timer;
  const over = new Promise((resolve) => {
    timer = setTimeout(resolve, seconds * 1000);
    if (stopped) stopped.then(resolve);
  });
  const headers = {};
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  // No Content-Type of JSON, before which a browser asks a foreign server for leave: a round trip.
  try {
    const body = json && JSON.stringify(json), signal = cut && cut.signal;
    const answer = fetch(url, { method, headers, body, signal, cache: "no-store" }).then(read);
    return await Promise.race([answer, over]) || NOTHING;
  } catch (error) {
    // No network, a time-out, or some proxy's own page.
    return NOTHING;
  } finally {
    clearTimeout(timer);
    if (cut) cut.abort();
  }
}

async function ask(server, wish, bearer) {
  return begun(await request(new URL("/api/scenes", server), { method: "POST", json: wish, bearer }));
}

function begun(answer, began = Date.now()) {
  if (answer.status !== 201) return answer;
  const { qr, expires_in: life } = answer.body;
  const shown = qr ? qr.expires_in : Math.max(life - 30, life / 2);
  const times = { began, fresh_until: began + shown * 1000, ends: began + life * 1000 };
  return { ...answer, scene: { ...answer.body, ...times } };
}

const same = (server, wish, bearer) => JSON.stringify([new URL(server).origin, wish, bearer]);
let early = {};

/** Asks now for what the first `begin` with the same arguments will want. */
export function beginEarly(server, wish, bearer) {
  early = { key: same(server, wish, bearer), answer: ask(server, wish, bearer) };
}

export async function begin(server, wish, bearer) {
  const given = world.scanLoginEarly;
  if (given) {
    world.scanLoginEarly = undefined;
    const adopted = await adopt(given, server, wish);
    if (adopted) return adopted;
  }
  const { key, answer } = early;
  if (key !== same(server, wish, bearer)) return ask(server, wish, bearer);
  early = {};
  return answer;
}

/**
 * What an inline line of the page has asked for before this script came (docs/embedding.md); nothing where that
 * is another login than the one that is wanted, or too old.
 */
async function adopt({ url, body, answer }, server, wish) {
  try {
    const told = JSON.parse(body), names = Object.keys({ ...wish, ...told });
    const meant = new URL("/api/scenes", server).href === url;
    if (!meant || names.some((name) => told[name] !== wish[name])) {
      console.warn(`scan-login: scanLoginEarly is not of ${JSON.stringify(wish)}`);
      return null;
    }
    const late = new Promise((resolve) => setTimeout(resolve, 15000, NOTHING));
    // It may have come at any time since the page began.
    const found = begun(await Promise.race([answer.then(read), late]), performance.timing.navigationStart);
    return found.scene && found.scene.fresh_until < Date.now() + 10000 ? null : found;
  } catch (error) {
    return NOTHING;
  }
}

/** Under which name this tab keeps the scenes of such a wish. */
export const keyOf = (server, { account, kind, authorize }) =>
  `scanpush ${new URL(server).origin} ${account} ${kind}${authorize ? " " + authorize : ""}`;

/** The scenes that this tab has and that have not ended. */
export function keptScenes(key) {
  try {
    return JSON.parse(sessionStorage[key]).filter((scene) => scene.ends > Date.now());
  } catch (error) {
    // Nothing kept, or no storage (a sandboxed frame).
    return [];
  }
}

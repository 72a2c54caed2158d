// Begins a scene. A page loads this before everything else, so that its code is on the way while the rest comes.

const NOTHING = { status: 0, retryAfter: 0, body: {} };

async function read(answer) {
  const text = await answer.text();
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  return { status: answer.status, retryAfter, body: text ? JSON.parse(text) : {} };
}

// Resolves always; `status` 0: nothing usable came back.
export async function request(url, { method, bearer, json, seconds = 15, signal } = {}) {
  const stop = new AbortController();
  const abort = () => stop.abort();
  const timer = setTimeout(abort, seconds * 1000);
  signal?.addEventListener("abort", abort);
  const headers = {};
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  // No Content-Type of JSON, before which a browser asks a foreign server for leave: a round trip.
  try {
    return await read(await fetch(url, {
      method, headers, body: json && JSON.stringify(json), signal: stop.signal, cache: "no-store",
    }));
  } catch {
    // No network, a time-out, or some proxy's own page.
    return NOTHING;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

async function ask(server, wish, bearer) {
  return begun(await request(new URL("/api/scenes", server), { method: "POST", json: wish, bearer }));
}

function begun(answer, began = Date.now()) {
  if (answer.status !== 201) return answer;
  const { qr, expires_in: life } = answer.body;
  const shown = qr?.expires_in ?? Math.max(life - 30, life / 2);
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
  const given = globalThis.scanLoginEarly;
  if (given) {
    globalThis.scanLoginEarly = undefined;
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
    const found = begun(await Promise.race([answer.then(read), late]), performance.timeOrigin);
    return found.scene && found.scene.fresh_until < Date.now() + 10000 ? null : found;
  } catch {
    return NOTHING;
  }
}

/** Under which name this tab keeps the scenes of such a wish. */
export const keyOf = (server, { account, kind, authorize }) =>
  `scanpush ${new URL(server).origin} ${account} ${kind}${authorize ? ` ${authorize}` : ""}`;

/** The scenes that this tab has and that have not ended. */
export function keptScenes(key) {
  try {
    return JSON.parse(sessionStorage[key]).filter((scene) => scene.ends > Date.now());
  } catch {
    // Nothing kept, or no storage (a sandboxed frame).
    return [];
  }
}

// Begins a scene. A page loads this before everything else, so that its code is on the way while the rest comes.

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
    const answer = await fetch(url, {
      method, headers, body: json && JSON.stringify(json), signal: stop.signal, cache: "no-store",
    });
    const text = await answer.text();
    const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
    return { status: answer.status, retryAfter, body: text ? JSON.parse(text) : {} };
  } catch {
    // No network, a time-out, or some proxy's own page.
    return { status: 0, retryAfter: 0, body: {} };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

async function ask(server, wish, bearer) {
  const answer = await request(new URL("/api/scenes", server), { method: "POST", json: wish, bearer });
  if (answer.status !== 201) return answer;
  const { qr, expires_in: life } = answer.body;
  const began = Date.now(), shown = qr?.expires_in ?? Math.max(life - 30, life / 2);
  const times = { began, fresh_until: began + shown * 1000, ends: began + life * 1000 };
  return { ...answer, scene: { ...answer.body, ...times } };
}

const same = (server, wish, bearer) => JSON.stringify([new URL(server).origin, wish, bearer]);
let early = {};

/** Asks now for what the first `begin` with the same arguments will want. */
export function beginEarly(server, wish, bearer) {
  early = { key: same(server, wish, bearer), answer: ask(server, wish, bearer) };
}

export function begin(server, wish, bearer) {
  const { key, answer } = early;
  if (key !== same(server, wish, bearer)) return ask(server, wish, bearer);
  early = {};
  return answer;
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

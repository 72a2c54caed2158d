// A screen without a secret. It shows a code, and the operator who types or scans it gives the screen its secret.

import { request } from "./begin.js";
import { jitter } from "./scan-client.js";

const ROUTE = new URL("/api/kiosks/pair", location.origin), OFF_AGAIN = 60;
// Always: whether an answer got lost on the way, a page cannot know.
const COLLECT = new URL("?again=1", ROUTE);
let rouse;

const pause = (seconds) => new Promise((resolve) => {
  rouse = resolve;
  setTimeout(resolve, Math.max(1, seconds) * 1000);
});

/** The network came back, or the machine from its sleep: ask now. */
export const wakePairing = () => rouse && rouse();

/**
 * Resolves to `{ name, secret }` once the operator has paired this screen; a code that ends is followed by another.
 * `face.code(code, until)` is told each code, `until` in milliseconds, and `face.trouble(status)` why there is none.
 */
export async function pair(face) {
  for (let tries = 0; ;) {
    const { status, retryAfter, body } = await request(ROUTE, { method: "POST" });
    if (status === 201) {
      tries = 0;
      const until = Date.now() + body.expires_in * 1000;
      face.code(body.code, until);
      const given = await collected(body, until);
      if (given) return given;
    } else {
      face.trouble(status);
      await pause(Math.max(retryAfter, status === 404 ? OFF_AGAIN : jitter(tries++, 2, 30)));
    }
  }
}

/** What the operator gave for a code, or nothing once it has ended. */
async function collected({ pair_token: bearer, interval }, until) {
  for (let tries = 0; Date.now() < until;) {
    await pause(Math.min(interval + (tries && jitter(tries, 2, 30)), (until - Date.now()) / 1000));
    const { status, retryAfter, body } = await request(COLLECT, { method: "GET", bearer });
    if (status === 200) return body;
    if (status === 202) {
      interval = body.interval;
      tries = 0;
    } else if (status === 429 || !status || status >= 500) {
      tries++;
      if (retryAfter) await pause(Math.min(retryAfter, (until - Date.now()) / 1000));
    } else return null;
  }
  return null;
}

// Asks a second time where no answer came to a page's first request, and tells a network that is down from a
// page that may not ask. A browser tells a script no difference; so a file that every page may read is asked
// for as well. Fetched only where it is needed.

import { begin } from "./begin.js";

const SECONDS = 5;

/** Whether a file that is open to all pages can be had, and whether the page's own policy forbade it. */
async function probe(server) {
  const late = new Promise((resolve) => setTimeout(resolve, SECONDS * 1000, {}));
  const found = { reached: false, forbidden: false };
  const note = ({ blockedURI, effectiveDirective }) => {
    if (effectiveDirective === "connect-src" && blockedURI.startsWith(server.origin)) found.forbidden = true;
  };
  document.addEventListener("securitypolicyviolation", note);
  try {
    const answer = fetch(new URL("/static/icon.svg", server), { cache: "no-store" });
    found.reached = !!(await Promise.race([answer, late])).ok;
  } catch (error) {
    // The violation is told in a task of its own, after this one.
    await new Promise((resolve) => setTimeout(resolve, 50));
  } finally {
    document.removeEventListener("securitypolicyviolation", note);
  }
  return found;
}

/**
 * The answer to go on with: `first`, in which nothing came back; that of the second try; or `status` 403 with
 * a code where this page may not ask at all, which the console is told with what to do.
 */
export async function ask(server, wish, first) {
  const { origin } = self, { reached, forbidden } = await probe(server);
  if (!forbidden && (!reached || origin === server.origin)) return first;
  const second = await begin(server, wish);
  if (second.status) return second;
  const [code, why] = forbidden
    ? ["blocked_by_policy", `this page's Content-Security-Policy must allow ${server.origin} in connect-src`]
    : origin === "null"
      ? ["opaque_origin", "this page has no origin: a sandboxed frame needs allow-same-origin, a file a web server"]
      : ["forbidden_origin", `server.allowed_origins of the scanpush at ${server.origin} must list "${origin}"`];
  console.error(`scan-login: ${why} (${code})`);
  return { status: 403, retryAfter: 0, body: { error: { code } } };
}

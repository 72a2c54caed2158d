// What the page `/kiosk` does before anything else: it reads which screen it is, and asks for its code.
//
// The fragment of the address says it (`#<name>:<secret>`), else what this screen was given when it was paired.

import { beginEarly } from "./begin.js";

const KEPT = "scanpush kiosk";

/** Browsers escape some characters of an address; what is no escape stays as it was typed. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return text;
  }
}

function kept() {
  try {
    return JSON.parse(localStorage[KEPT]) || [];
  } catch (error) {
    // Never paired, or no storage.
    return [];
  }
}

/** Keeps what a pairing gave: in the address where there is no storage, which the screen must then be started with. */
export function keep(name, secret) {
  try {
    localStorage[KEPT] = JSON.stringify([name, secret]);
  } catch (error) {
    history.replaceState(null, "", `#${[name, secret].map(encodeURIComponent).join(":")}`);
  }
}

/** Forgets which screen this is. */
export function forget() {
  history.replaceState(null, "", location.pathname + location.search);
  try {
    localStorage.removeItem(KEPT);
  } catch (error) {
    // There is no storage, so nothing is in it.
  }
}

/** Whether the address names the screen, rather than a pairing. */
export const isTyped = location.hash.length > 1;
export const [name, secret] = isTyped ? decoded(location.hash.slice(1)).split(/:(.*)/s) : kept();
export const lang = document.documentElement.lang;

/** What a scene of this screen is begun with. */
export const wish = { kiosk: name, lang, page: document.querySelector('meta[name="scanpush-version"]').content };

if (name && secret) beginEarly(location.origin, wish, secret);

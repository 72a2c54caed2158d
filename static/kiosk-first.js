// What the page `/kiosk` does before anything else: it reads which screen it is, and asks for its code.

import { beginEarly } from "./begin.js";

/** Browsers escape some characters of an address; what is no escape stays as it was typed. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const [name, secret] = decoded(location.hash.slice(1)).split(/:(.*)/s);
export const lang = document.documentElement.lang;

if (name && secret) beginEarly(location.origin, { kiosk: name, lang }, secret);

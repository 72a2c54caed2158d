// What a login page does before anything else: its appearance, and the request for its code.

import { beginEarly, keptScenes, keyOf } from "./begin.js";
import { followTheme, keptKind } from "./page.js";

export const meta = (name) => {
  const found = document.querySelector(`meta[name="scanpush-${name}"]`);
  return found ? found.content.trim() : "";
};
export const inWeChat = /MicroMessenger/i.test(navigator.userAgent);
export const onPhone = matchMedia("(pointer: coarse) and (max-width: 48rem)").matches;
const configured = meta("kinds").split(/[\s,]+/).filter(Boolean);

/** Which login kinds make sense on this device, the best one first. */
export function kinds() {
  const best = inWeChat ? ["web", "mini_program", "official_account"] : onPhone ? ["code", "website"] : [];
  const order = [...best, "official_account", "mini_program", "website", "code", "web"];
  const useful = configured.filter((kind) => kind !== "web" || inWeChat || !configured.includes("official_account"));
  return useful.sort((a, b) => order.indexOf(a) - order.indexOf(b));
}

const first = kinds().find((kind) => kind === keptKind()) || kinds()[0] || "official_account";

/** The attribute `kind` of this page's element, where it needs one. */
export const firstKind = first === "official_account" ? undefined : first;

followTheme();
// Browsers may paint between the body and the script at its end, before the element has its size.
document.documentElement.classList.add("coming");
const wish = { kind: firstKind, authorize: meta("authorize") || undefined, lang: document.documentElement.lang };
// As the element does it: no code for a tab that is not seen, nor for one that has one.
if (document.visibilityState !== "hidden" && !keptScenes(keyOf(location.origin, wish)).length)
  beginEarly(location.origin, wish);

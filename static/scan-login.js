// What a page loads to have <scan-login>: see scan-login.d.ts. Its server is the one that this file comes from.

import { ScanLogin } from "./scan-client.js";
import { bestLanguage, define } from "./scan-element.js";

export { ScanLogin };

/** The language that serves a tag best. */
export const language = bestLanguage;

// The first address of a stack is this file's; import.meta is younger than Chromium 63.
const [server] = /\bhttps?:[^\s)]+/.exec(new Error().stack) || [""];
define({ server });

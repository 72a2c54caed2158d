export * from "./lib/scan-login.js";

/**
 * Registers `<scan-login>`, once; later calls, and calls outside of a browser, do no harm. `server` is asked by the
 * elements that have no such attribute; default: the page's own origin.
 */
export function define(options?: { server?: string | URL }): void;

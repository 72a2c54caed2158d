// Importing this changes nothing, in a browser or in Node: <scan-login> is registered by `define()`, or by the import
// of ./element.

export { ScanLogin } from "./lib/scan-client.js";
export { bestLanguage as language, define } from "./lib/scan-element.js";

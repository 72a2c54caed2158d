// Prints the markup with which a page loads <scan-login> from a CDN that has this version of the package, and checks
// every file by its hash (SRI).   npm run sri -- [BASE]

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import "./prepack.mjs";

const here = fileURLToPath(new URL("..", import.meta.url));
const { name, version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const base = process.argv[2] ?? `https://cdn.jsdelivr.net/npm/${name}@${version}/`;

const digest = (algorithm, what) => `${algorithm}-${createHash(algorithm).update(what).digest("base64")}`;
const files = readdirSync(join(here, "lib"), { recursive: true }).filter((file) => /(?<!\.d)\.js$/.test(file)).sort();
const integrity = Object.fromEntries(
  files.map((file) => [`${base}lib/${file}`, digest("sha384", readFileSync(join(here, "lib", file)))]));
const map = JSON.stringify({ integrity }, null, 1);

console.log(`<!-- script-src ${new URL(base).origin} '${digest("sha256", map)}' -->
<script type="importmap">${map}</script>
<script type="module" src="${base}element.js" crossorigin
  integrity="${digest("sha384", readFileSync(join(here, "element.js")))}"></script>
<scan-login server="https://login.example.com"></scan-login>`);

// Makes lib/, for `npm pack` and `npm publish`: the modules of static/ that <scan-login> imports, and its types,
// as they are. static/ stays the only source; nothing of lib/ is kept in the repository.

import { copyFileSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const root = dirname(dirname(here));
const lib = join(here, "lib");
const files = new Set(["scan-element.js", "scan-login.d.ts"]);

// A set goes on over what is added to it meanwhile.
for (const file of files) {
  const source = readFileSync(join(root, "static", file), "utf8");
  for (const [, name] of source.matchAll(/\b(?:from |import |import\()"(\.\/[^"]+)"/g))
    files.add(normalize(join(dirname(file), name)));
}
rmSync(lib, { recursive: true, force: true });
for (const file of files) {
  mkdirSync(dirname(join(lib, file)), { recursive: true });
  copyFileSync(join(root, "static", file), join(lib, file));
}
copyFileSync(join(root, "LICENSE"), join(here, "LICENSE"));

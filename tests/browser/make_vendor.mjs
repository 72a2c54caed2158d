// Makes static/examples/vendor: React and Vue as one ES module each, for example pages that need no build step.
//   node tests/browser/make_vendor.mjs [FOLDER]   from the versions of package.json; test_examples.py holds them equal

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = process.argv[2] ?? join(here, "../../static/examples/vendor");
const modules = join(here, "node_modules");
mkdirSync(folder, { recursive: true });

// React comes as CommonJS, which browsers do not load.
buildSync({
  stdin: {
    contents: `export { createElement, useEffect, useRef, useState } from "react";
      export { createRoot } from "react-dom/client";`,
    resolveDir: here,
  },
  outfile: join(folder, "react.mjs"),
  define: { "process.env.NODE_ENV": '"production"' },
  bundle: true,
  format: "esm",
  minify: true,
  charset: "utf8",
});
copyFileSync(join(modules, "vue/dist/vue.runtime.esm-browser.prod.js"), join(folder, "vue.mjs"));

const licenses = ["react", "react-dom", "scheduler", "vue"].map((name) => {
  const { version } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
  return `${name} ${version}\n\n${readFileSync(join(modules, name, "LICENSE"), "utf8").trim()}\n`;
});
writeFileSync(join(folder, "LICENSES.txt"), licenses.join(`\n${"-".repeat(72)}\n\n`));

// Compares scripts with their shorter forms, token by token: [[name, script, shorter], ...] on stdin, differences on
// stdout. A minifier that takes a space out of a text changes what a page says or does.
import { readFileSync } from "node:fs";
import { tokenizer } from "acorn";

const shown = ({ type, value }) => `${type.label} ${JSON.stringify(value && value.pattern ? `${value.pattern}` : value)}`;
const tokens = (code) => Array.from(tokenizer(code, { ecmaVersion: "latest", sourceType: "module" }), shown);

for (const [name, code, shorter] of JSON.parse(readFileSync(0, "utf8"))) {
  const [all, kept] = [tokens(code), tokens(shorter)];
  const at = all.findIndex((token, i) => token !== kept[i]);
  if (at >= 0 || all.length !== kept.length) console.log(`${name}: ${all.slice(at, at + 5).join(", ")}`);
}

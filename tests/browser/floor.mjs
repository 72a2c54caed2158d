// Holds what static/ serves to the oldest browsers that it is for, by MDN's data of what browsers support.
//   node tests/browser/floor.mjs             every file of static/, by the table below
//   node tests/browser/floor.mjs pages FILE  any file, held to that floor: what the server puts together
//
// eslint-plugin-compat, eslint-plugin-es-x and doiuse were looked at: the first knows no member of an object
// (toggleAttribute, replaceChildren), the second no DOM, the third neither selectors nor the gap of a flex box. The
// data itself has all of it, and acorn and css-tree find the names. Objects have no types here: a member passes where
// any interface that old has one of its name.

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "acorn";
import { ancestor, base, simple } from "acorn-walk";
import * as css from "css-tree";

const data = createRequire(import.meta.url)("@mdn/browser-compat-data");
const STATIC = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "static");

/** The oldest browsers, and the newest syntax that a file may have: 2020 for import(), the rest goes by the data. */
const FLOORS = {
  pages: { ecma: 2020, browsers: { chrome: 63, chrome_android: 63, safari: 13, safari_ios: 13, firefox: 67 } },
  kiosk: { ecma: 2020, browsers: { chrome: 63 } },
  old: { ecma: 5, browsers: { chrome: 47 } },
  evergreen: null,
};

/** Which floor a file below static/ has: the first row that fits. */
const TABLE = [
  [/^operator.*/, "evergreen"], // the operator chooses the browser
  [/^examples\//, "evergreen"], // what developers read and copy; what they need of the element is held below
  [/^kiosk-old\.js$|^kiosk\.css$/, "old"],
  [/^kiosk.*\.js$/, "kiosk"],
  [/./, "pages"],
];

/** What is younger than the floor and does no harm there, with the reason. One that nothing needs any more fails. */
const ALLOWED = {
  "*": {
    "css.at-rules.media.forced-colors": "browsers that force colours have it",
    "css.at-rules.media.prefers-color-scheme": "the others are light",
    "css.at-rules.media.prefers-reduced-motion": "nothing moves much",
    "css.properties.color-scheme": "scroll bars and fields stay light",
    "css.properties.cursor": "iPhones have no pointer",
    "css.properties.font-variant-numeric": "digits of one width",
    "css.properties.forced-color-adjust": "browsers that force colours have it",
    "css.properties.line-break": "where Chinese and Japanese lines end",
    "css.properties.text-autospace": "a little space between scripts",
    "css.properties.text-underline-offset": "how far below the words the line is",
    "css.properties.text-spacing-trim": "half a space of punctuation",
    "css.properties.text-wrap": "where lines end",
    "css.properties.word-break.auto-phrase": "where Japanese lines end",
    "css.selectors.focus-visible": "the others draw a ring of their own; never in a list with what they know",
    "css.selectors.part": "the colours of the element's buttons; never in a list with what they know",
  },
  "begin.js": {
    "javascript.builtins.globalThis": "only where there is no self: in Node",
    "api.AbortController": "asked for first; without it an answer that is given up comes to its own end",
  },
  "kiosk.css": {
    "css.properties.align-content.space-between": "a flex box has it since Chromium 29; the data means the others",
    "css.properties.justify-content.space-between": "a flex box has it since Chromium 29; the data means the others",
  },
  "kiosk.js": {
    "api.Navigator.wakeLock": "asked for first; without it the screen's own settings decide",
  },
  "login.css": {
    "css.properties.display.contents": "one column where it is not: see @supports not",
    "css.properties.user-select": "a reference and a name can be selected by hand",
  },
  "oauth.css": {
    "css.properties.user-select": "a reference can be selected by hand",
  },
  "page.js": {
    "api.Navigator.clipboard": "asked for first; without it the text is selected, to be copied by hand",
    "api.Clipboard.writeText": "where there is a clipboard",
  },
  "scan-element.js": {
    "api.Navigator.clipboard": "asked for first; without it the code is selected, to be copied by hand",
    "api.Clipboard.writeText": "where there is a clipboard",
  },
  "scan-look.js": {
    "api.CSSStyleSheet.CSSStyleSheet": "where it throws, a <style> takes its place",
    "api.CSSStyleSheet.replaceSync": "where it throws, a <style> takes its place",
    "css.properties.container-type": "only the size of the typed code asks for it, where cqi is understood",
    "css.properties.user-select": "a code of six letters can be selected by hand",
  },
};

const used = new Set();

/** Whether a statement of support holds for a browser of that version: by its own name, and without a switch. */
function holds(statement, version) {
  return [statement].flat().some((one) => one && !one.flags && !one.prefix && !one.alternative_name
    && one.version_added && parseFloat(one.version_added.replace("≤", "")) <= version
    && !(one.version_removed && parseFloat(one.version_removed.replace("≤", "")) <= version));
}

const at = (key) => key.split("/").reduce((node, part) => node?.[part], data);
const hasAll = (key, browsers) => {
  const support = at(key)?.__compat?.support;
  return !support || Object.entries(browsers).every(([name, version]) => holds(support[name], version));
};

/** Every member of every interface and builtin, by its name. */
const members = new Map();
for (const [root, tree] of [["api", data.api], ["javascript/builtins", data.javascript.builtins]])
  for (const [owner, its] of Object.entries(tree))
    for (const member of Object.keys(its)) {
      const name = member.replace(/_(static|event)$/, "");
      if (/^\w+$/.test(name) && name !== "__compat" && name !== owner)
        members.set(name, [...(members.get(name) ?? []), `${root}/${owner}/${member}`]);
    }

class File {
  constructor(name, floor) {
    this.name = name;
    this.floor = FLOORS[floor];
    this.wrong = [];
  }

  /** Notes `key` of the data where the floor lacks it. */
  needs(key, line, shown = key.split("/").pop()) {
    if (hasAll(key, this.floor.browsers)) return true;
    const dotted = key.replaceAll("/", ".");
    // What is put together has the allowances of all that may be in it.
    for (const where of floor ? Object.keys(ALLOWED) : [this.name, "*"])
      if (ALLOWED[where]?.[dotted]) {
        used.add(`${where} ${dotted}`);
        return false;
      }
    this.wrong.push(`${this.name}:${line}: ${shown} is younger than the floor (${dotted})`);
    return false;
  }
}

const NODES = {
  ChainExpression: () => "operators/optional_chaining",
  LogicalExpression: ({ operator }) => operator === "??" && "operators/nullish_coalescing",
  CatchClause: ({ param }) => !param && "statements/try_catch/optional_catch_binding",
  ImportExpression: () => "operators/import",
  MetaProperty: ({ meta }) => meta.name === "import" && "operators/import_meta",
  ExportAllDeclaration: ({ exported }) => exported && "statements/export/namespace",
  ForOfStatement: (node) => node.await && "statements/for_await...of",
  Function: (node) => node.async && (node.generator ? "statements/async_generator_function" : "statements/async_function"),
  ObjectExpression: ({ properties }) =>
    properties.some(({ type }) => type === "SpreadElement") && "operators/spread/spread_in_object_literals",
  ObjectPattern: ({ properties }) =>
    properties.some(({ type }) => type === "RestElement") && "operators/destructuring/rest_in_objects",
};
const FLAGS = { s: "dotAll", d: "hasIndices", v: "unicodeSets", y: "sticky", u: "unicode" };
const PATTERNS = [[/\(\?<[=!]/, "lookbehind_assertion"], [/\(\?<\w/, "named_capturing_group"],
  [/\\p\{/i, "unicode_character_class_escape"], [/\(\?[ims]*(-[ims]+)?:/, "non_capturing_group"]];

/** What scripts name themselves: members of their own objects, of what the server sends, and those that are functions. */
const own = new Set(["scan", "states", "to", "token"]), ownCalls = new Set();

function learn(source) {
  const named = (key, value) => {
    own.add(key.name ?? key.value);
    if (/Function/.test(value?.type)) ownCalls.add(key.name ?? key.value);
  };
  simple(parse(source, { ecmaVersion: "latest", sourceType: "module" }), {
    // A shorthand in a pattern reads a member and makes none.
    ObjectExpression({ properties }) { properties.forEach(({ key, value }) => key && named(key, value)); },
    MethodDefinition({ key, value }) { named(key, value); },
    AssignmentExpression({ left, right }) { if (left.type === "MemberExpression") named(left.property, right); },
  });
}

function script(file, source) {
  const options = { ecmaVersion: file.floor.ecma, sourceType: file.floor.ecma > 5 ? "module" : "script", locations: true };
  let tree;
  try {
    tree = parse(source, options);
  } catch (error) {
    file.wrong.push(`${file.name}:${error.loc?.line}: ${error.message}: not in ECMAScript ${file.floor.ecma}`);
    return;
  }
  const declared = new Set(), media = new Set();
  const declare = (pattern) => {
    if (!pattern) return;
    if (pattern.type === "Identifier") declared.add(pattern.name);
    for (const part of [pattern.left, pattern.argument, pattern.value, ...(pattern.elements ?? pattern.properties ?? [])])
      if (part && typeof part === "object") declare(part);
  };
  ancestor(tree, {
    VariableDeclarator({ id, init }) {
      declare(id);
      if (init?.callee?.name === "matchMedia") media.add(id.name);
    },
    Function({ id, params }) { [id, ...params].forEach(declare); },
    Class({ id }) { declare(id); },
    CatchClause({ param }) { declare(param); },
    ImportDeclaration({ specifiers }) { specifiers.forEach(({ local }) => declare(local)); },
  });
  const free = (name, line, constructs) => {
    if (declared.has(name)) return;
    for (const root of ["api/", "api/Window/", "javascript/builtins/"]) {
      if (!at(root + name)?.__compat) continue;
      file.needs(root + name, line) && constructs && file.needs(`${root}${name}/${name}`, line, `new ${name}`);
    }
  };
  const visit = (node, ancestors) => {
    const line = node.loc.start.line, key = NODES[node.type]?.(node), parent = ancestors[ancestors.length - 2];
    if (key) file.needs(`javascript/${key}`, line);
    if (/Function/.test(node.type) && NODES.Function(node)) file.needs(`javascript/${NODES.Function(node)}`, line);
    if (node.type === "Identifier" && !(parent?.type === "UnaryExpression" && parent.operator === "typeof"))
      free(node.name, line, parent?.type === "NewExpression" && parent.callee === node || parent?.superClass === node);
    if (node.type === "Literal" && node.regex) {
      for (const flag of node.regex.flags)
        if (FLAGS[flag]) file.needs(`javascript/builtins/RegExp/${FLAGS[flag]}`, line, `the flag ${flag}`);
      for (const [found, what] of PATTERNS)
        if (found.test(node.regex.pattern)) file.needs(`javascript/regular_expressions/${what}`, line);
    }
    if (node.type === "Literal" && node.bigint) file.needs("javascript/builtins/BigInt", line);
    if (node.type === "MemberExpression" && !node.computed) member(node, line, parent);
    if (node.type === "ObjectPattern")
      for (const { key: read } of node.properties) if (read) memberNamed(read.name, line, false);
    if (node.type === "VariableDeclarator" && /^STYLE|^DARK/.test(node.id.name) && node.init.type === "TemplateLiteral") {
      const text = node.init.quasis.map(({ value }) => value.cooked).join("{ --set: 0; }");
      if (node.id.name === "STYLE") style(file, text, line);
    }
  };
  const member = (node, line, parent) => {
    const { object, property: { name } } = node, called = parent?.type === "CallExpression" && parent.callee === node;
    if (object.name && !declared.has(object.name))
      for (const key of [`api/${object.name}/${name}_static`, `javascript/builtins/${object.name}/${name}`])
        if (at(key)?.__compat) return file.needs(key, line, `${object.name}.${name}`);
    if (name === "addEventListener" && media.has(object.name)) file.needs("api/MediaQueryList/EventTarget_inheritance", line);
    if (/^(self|window|world|globalThis)$/.test(object.name) && /^[A-Z]/.test(name)) return free(name, line, parent?.superClass === node);
    memberNamed(name, line, called);
  };
  const memberNamed = (name, line, called) => {
    const keys = members.get(name);
    if (!keys || (called ? ownCalls : own).has(name) || keys.some((key) => hasAll(key, file.floor.browsers))) return;
    // The first that any browser has is the one that is meant, most of the time.
    file.needs(keys[0], line, `.${name}`);
  };
  // Every kind of node once: those of acorn-walk that only group others have no node of their own.
  const visitors = Object.fromEntries(Object.keys(base).map((type) => [type, (node, state, ancestors) => {
    if (node.type === type) visit(node, ancestors);
  }]));
  ancestor(tree, visitors);
}

/** Whether a shorthand before it sets the same: font and font-family. */
const sets = (one, property) => one.property === property || property.startsWith(`${one.property}-`);
const UNITS = [[/^[dls]v(w|h|i|b|min|max)$/, "viewport_percentage_units_dynamic"], [/^cq\w+$/, "container_query_length_units"]];

/** What a declaration needs beyond its property. */
function* inside(property, value) {
  for (const node of css.findAll(value, () => true)) {
    if (node.type === "Function") {
      const key = ["css/types/", "css/properties/custom-property/", "css/types/color/", `css/properties/${property}/`]
        .map((root) => root + node.name).find((found) => at(found)?.__compat);
      if (key) yield key;
    }
    if (node.type === "Dimension") {
      const key = UNITS.find(([unit]) => unit.test(node.unit))?.[1] ?? node.unit;
      if (at(`css/types/length/${key}`)) yield `css/types/length/${key}`;
    }
    if (node.type === "Identifier") {
      const key = `css/properties/${property}/${node.name}`;
      if (at(key)?.__compat) yield key;
    }
  }
}

function style(file, text, offset = 1) {
  const options = { positions: true, line: offset, parseCustomProperty: true, onParseError(error) { throw error; } };
  css.walk(css.parse(text, options), function visit(node) {
    const line = node.loc?.start.line;
    if (node.type === "Atrule") {
      file.needs(`css/at-rules/${node.name}`, line, `@${node.name}`);
      if (node.prelude)
        for (const { name } of css.findAll(node.prelude, ({ type }) => type === "Feature"))
          file.needs(`css/at-rules/media/${name.replace(/^(min|max)-/, "")}`, line, `@media (${name})`);
    }
    if (node.type === "PseudoClassSelector" || node.type === "PseudoElementSelector") {
      file.needs(`css/selectors/${node.name}`, line, `:${node.name}`);
      if (node.name === "not" && node.children?.first?.children?.size > 1) file.needs("css/selectors/not/selector_list", line);
    }
    if (node.type === "Declaration" && this.block && this.atrule?.name !== "supports") declaration(file, node, this.block, line);
  });
}

function declaration(file, node, block, line) {
  const { property } = node, siblings = block.children.toArray().filter(({ type }) => type === "Declaration");
  if (property.startsWith("--")) {
    for (const key of ["css/properties/custom-property", ...inside(property, node.value)]) file.needs(key, line, property);
    return;
  }
  const keys = at(`css/properties/${property}`)?.__compat ? [`css/properties/${property}`] : [];
  if (/^(row-|column-)?gap$/.test(property)) {
    const grid = siblings.some((one) => one.property === "display" && /grid/.test(css.generate(one.value)));
    keys.push(`css/properties/${property}/${grid ? "grid" : "flex"}_context`);
    // What was its name before, and does the same.
    if (grid && siblings.some((one) => one.property === `grid-${property}`)) return;
  }
  keys.push(...inside(property, node.value));
  const lacks = keys.find((key) => !hasAll(key, file.floor.browsers));
  if (!lacks) return;
  // An older value before it stands where this one is not understood; with a variable in it, that is found too late.
  // Browsers that know no variables at all find it in time.
  const variable = hasAll("css/properties/custom-property", file.floor.browsers) && css.find(node.value, ({ type, name }) => type === "Function" && name === "var");
  const before = siblings.slice(0, siblings.indexOf(node)).filter((one) => sets(one, property));
  const stands = before.some((one) => ![`css/properties/${property}`, ...inside(property, one.value)]
    .some((key) => !hasAll(key, file.floor.browsers)));
  if (!stands || variable) file.needs(lacks, line, `${property}: ${css.generate(node.value)}`);
}

function check(path, name, floor) {
  if (!FLOORS[floor]) return [];
  const file = new File(name, floor), source = readFileSync(path, "utf8");
  if (name.endsWith(".css")) style(file, source);
  else script(file, source);
  return [...new Set(file.wrong)];
}

const [floor, ...paths] = process.argv.slice(2);
const files = floor ? [] : readdirSync(STATIC, { recursive: true })
  .filter((name) => /(?<!\.min)\.(js|css)$/.test(name)).map((name) => name.replaceAll("\\", "/")).sort();
for (const name of readdirSync(STATIC, { recursive: true }))
  if (/^[\w-]+\.js$/.test(name)) learn(readFileSync(join(STATIC, name), "utf8"));
for (const path of paths) if (/\.m?js$/.test(path)) learn(readFileSync(path, "utf8"));
const wrong = floor
  ? paths.flatMap((path) => check(path, path, floor))
  : files.flatMap((name) => check(join(STATIC, name), name, TABLE.find(([row]) => row.test(name))[1]));
if (!floor)
  for (const [where, keys] of Object.entries(ALLOWED))
    for (const key of Object.keys(keys))
      if (!used.has(`${where} ${key}`)) wrong.push(`${where}: nothing needs the allowance ${key} any more`);
for (const line of wrong) console.error(line);
console.log(`floor: ${files.length || paths.length} files, ${wrong.length} too young`);
process.exitCode = wrong.length ? 1 : 0;

// The page `/`: the element does the login; this file does everything around it.

import { by, open, page, scan, showKinds } from "./login-page.js";
import { copyText, fill } from "./page.js";

let login;

const decode = (part) => JSON.parse(new TextDecoder().decode(
  Uint8Array.from(atob(part.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0))));

const spoken = () => document.documentElement.lang;
const when = (seconds) =>
  new Date(seconds * 1000).toLocaleString(spoken(), { dateStyle: "medium", timeStyle: "medium" });

function showClaims(claims) {
  fill(by("claims"), Object.entries(claims).map(([name, value]) => {
    const [row, term, code, text] = ["div", "dt", "code", "dd"].map((tag) => document.createElement(tag));
    code.textContent = name;
    term.append(page.words.claim[name] || "", code);
    text.textContent = ["iat", "nbf", "exp"].includes(name) ? when(value) : [].concat(value).join(", ");
    row.append(term, text);
    return row;
  }));
}

/** The four lines with which a developer verifies this very token. */
const SNIPPETS = {
  "verify-python": (c, alg) => `import jwt
keys = jwt.PyJWKClient("${location.origin}/.well-known/jwks.json")
key = keys.get_signing_key_from_jwt(token)
user = jwt.decode(token, key, ["${alg}"], audience="${c.aud}", issuer="${c.iss}", leeway=60)`,
  "verify-node": (c, alg) => `import { createRemoteJWKSet, jwtVerify } from "jose";
const keys = createRemoteJWKSet(new URL("${location.origin}/.well-known/jwks.json"));
const options = { algorithms: ["${alg}"], audience: "${c.aud}", issuer: "${c.iss}", clockTolerance: 60 };
const { payload: user } = await jwtVerify(token, keys, options);`,
};

/** The same with HS256, which has no public key: the server that verifies holds the secret, too. */
const SECRET_SNIPPETS = {
  "verify-python": (c) => `import os
import jwt
secret = os.environ["SCANPUSH_JWT__SECRET"]  # jwt.secret
user = jwt.decode(token, secret, ["HS256"], audience="${c.aud}", issuer="${c.iss}", leeway=60)`,
  "verify-node": (c) => `import { jwtVerify } from "jose";
const secret = new TextEncoder().encode(process.env.SCANPUSH_JWT__SECRET);  // jwt.secret
const options = { algorithms: ["HS256"], audience: "${c.aud}", issuer: "${c.iss}", clockTolerance: 60 };
const { payload: user } = await jwtVerify(token, secret, options);`,
};

function showSnippet(id) {
  const [head, claims] = login.token.split(".").slice(0, 2).map(decode);
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.id === id;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen) by("verify-panel").setAttribute("aria-labelledby", id);
  }
  by("snippet").textContent = (head.alg === "HS256" ? SECRET_SNIPPETS : SNIPPETS)[id](claims, head.alg);
}

/** What the server itself says about the token's owner; the page does without when it cannot. */
async function askServer() {
  const { token } = login;
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch("/api/me", { headers, cache: "no-store" }).catch(() => null);
  if (!answer || !answer.ok || !login || token !== login.token) return;
  login.me = await answer.json();
  show();
}

function showMe() {
  const { me, user } = login;
  const since = me && new Date(me.created_at * 1000 || me.created_at);
  const date = since && since.toLocaleDateString(spoken(), { dateStyle: "long" });
  by("me-name").textContent = me && me.name || login.name || page.words.nameless;
  const sub = [user.is_new ? page.words.sub_new : page.words.sub_known];
  if (!(me && me.name) && !login.name) sub.push(page.words.why_nameless);
  if (me) sub.push(page.words.since.replace("{date}", date), page.words.confirmed);
  // A dot never begins a line.
  by("me-sub").textContent = sub.join("\u00a0· ");
  showClaims(decode(login.token.split(".")[1]));
  by("token").textContent = login.token;
  showSnippet(document.querySelector("[aria-selected=true]").id);
}

function show() {
  // A login may arrive before the words: they call this again.
  if (!page.words) return;
  document.body.classList.toggle("logged-in", !!login);
  by("me").hidden = !login;
  by("talk").hidden = !!login;
  by("copied").textContent = "";
  showKinds();
  if (login) showMe();
}

scan.addEventListener("login", ({ detail }) => {
  login = { ...detail, name: (scan.login.view.user || {}).name };
  show();
  by("me-name").focus();
  askServer();
});

// A page that comes back out of the browser's memory knows no login, as after a reload.
addEventListener("pageshow", ({ persisted }) => persisted && login && location.reload());

by("logout").onclick = () => {
  login = null;
  by("token").textContent = "";
  show();
  by("words").focus({ preventScroll: true });
  scrollTo(0, 0);
  scan.again();
};

by("copy").onclick = async () => {
  const copied = await copyText(login.token);
  by("copied").textContent = copied ? page.words.copied : page.words.copy_failed;
  if (!copied) getSelection().selectAllChildren(by("token"));
};

const tabs = document.querySelector("[role=tablist]");
tabs.onclick = ({ target }) => target.id && SNIPPETS[target.id] && showSnippet(target.id);
tabs.onkeydown = ({ key, target }) => {
  if (key !== "ArrowLeft" && key !== "ArrowRight") return;
  const other = target.id === "verify-python" ? "verify-node" : "verify-python";
  showSnippet(other);
  by(other).focus();
};

page.show = show;
open();

// A small site that logs people in with Auth.js: node auth_js.mjs PROVIDERS ISSUER PORT, where the
// module PROVIDERS has the settings that docs/openid.md gives.
import { pathToFileURL } from "node:url";

import { ExpressAuth, getSession } from "@auth/express";
import { getToken } from "@auth/core/jwt";
import express from "express";

const [, , module, issuer, port] = process.argv;
const origin = `http://localhost:${port}`;
const documented = await import(pathToFileURL(module).href);
const secret = "of these cookies alone, for the length of a test";
const config = { ...documented.settings, secret, trustHost: true, basePath: "/api/auth" };

const site = express();
site.use(/^\/api\/auth\/(.*)/, ExpressAuth(config));
site.get("/", async (request, response) => {
  const session = await getSession(request, config);
  response.send(`<pre>${JSON.stringify(session?.user ?? null)}</pre>`);
});
// Auth.js's log-out, and the provider's.
site.post("/logout", async (request, response) => {
  const token = await getToken({ req: request, secret });
  const bye = new URLSearchParams({
    client_id: "app",
    id_token_hint: token?.idToken ?? "",
    post_logout_redirect_uri: `${origin}/`,
  });
  response.clearCookie("authjs.session-token");
  response.redirect(303, `${issuer}/oauth/logout?${bye}`);
});
site.listen(Number(port), "localhost", () => console.log(origin));

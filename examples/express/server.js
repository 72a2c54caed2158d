// A site with sessions of its own: people scan, this server verifies their token once, and keeps a cookie.
//   SCANPUSH_URL=http://127.0.0.1:8888 PORT=3000 npm start
// Beside these: SCANPUSH_ISSUER and SCANPUSH_AUDIENCE, the server's jwt.issuer and jwt.audience, and SESSION_SECRET.
// scanpush must list this site's origin, http://localhost:3000, in server.allowed_origins.

import { randomBytes } from "node:crypto";
import express from "express";
import session from "express-session";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const {
  SCANPUSH_URL = "http://127.0.0.1:8888",
  SCANPUSH_ISSUER = "scanpush",
  SCANPUSH_AUDIENCE = "scanpush",
  SESSION_SECRET = randomBytes(32).toString("hex"),
  NODE_ENV,
  PORT = 3000,
} = process.env;
const scanpush = new URL(SCANPUSH_URL).origin;
const keys = createRemoteJWKSet(new URL("/.well-known/jwks.json", scanpush));
// The algorithm is the server's jwt.algorithm, and never the token's choice.
const rules = {
  algorithms: ["ES256"], issuer: SCANPUSH_ISSUER, audience: SCANPUSH_AUDIENCE, typ: "JWT", clockTolerance: 60,
};

const site = express();
// Behind a proxy with TLS, so that the cookie may be one of https.
site.set("trust proxy", "loopback");
site.disable("x-powered-by");
site.use((request, response, next) => {
  response.set("Content-Security-Policy", "default-src 'none'; style-src 'self'; "
    + `script-src 'self' ${scanpush}; img-src ${scanpush}; `
    + `connect-src 'self' ${scanpush} ${scanpush.replace("http", "ws")}; frame-ancestors 'none'`);
  next();
});
// express-session keeps sessions in this process: for more than one, give it a store.
site.use(session({
  name: "session",
  secret: SESSION_SECRET,
  resave: false,
  saveUninitialized: false,
  cookie: { httpOnly: true, sameSite: "lax", secure: NODE_ENV === "production", maxAge: 8 * 3600 * 1000 },
}));
site.use(express.static(new URL("public", import.meta.url).pathname));

site.get("/settings.json", (request, response) => response.json({ server: scanpush }));

// The token is in a header, which no form of another site can send; a session of before the login is not kept.
site.post("/session", async (request, response, next) => {
  const [, token = ""] = /^Bearer (.+)$/.exec(request.get("Authorization") ?? "") ?? [];
  try {
    const { payload } = await jwtVerify(token, keys, rules);
    request.session.regenerate((error) => {
      if (error) return next(error);
      request.session.user = { id: payload.sub };
      response.status(201).json(request.session.user);
    });
  } catch (error) {
    // Keys that cannot be fetched say nothing of the token.
    const isOfKeys = error instanceof errors.JWKSTimeout || error.code === "ERR_JOSE_GENERIC";
    if (isOfKeys || !(error instanceof errors.JOSEError)) return next(error);
    response.status(401).json({ error: error.code });
  }
});

site.get("/me", (request, response) => {
  if (!request.session.user) return response.status(401).json({ error: "not logged in" });
  response.set("Cache-Control", "no-store").json(request.session.user);
});

site.delete("/session", (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.clearCookie("session").status(204).end()));
});

const listening = site.listen(PORT, "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`http://localhost:${listening.address().port}`);
});

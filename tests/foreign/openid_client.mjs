// An application that logs people in with openid-client. Each line of standard input is one step,
// {"step", ...}, and gets one line back: {"done"} or {"failed"}.
import { createInterface } from "node:readline";

import * as client from "openid-client";

const METHODS = { basic: client.ClientSecretBasic, post: client.ClientSecretPost, none: client.None };
const AWAY = [502, 503, 504];
let config, checks, device;

const steps = {
  async discover({ issuer, id, secret, method }) {
    const options = { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] };
    config = await client.discovery(new URL(issuer), id, secret, METHODS[method](secret), options);
    return config.serverMetadata();
  },

  async authorize({ pushed, ...asked }) {
    const pkceCodeVerifier = client.randomPKCECodeVerifier();
    checks = {
      pkceCodeVerifier,
      expectedState: client.randomState(),
      expectedNonce: client.randomNonce(),
      idTokenExpected: true,
      ...("max_age" in asked ? { maxAge: Number(asked.max_age) } : {}),
    };
    const parameters = {
      ...asked,
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: "S256",
      state: checks.expectedState,
      nonce: checks.expectedNonce,
    };
    const build = pushed ? client.buildAuthorizationUrlWithPAR : client.buildAuthorizationUrl;
    return (await build(config, parameters)).href;
  },

  async callback({ url, form }) {
    const posted = { method: "POST", body: new URLSearchParams(form ?? {}) };
    const arrived = form ? new Request(url, posted) : new URL(url);
    const tokens = await client.authorizationCodeGrant(config, arrived, checks);
    return { ...tokens, claims: tokens.claims() };
  },

  userinfo: ({ token, sub }) => client.fetchUserInfo(config, token, sub),
  async refresh({ token, ...more }) {
    const tokens = await client.refreshTokenGrant(config, token, more);
    return { ...tokens, claims: tokens.claims() };
  },
  introspect: ({ token }) => client.tokenIntrospection(config, token),
  revoke: ({ token }) => client.tokenRevocation(config, token),
  leave: (asked) => client.buildEndSessionUrl(config, asked).href,

  async device({ scope }) {
    device = await client.initiateDeviceAuthorization(config, { scope });
    return device;
  },
  async polled() {
    const tokens = await client.pollDeviceAuthorizationGrant(config, device);
    return { ...tokens, claims: tokens.claims() };
  },
};

// What openid-client tells of a failure, and whether it is one that passes.
function told(failure) {
  const { error, code, cause, message } = failure;
  const passes = AWAY.includes(failure.status ?? cause?.status) || message === "fetch failed";
  return { error: error ?? cause?.error ?? code ?? "", message, passes };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...asked } = JSON.parse(line);
  let answer;
  try {
    answer = { done: (await steps[step](asked)) ?? null };
  } catch (failure) {
    answer = { failed: told(failure) };
  }
  console.log(JSON.stringify(answer));
}

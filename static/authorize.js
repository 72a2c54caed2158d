// The page of the OpenID Provider: the element does the login, and its ticket goes to the server, which sends the
// browser back to the client.

import { meta } from "./login-first.js";
import { by, open, page, scan, showKinds } from "./login-page.js";

const REFUSED = ["banned", "not_registered", "hook_refused"];
const READ_SECONDS = 30;
let sent = false, leaving;

scan.setAttribute("authorize", meta("authorize"));

scan.addEventListener("login", ({ detail }) => {
  if (sent) return;
  sent = true;
  by("ticket").value = detail.ticket;
  by("answer").submit();
});

/** The client hears it, once the person has had time to read why. */
function refuse() {
  clearTimeout(leaving);
  leaving = setTimeout(() => sent || by("cancel").click(), READ_SECONDS * 1000);
}

// Who copies the reference, or asks for another code, leaves by the button.
for (const deed of ["pointerdown", "keydown"]) addEventListener(deed, () => clearTimeout(leaving));

by("answer").onsubmit = () => { sent = true; };
scan.addEventListener("denied", refuse);
scan.addEventListener("error", ({ detail }) => {
  if (REFUSED.includes(detail.error)) {
    by("cancel").value = "barred";
    refuse();
  }
  // The page stood open for too long: loaded again, it is as new. Not again and again, where no cookie is kept.
  if (detail.error !== "bad_request") return;
  const now = Date.now(), before = Number(sessionStorage["scanpush reloaded"] || 0);
  sessionStorage["scanpush reloaded"] = now;
  if (now - before > 60000) location.reload();
});

// A page that comes back out of the browser's memory has sent its ticket.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

page.show = () => {
  const { to, cancel } = page.words.authorize;
  by("to").textContent = to.replace("{client}", meta("client"));
  by("cancel").textContent = cancel;
  showKinds();
};
open();

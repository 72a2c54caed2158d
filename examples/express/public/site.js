const by = (id) => document.getElementById(id);
const { server } = await (await fetch("/settings.json")).json();

async function show() {
  const answer = await fetch("/me");
  const user = answer.ok ? await answer.json() : null;
  by("who").textContent = user ? `Logged in: ${user.id}` : "";
  by("leave").hidden = !user;
  by("login").replaceChildren();
  if (user) return;
  await import(`${server}/static/scan-login.js`);
  const element = document.createElement("scan-login");
  element.addEventListener("login", async ({ detail }) => {
    const headers = { Authorization: `Bearer ${detail.token}` };
    const { ok, status } = await fetch("/session", { method: "POST", headers });
    if (ok) await show();
    else by("who").textContent = `The site refused the login (${status}).`;
  });
  by("login").append(element);
}

by("leave").addEventListener("click", async () => {
  await fetch("/session", { method: "DELETE" });
  await show();
});
await show();

const element = document.getElementById("login");

// Without the attribute the element talks to the server it was loaded from.
const server = new URLSearchParams(location.search).get("server");
if (server) element.setAttribute("server", server);

element.addEventListener("login", async ({ detail }) => {
  document.getElementById("result").textContent = `user ${detail.user.id}`;
  // Give the token to your own server, which verifies it and opens a session:
  // await fetch("/session", { method: "POST", headers: { Authorization: `Bearer ${detail.token}` } });
});
element.addEventListener("error", ({ detail }) => console.warn("scan-login", detail.error));

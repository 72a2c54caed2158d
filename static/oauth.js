// The pages at the end of a door, and those of the OpenID Provider: appearance as chosen, and a way to close what can be
// closed.

const dark = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  let chosen = "";
  try {
    chosen = localStorage.getItem("scanpush theme") || "";
  } catch (error) {
    // No storage (private mode): the system decides.
  }
  document.documentElement.dataset.theme = chosen || (dark.matches ? "dark" : "light");
}

// Safari 13 has no addEventListener here.
dark.addListener(paint);
paint();

const popup = "closes" in document.body.dataset;
const button = document.getElementById("close");
const bridge = () => self.WeixinJSBridge;

/** A button, where there is something that a page may close. */
function offer() {
  if (!button) return;
  button.hidden = !(popup || bridge());
  button.onclick = () => (bridge() ? bridge().call("closeWindow") : self.close());
}

offer();
document.getElementById("plain").remove();
document.addEventListener("WeixinJSBridgeReady", offer);
// An answer for another site: its button is for browsers without scripts.
if ("posts" in document.body.dataset) document.getElementById("form").submit();
// A popup has done its part: the page that opened it hears the result on its own socket.
if (popup) self.close();

// The pages at the end of a login on the phone, and those of the OpenID Provider: appearance as chosen, and a way to
// close what can be closed.

const dark = matchMedia("(prefers-color-scheme: dark)");

const kept = (storage, name) => {
  try {
    return window[storage].getItem(`scanpush ${name}`) || "";
  } catch (error) {
    // No storage (private mode): the system decides, and nothing is referred to.
    return "";
  }
};

function paint() {
  const chosen = kept("localStorage", "theme");
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
// Behind a login that came to nothing: how its page called it.
const line = document.getElementById("reference"), id = kept("sessionStorage", "reference");
if (line && id) {
  line.textContent = line.dataset.text.replace("{id}", id);
  line.hidden = false;
}
// An answer for another site: its button is for browsers without scripts.
if ("posts" in document.body.dataset) document.getElementById("form").submit();
// A popup has done its part: the page that opened it hears the result on its own socket.
if (popup) self.close();

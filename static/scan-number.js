// The field and the keypad of state `confirming` where a number is asked for. The element fetches it only then.

const STYLE = `.number { position: relative; margin: 0; display: grid; grid-gap: .25rem; gap: .25rem; width: 86%;
  height: 86%; grid-template: auto auto repeat(4, minmax(2.75rem, 1fr)) / repeat(3, 1fr); align-content: center; }
.number .said { grid-column: 1 / -1; display: grid; min-height: 1.4rem; font-size: .9375em; line-height: 1.4rem;
  color: var(--soft); }
.number .said > * { grid-area: 1 / 1; margin: 0; }
.number .said [role=alert] { color: var(--bad); }
.number .said [role=alert]:not(:empty) + label { opacity: 0; }
.number input { grid-column: 1 / -1; box-sizing: border-box; width: 100%; height: 2.75rem; margin: 0 0 .25rem;
  padding: 0 0 0 .35em; border: 1px solid var(--soft); border-radius: .75rem;
  color: var(--ink); background: var(--plate);
  font: 600 1.75rem/1 ui-monospace, monospace; letter-spacing: .35em; text-align: center; }
.number input[aria-invalid=true] { border: 2px solid var(--bad); }
.number button { min-height: 2.75rem; margin: 0; padding: 0; font-size: 1.125em; color: var(--ink);
  background: transparent; border: 1px solid var(--line); }
.number button:disabled { opacity: .5; cursor: default; }
.number button[type=submit] { color: var(--plate); background: var(--good); border-color: transparent; }`;
const dressed = new WeakSet();

/**
 * Tells the server of a `SceneWatch` the number. By a request: unlike a message on a socket it is answered, and the
 * same number again is the same try.
 */
export async function send(watch, number) {
  watch.numbered = true;
  const { status, body } = await watch.post("number", { seq: watch.status.seq, number });
  return (watch.numbered = status === 204) ? null : body.error || { code: "unreachable" };
}

const DIGITS = 2;

/**
 * Fills `form` with a field and a keypad for two digits. `login.number(digits)` resolves to null once they have
 * arrived, right or wrong, and to an error where they did not, so that the person can send them again.
 *
 * `dress(root, css)` puts a style on what the form is in. A kiosk has its own, and no keyboard of the system may come
 * up.
 */
export function fill(form, words, login, dress) {
  const root = form.getRootNode(), onScreen = !dress;
  if (dress && !dressed.has(root)) dress(root, STYLE);
  dressed.add(root);
  form.className = "number";
  const make = (tag, attributes, text = "") => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(text);
    return element;
  };
  const input = make("input", { id: "number", name: "number", maxLength: DIGITS, autocomplete: "off", required: true,
    inputMode: onScreen ? "none" : "numeric", enterKeyHint: "done" });
  const alert = make("p", { id: "number-alert" }), said = make("div", { className: "said" });
  alert.setAttribute("role", "alert");
  input.setAttribute("aria-describedby", alert.id);
  said.append(alert, make("label", { htmlFor: input.id }, words.number));
  const say = (text) => {
    alert.textContent = text;
    if (text) input.setAttribute("aria-invalid", true);
    else input.removeAttribute("aria-invalid");
  };
  const put = (value) => {
    if (input.readOnly) return;
    // An input method may write digits at full width.
    input.value = value.normalize("NFKC").replace(/[^0-9]/g, "").slice(0, DIGITS);
    say("");
  };
  input.oninput = ({ isComposing }) => isComposing || put(input.value);
  const digit = (n) => make("button", { type: "button", onclick: () => put(input.value + n) }, String(n));
  const erase = make("button", { type: "button", onclick: () => put(input.value.slice(0, -1)) }, "⌫");
  const done = make("button", { type: "submit" }, "✓");
  erase.setAttribute("aria-label", words.erase);
  done.setAttribute("aria-label", words.confirm);
  form.noValidate = true;
  form.textContent = "";
  form.append(said, input, ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map(digit), erase, digit(0), done);
  const busy = (is) => {
    input.readOnly = is;
    form.querySelectorAll("button").forEach((button) => { button.disabled = is; });
    form.setAttribute("aria-busy", is);
  };
  busy(false);
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (input.readOnly) return;
    put(input.value);
    if (input.value.length < DIGITS) {
      say(words.two_digits);
      return input.focus({ preventScroll: true });
    }
    busy(true);
    const error = await login.number(input.value);
    if (!error) return;
    busy(false);
    say(words.later);
    input.focus({ preventScroll: true });
  };
  // Where fingers type, the system's keyboard would cover the keypad.
  if (onScreen || !matchMedia("(pointer: coarse)").matches) input.focus({ preventScroll: true });
}

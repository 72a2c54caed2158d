// The form of state `registering`, fetched only when a page gets there.

const sheet = new CSSStyleSheet();
sheet.replaceSync(`form { display: grid; gap: .5rem; text-align: start; }
input { font: inherit; color: inherit; background: var(--plate); width: 100%; box-sizing: border-box; padding: .5em .7em;
  border: 1px solid var(--soft); border-radius: .6rem; }
[role=alert] { margin: 0; color: var(--bad); }`);

const TYPES = { phone: "tel", email: "email" };

/**
 * Fills `form` with one field each, and sends it by `login.register`. A field that the server asks
 * for and that is not there yet is added.
 */
export function fill(form, fields, words, login) {
  const alert = document.createElement("p"), button = document.createElement("button");
  alert.setAttribute("role", "alert");
  button.textContent = words.register;
  const root = form.getRootNode();
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  form.replaceChildren(alert, button);
  const add = (name) => {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { name, required: true, maxLength: name === "email" ? 254 : 64, type: TYPES[name] ?? "text", autocomplete: TYPES[name] ?? "name" });
    label.append(words[name] ?? name, input);
    alert.before(label);
  };
  fields.forEach(add);
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const error = await login.register(Object.fromEntries(new FormData(form)));
    button.disabled = false;
    if (!error) return;
    const { field } = error, typed = ["name", "phone", "email"].includes(field);
    if (typed && !form.elements[field]) add(field);
    // Whatever names no field of theirs is not what people typed: the hook is down, or the network.
    alert.textContent = typed ? words.refused : words.later;
    form.elements[field]?.focus();
  };
  form.elements[0].focus();
}

// The form of state `registering`, fetched only when a page gets there.

const STYLE = `form { display: grid; grid-gap: .3rem; gap: .3rem; text-align: start; line-height: 1.4; }
input { font: inherit; color: inherit; background: var(--plate); width: 100%; box-sizing: border-box;
  padding: .45em .7em; border: 1px solid var(--soft); border-radius: .6rem; }
input:focus-visible { outline-offset: -2px; }
[role=alert] { margin: 0; color: var(--bad); }`;
const dressed = new WeakSet();

const TYPES = { phone: "tel", email: "email" };

/**
 * Fills `form` with one field each, and sends it by `login.register`. A field that the server asks
 * for and that is not there yet is added. `dress(root, css)` puts a style on what the form is in.
 */
export function fill(form, words, login, dress) {
  const fields = login.view.register_fields || ["name"];
  form.className = "";
  const alert = document.createElement("p"), button = document.createElement("button");
  alert.setAttribute("role", "alert");
  button.textContent = words.register;
  if (!dressed.has(form)) dress(form.getRootNode(), STYLE);
  dressed.add(form);
  form.textContent = "";
  form.append(alert, button);
  const add = (name) => {
    const label = document.createElement("label"), input = document.createElement("input");
    const type = TYPES[name] || "text", autocomplete = TYPES[name] || "name";
    Object.assign(input, { name, required: true, maxLength: name === "email" ? 254 : 64, type, autocomplete });
    label.append(words[name] || name, input);
    alert.before(label);
  };
  fields.forEach(add);
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const typed = {};
    for (const { name, value } of form.querySelectorAll("input")) typed[name] = value;
    const error = await login.register(typed);
    button.disabled = false;
    if (!error) return;
    const { field } = error, theirs = ["name", "phone", "email"].includes(field);
    if (theirs && !form.elements[field]) add(field);
    // Whatever names no field of theirs is not what people typed: the hook is down, or the network.
    alert.textContent = theirs ? words.refused : words.later;
    if (form.elements[field]) form.elements[field].focus();
  };
  form.elements[0].focus();
}

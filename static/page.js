// What the pages share: language and appearance, chosen once and kept in this browser, and the login kind.

const keep = (name, value, storage = "localStorage") => {
  try {
    if (value === undefined) return self[storage].getItem(`scanpush ${name}`);
    self[storage].setItem(`scanpush ${name}`, value);
  } catch (error) {
    // No storage (private mode): the choice lasts as long as the page.
  }
  return value;
};

/** The login kind chosen in this tab, which a reload must keep: a login may be in progress. */
export const keepKind = (kind) => keep("kind", kind, "sessionStorage");
export const keptKind = () => keep("kind", undefined, "sessionStorage");

/** What the pages of this tab call its last login that came to nothing; empty: none did. */
export const keepReference = (id) => keep("reference", id, "sessionStorage");

/** Whether the text is on the clipboard now. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (refused) {
    // No permission, or a page without https.
    return false;
  }
}

/**
 * Removes the sentence that stands in the page until it is drawn. Below a path of another site, where the
 * server may not be found, it stays until something of the server `came`.
 */
export function drawn(came = false) {
  const plain = document.getElementById("plain");
  if (plain && (came || ["/", "/kiosk", "/operator", "/oauth/authorize"].includes(location.pathname))) plain.remove();
}

/** Puts `children` in the place of what is in `element`; `replaceChildren` is younger than Safari 13. */
export function fill(element, children) {
  element.textContent = "";
  element.append(...children);
}

let wanted;

/**
 * Fills every `data-t` and `data-t-label` in the page with the words of `lang`, and gives them.
 * Nothing is given, and the page stays as it is, where they cannot be had (no network), or where
 * another language was asked for meanwhile.
 */
export async function speak(lang) {
  wanted = lang;
  const words = await import(`./i18n/pages/${lang}.js`).then((module) => module.default, () => null);
  if (!words || lang !== wanted) return null;
  document.documentElement.lang = lang;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = words[element.dataset.t];
  for (const element of document.querySelectorAll("[data-t-label]"))
    element.setAttribute("aria-label", words[element.dataset.tLabel]);
  return words;
}

/** Kept where the server sees it, which sends the next page in this language. */
function keepLanguage(lang) {
  const address = new URL(location);
  if (address.searchParams.has("lang")) {
    // Else the address would go on to decide.
    address.searchParams.set("lang", lang);
    history.replaceState(history.state, "", address);
  }
  try {
    document.cookie = `lang=${lang}; path=/; max-age=31536000; samesite=lax`;
  } catch (error) {
    // No storage: the choice lasts as long as the page.
  }
}

/** The field `lang` chooses among the languages; `change` says whether it could. */
export function offerLanguages(change) {
  const field = document.getElementById("lang");
  field.value = document.documentElement.lang;
  field.onchange = async () => {
    const { value } = field;
    if (await change(value)) keepLanguage(value);
    else if (field.value === value) field.value = document.documentElement.lang;
  };
}

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Puts the chosen appearance, or the system's, on the page and follows the system. */
export function followTheme() {
  const apply = () => { document.documentElement.dataset.theme = keep("theme") || (dark.matches ? "dark" : "light"); };
  // Safari 13 has no addEventListener here.
  dark.addListener(apply);
  apply();
}

export const chosenTheme = () => keep("theme") || "";

export function keepTheme(theme) {
  keep("theme", theme);
  document.documentElement.dataset.theme = theme || (dark.matches ? "dark" : "light");
}

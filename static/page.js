// What the pages share: language and appearance, chosen once and kept in this browser.

import { language } from "./scan-login.js";

const keep = (name, value) => {
  try {
    if (value === undefined) return localStorage.getItem(`scanpush ${name}`);
    localStorage.setItem(`scanpush ${name}`, value);
  } catch {
    // No storage (private mode): the choice lasts as long as the page.
  }
  return value;
};

/** Fills every `data-t` and `data-t-label` in the page with the words of `lang`. */
export async function speak(lang) {
  const { default: words } = await import(`./i18n/pages/${lang}.js`);
  document.documentElement.lang = lang;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = words[element.dataset.t];
  for (const element of document.querySelectorAll("[data-t-label]"))
    element.setAttribute("aria-label", words[element.dataset.tLabel]);
  return words;
}

export const chosenLanguage = () => language(keep("lang") ?? navigator.language);
export const keepLanguage = (lang) => keep("lang", lang);

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Puts the chosen appearance, or the system's, on the page and follows the system. */
export function followTheme() {
  const apply = () => { document.documentElement.dataset.theme = keep("theme") || (dark.matches ? "dark" : "light"); };
  dark.addEventListener("change", apply);
  apply();
}

export const chosenTheme = () => keep("theme") ?? "";

export function keepTheme(theme) {
  keep("theme", theme);
  document.documentElement.dataset.theme = theme || (dark.matches ? "dark" : "light");
}

/** Light, dark, or as the system says. */

import { byId } from "./dom.js";
import { tell } from "./state.js";

const KEPT = "ipoke-theme";
const ORDER = ["auto", "light", "dark"];
const WORDS = { auto: "as the system", light: "light", dark: "dark" };

function use(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", `Light or dark: ${WORDS[theme]}`);
  byId("theme").title = `Light or dark: ${WORDS[theme]}`;
  tell(["theme"]);
}

/** Take the theme that was chosen last, and make the button work. */
export function startTheme() {
  use(ORDER.includes(localStorage.getItem(KEPT)) ? localStorage.getItem(KEPT) : "auto");
  byId("theme").addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(document.documentElement.dataset.theme) + 1) % ORDER.length];
    localStorage.setItem(KEPT, next);
    use(next);
  });
}

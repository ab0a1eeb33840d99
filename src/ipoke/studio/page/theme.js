/** The theme: light, dark, or that of the system. */

import { byId } from "./dom.js";
import { tell } from "./state.js";

const KEPT = "ipoke-theme";
const ORDER = ["auto", "light", "dark"];
const WORDS = { auto: "system", light: "light", dark: "dark" };

function use(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", `Theme: ${WORDS[theme]}`);
  byId("theme").title = `Theme: ${WORDS[theme]}`;
  tell(["theme"]);
}

/** Use the theme that was chosen last, and make the button work. */
export function startTheme() {
  use(ORDER.includes(localStorage.getItem(KEPT)) ? localStorage.getItem(KEPT) : "auto");
  byId("theme").addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(document.documentElement.dataset.theme) + 1) % ORDER.length];
    localStorage.setItem(KEPT, next);
    use(next);
  });
}

/** The list of pokes: select or delete one. */

import { colourOf, isPin } from "./arrows.js";
import { byId, icon, make } from "./dom.js";
import { clearPokes, removePoke, selectPoke } from "./poking.js";
import { state, subscribe } from "./state.js";

function row(poke, index) {
  const number = make("span", { className: "poke-number" }, String(index + 1));
  number.style.borderColor = colourOf(poke, index);
  const [x, y, dx, dy] = [poke.x, poke.y, poke.dx, poke.dy].map(Math.round);
  const words = isPin(poke) ? `pin ${x},${y}` : `${x},${y} by ${dx},${dy}`;
  const select = make("button", { type: "button", className: "poke-select" }, number, words);
  select.setAttribute("aria-pressed", String(index === state.selected));
  select.addEventListener("click", () => selectPoke(index === state.selected ? null : index));
  const remove = make("button", { type: "button", className: "poke-delete icon", "aria-label": `Delete poke ${index + 1}`, title: "Delete" }, icon("close"));
  remove.addEventListener("click", () => {
    removePoke(index);
    (byId("pokes").querySelector(".poke-delete") ?? byId("picture")).focus();
  });
  return make("li", { className: "poke" }, select, remove);
}

function show() {
  const focused = [...byId("pokes").querySelectorAll("button")].indexOf(document.activeElement);
  byId("pokes").replaceChildren(...state.pokes.map(row));
  if (focused >= 0) byId("pokes").querySelectorAll("button")[focused]?.focus();
  byId("clear").hidden = state.pokes.length < 2;
  byId("hint").hidden = state.pokes.length > 0;
}

/** Show the list and keep it up to date. */
export function startPokeList() {
  byId("clear").addEventListener("click", () => {
    clearPokes();
    byId("picture").focus();
  });
  subscribe((changed) => {
    if (changed.has("pokes") || changed.has("selected")) show();
  });
}

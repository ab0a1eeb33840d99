/** The bundled pictures, as a row of buttons. */

import * as api from "./api.js";
import { byId, make } from "./dom.js";
import { openBundled } from "./pictures.js";
import { state, subscribe } from "./state.js";

async function draw(image, id) {
  try {
    image.src = URL.createObjectURL(await api.pictureFile(id));
    await image.decode();
    URL.revokeObjectURL(image.src);
  } catch {
    image.remove();
  }
}

function thumb({ picture, name }) {
  const image = make("img", { alt: "" });
  const button = make("button", { type: "button", className: "thumb", title: name, "aria-label": `Picture: ${name}` }, image);
  button.dataset.picture = picture;
  button.addEventListener("click", () => openBundled(picture));
  draw(image, picture);
  return make("li", {}, button);
}

function mark() {
  for (const button of byId("pictures").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(state.picture?.picture === button.dataset.picture));
  }
}

/** Show the row and keep it up to date. */
export function startChooser() {
  subscribe((changed) => {
    if (changed.has("about")) byId("pictures").replaceChildren(...state.about.pictures.map(thumb));
    if (changed.has("picture") || changed.has("about")) mark();
  });
}

/** Find and create elements. */

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "m15 14 5-5-5-5M20 9H10a6 6 0 0 0 0 12h3",
  keyboard: "M3 6h18v12H3zM7 10h.01M12 10h.01M17 10h.01M8 14h8",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  close: "m6 6 12 12M18 6 6 18",
  open: "M4 16v4h16v-4M12 15V4M7.5 8.5 12 4l4.5 4.5",
  save: "M4 16v4h16v-4M12 4v11M7.5 10.5 12 15l4.5-4.5",
  play: "M7 4.5v15l12-7.5z",
  pause: "M8 5v14M16 5v14",
  pingpong: "M4 9h15M15 5l4 4-4 4M20 16H5M9 12l-4 4 4 4",
  continue: "M4 12h12M11 7l5 5-5 5M20 5v14",
  dice: "M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM8.5 8a.5.5 0 1 0 .01 0M15.5 8a.5.5 0 1 0 .01 0M12 11.5a.5.5 0 1 0 .01 0M8.5 15a.5.5 0 1 0 .01 0M15.5 15a.5.5 0 1 0 .01 0",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  unlock: "M6 11h12v9H6zM8.5 11V7a3.5 3.5 0 0 1 6.7-1.4",
  video: "M3 6h12v12H3zM15 11l6-4v10l-6-4z",
  star: "m12 3.5 2.6 5.4 5.9.8-4.3 4.1 1 5.9-5.2-2.8-5.2 2.8 1-5.9L3.5 9.7l5.9-.8z",
};

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** An icon, by name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** Set the icon of a button. */
export function setIcon(element, name) {
  if (element.dataset.icon === name && element.querySelector("svg")) return;
  element.dataset.icon = name;
  element.querySelector("svg")?.remove();
  element.prepend(icon(name));
}

/** Draw the icons that the page names. */
export function drawIcons() {
  for (const element of document.querySelectorAll("[data-icon]")) setIcon(element, element.dataset.icon);
}

/** Make the close buttons of dialogs work. */
export function startDialogs() {
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
}

/** Whether the visitor prefers reduced motion. */
export const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Fit a canvas's pixels to its size on screen; returns that size in CSS px and the pixel ratio. */
export function fitCanvas(canvas, most = 2) {
  const ratio = Math.min(devicePixelRatio || 1, most);
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const across = Math.max(1, Math.round(width * ratio));
  const down = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  return { width, height, ratio };
}

/** Taking things along: files, commands, links. */

import * as api from "./api.js";
import { byId } from "./dom.js";
import { linkOf } from "./link.js";
import { questionOf, withPicture } from "./question.js";
import { state, subscribe } from "./state.js";
import { say, sayProblem } from "./words.js";

const OWN_PICTURE = "A link holds no picture of yours, so it works for the pictures that come with ipoke only; save a file instead.";
const ENDINGS = { frames: "zip", tracks: "json" };

/** The question of the samples shown, or of the chosen one alone. */
function questionShown(onlyChosen) {
  const samples = onlyChosen ? [state.answer.samples[state.chosen]] : state.answer.samples;
  return questionOf(samples.map((sample) => sample.residual));
}

/** What a saved file tells beside its question. */
function historyNow() {
  return {
    seed: state.seed,
    locked: state.locked,
    favourites: state.favourites,
    chain: state.chain.map((step) => ({ pokes: step.pokes, seed: step.seed })),
    step: state.step,
  };
}

async function save() {
  const format = byId("export-format").value;
  const button = byId("export");
  button.setAttribute("aria-busy", "true");
  say("Writing the file…");
  try {
    const question = { ...questionShown(byId("export-chosen").checked), history: historyNow() };
    const file = await withPicture(question, (asked) => api.exported(asked, format));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = fileName(format);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`Saved ${link.download}.`);
  } catch (error) {
    sayProblem(error.message, save);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function fileName(format) {
  const stem = state.picture.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "picture";
  const kind = format in ENDINGS ? `-${format}` : "";
  return `${stem}-poked${kind}.${ENDINGS[format] ?? format}`;
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied.`);
  } catch {
    byId("text").value = text;
    byId("text-dialog").showModal();
    byId("text").select();
  }
}

async function copyCommand(kind, what) {
  try {
    const { name } = state.picture;
    const question = { ...questionShown(false), name: /\.[a-z]+$/i.test(name) ? name : `${name}.png` };
    const said = await withPicture(question, api.command);
    if (said[kind]) await copy(said[kind], what);
    else say(`${what}: none draws these samples, as they are not straight from one seed; Python does.`);
  } catch (error) {
    sayProblem(error.message, () => copyCommand(kind, what));
  }
}

function showAbilities() {
  const { answer, picture } = state;
  const asked = Boolean(answer?.done) && !answer.transfer;
  for (const id of ["export", "copy-shell", "copy-python"]) byId(id).disabled = !asked;
  byId("copy-link").disabled = !asked || !picture?.bundled;
  byId("export-words").textContent = answer?.transfer
    ? "What a video's motion moves cannot be saved; poke the picture to save that."
    : "The file opens here again, with picture, pokes and chance.";
  byId("link-words").textContent = picture && !picture.bundled ? OWN_PICTURE : "";
}

/** Make saving and copying work. */
export function startKeep() {
  byId("export").addEventListener("click", save);
  byId("copy-shell").addEventListener("click", () => copyCommand("shell", "Command"));
  byId("copy-python").addEventListener("click", () => copyCommand("python", "Python"));
  byId("copy-link").addEventListener("click", () => copy(linkOf({ question: questionShown(false), history: historyNow() }), "Link"));
  subscribe((changed) => {
    if (changed.has("answer") || changed.has("picture")) showAbilities();
  });
}

/** Save and share: files, commands, links. */

import * as api from "./api.js";
import { chainStart } from "./chain.js";
import { byId } from "./dom.js";
import { linkOf } from "./link.js";
import { showStatus } from "./messages.js";
import { showError } from "./outage.js";
import { questionShown, withPicture } from "./question.js";
import { historyNow, seedsNow } from "./session.js";
import { state, subscribe } from "./state.js";

const OWN_PICTURE = "Links work only for the bundled pictures, because a link cannot contain your picture. Save a file instead.";
const ENDINGS = { frames: "zip", tracks: "json" };

/** The residuals of all samples, or of the selected one. */
function residualsShown(onlyChosen) {
  const samples = onlyChosen ? [state.answer.samples[state.chosen]] : state.answer.samples;
  return samples.map((sample) => sample.residual).slice(0, state.about.limits.samples);
}

async function save() {
  const format = byId("export-format").value;
  const button = byId("export");
  button.setAttribute("aria-busy", "true");
  showStatus("Writing the file…");
  try {
    const start = chainStart();
    const question = { ...questionShown(residualsShown(byId("export-chosen").checked)), history: historyNow() };
    if (start) question.start = start.picture;
    const file = await withPicture(question, (asked) => api.exported(asked, format), state.picture, start);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = fileName(format);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    showStatus(`Saved ${link.download}.`);
  } catch (error) {
    showError(error, save);
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
    showStatus(`${what} copied.`);
  } catch {
    byId("text").value = text;
    byId("text-dialog").showModal();
    byId("text").select();
  }
}

async function copyCommand(kind, what) {
  try {
    const { name } = state.picture;
    const question = { ...questionShown(residualsShown(false)), name: /\.[a-z]+$/i.test(name) ? name : `${name}.png` };
    const reply = await withPicture(question, api.command);
    if (reply[kind]) await copy(reply[kind], what);
    else showStatus(`${what}: cannot reproduce these samples${reply.python ? "; copy as Python instead" : ""}.`);
  } catch (error) {
    showError(error, () => copyCommand(kind, what));
  }
}

function copyLink() {
  return copy(linkOf({ question: questionShown(residualsShown(false)), history: seedsNow() }), "Link");
}

function showAbilities() {
  const { answer, picture } = state;
  const ready = Boolean(answer?.done);
  for (const id of ["export", "copy-shell", "copy-python"]) byId(id).disabled = !ready;
  byId("copy-link").disabled = !ready || !picture?.bundled;
  byId("link-words").textContent = picture && !picture.bundled ? OWN_PICTURE : "";
}

/** Make saving and copying work. */
export function startSaving() {
  byId("export").addEventListener("click", save);
  byId("copy-shell").addEventListener("click", () => copyCommand("shell", "Command"));
  byId("copy-python").addEventListener("click", () => copyCommand("python", "Python"));
  byId("copy-link").addEventListener("click", copyLink);
  subscribe((changed) => {
    if (changed.has("answer") || changed.has("picture")) showAbilities();
  });
}

/** Pictures coming in: bundled ones, files chosen, dropped or pasted, videos, saved sessions. */

import * as api from "./api.js";
import { clearClips, sampleNow, transferNow } from "./clips.js";
import { cropPicture, cropVideo } from "./crop.js";
import { byId, make } from "./dom.js";
import { change, commit, state, subscribe } from "./state.js";
import { say, sayProblem } from "./words.js";

const MAY_HOLD_A_SESSION = /\.(mp4|webm|webp|gif|png|zip|json)$/i;
const IS_VIDEO = /\.(mp4|webm|mov|mkv|avi|m4v|mpg|mpeg|ogv)$/i;
const ONLY_SESSION = /\.(zip|json)$/i;

const bundledPicture = (id) => state.about?.pictures.find((picture) => picture.picture === id);

/** Fetch a picture that the server has, ready to draw. */
export async function loadPicture(id, name) {
  const file = await api.pictureFile(id);
  const image = await createImageBitmap(file);
  const known = bundledPicture(id);
  return { picture: id, name: known?.name ?? name, width: image.width, height: image.height, bundled: Boolean(known), image, file: known ? null : file };
}

/** Begin anew with a picture, perhaps with pokes and chance that came with it. */
export function usePicture(picture, given = {}) {
  const step = { picture, pokes: given.pokes ?? [], seed: given.seed ?? state.seed, residuals: given.residuals ?? state.residuals };
  const patch = { ...step, selected: null, favourites: given.favourites ?? [], chain: given.chain ?? [step], step: given.step ?? 0 };
  clearClips();
  change({ ambiguities: [], hover: null, cursor: null });
  if (state.picture) commit(patch);
  else change(patch);
  if (patch.pokes.length) sampleNow("Opened");
}

/** Show a bundled picture. */
export async function openBundled(id) {
  try {
    const picture = await loadPicture(id, id);
    usePicture(picture);
    say(`Picture: ${picture.name}.`);
  } catch (error) {
    sayProblem(error.message, () => openBundled(id));
  }
}

async function upload(file, name) {
  if (!file) return;
  try {
    const said = await api.sendPicture(file);
    usePicture(await loadPicture(said.picture, name));
    say(`Picture: ${name}, ${said.width} by ${said.height} px.`);
  } catch (error) {
    sayProblem(error.message, () => upload(file, name));
  }
}

/** Show what a question asks, as a file or a link holds it. */
export async function openQuestion(question, history, name) {
  const picture = await loadPicture(question.picture, name);
  const { residuals } = question;
  change({
    temperature: question.temperature ?? 1,
    frames: question.frames ?? null,
    reaches: question.reaches ?? state.reaches,
    count: Math.min(9, residuals.length),
    locked: history?.locked ?? state.locked,
  });
  usePicture(picture, { pokes: question.pokes, residuals, seed: history?.seed ?? residuals[0][0][0], favourites: history?.favourites ?? [] });
}

/** Reopen a file that was saved here; false where it holds no session. */
async function reopenFile(file, must) {
  const limits = state.about?.limits;
  if (!must && limits && file.size > Math.max(limits.upload_bytes, limits.video_bytes)) return false;
  let said;
  try {
    said = await api.reopen(file);
  } catch (error) {
    if (!must && error.status >= 400 && error.status < 500 && ![401, 403, 429].includes(error.status)) return false;
    throw error;
  }
  await openQuestion(said.question, said.history, file.name || "reopened");
  return true;
}

/** Open any file: a session saved here, a picture, or a video. */
export async function openFile(file) {
  const name = file.name || "pasted picture";
  try {
    const only = ONLY_SESSION.test(name);
    if (MAY_HOLD_A_SESSION.test(name) && (await reopenFile(file, only))) return;
    if (file.type.startsWith("video/") || IS_VIDEO.test(name)) await openVideo(file);
    else await upload(await cropPicture(file), name);
  } catch (error) {
    sayProblem(error.message, () => openFile(file));
  }
}

/** Ask what a video should give, and take it. */
async function openVideo(file) {
  byId("video-words").textContent = `${file.name || "A video"}: what should it give?`;
  byId("video-motion").disabled = !state.picture;
  byId("video-dialog").showModal();
  const wish = await new Promise((resolve) => {
    byId("video-dialog").onclose = () => resolve(byId("video-dialog").returnValue);
  });
  byId("video-dialog").returnValue = "";
  if (wish === "motion") await transferNow(file);
  else if (wish === "frame") await upload(await cropVideo(file), file.name || "a frame");
}

function showPictures() {
  const rows = (state.about?.pictures ?? []).map((picture) => {
    const image = make("img", { alt: "", width: 44, height: 44 });
    api.pictureFile(picture.picture).then(
      (file) => {
        image.src = URL.createObjectURL(file);
        image.onload = () => URL.revokeObjectURL(image.src);
      },
      () => image.remove(),
    );
    const words = { title: picture.name, "aria-label": `Picture: ${picture.name}` };
    const button = make("button", { type: "button", className: "thumb", ...words, "data-picture": picture.picture }, image);
    button.addEventListener("click", () => openBundled(picture.picture));
    return make("li", {}, button);
  });
  byId("pictures").replaceChildren(...rows);
}

function markPicture() {
  for (const button of byId("pictures").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(state.picture?.picture === button.dataset.picture));
  }
}

function startDrop() {
  const sign = byId("drop-here");
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    sign.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) sign.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    sign.hidden = true;
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    openFile(file);
  });
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (!file) return;
    event.preventDefault();
    openFile(file);
  });
}

function chooseWith(buttonId, inputId, then) {
  byId(buttonId).addEventListener("click", () => byId(inputId).click());
  byId(inputId).addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) then(file);
  });
}

/** Listen to all ways that pictures come in. */
export function startOpening() {
  chooseWith("open", "open-file", openFile);
  chooseWith("transfer", "transfer-file", transferNow);
  byId("reopen").addEventListener("click", () => byId("open-file").click());
  for (const [id, wish] of [["video-motion", "motion"], ["video-frame", "frame"], ["video-cancel", ""]]) {
    byId(id).addEventListener("click", () => byId("video-dialog").close(wish));
  }
  startDrop();
  subscribe((changed) => {
    if (changed.has("about")) showPictures();
    if (changed.has("picture") || changed.has("about")) markPicture();
  });
}

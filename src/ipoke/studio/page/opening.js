/** Files coming in, chosen, dropped or pasted: pictures, videos, saved sessions. */

import * as api from "./api.js";
import { cropPicture, cropVideo } from "./crop.js";
import { byId } from "./dom.js";
import { sayError } from "./outage.js";
import { loadPicture, usePicture } from "./pictures.js";
import { reopenFile } from "./reopening.js";
import { state } from "./state.js";
import { transferNow } from "./transfer.js";
import { say, sayProblem } from "./words.js";

const IS_VIDEO = /\.(mp4|webm|mov|mkv|avi|m4v|mpg|mpeg|ogv)$/i;

/** Open any file: a session saved here, a picture, or a video. */
async function openFile(file) {
  const name = file.name || "pasted picture";
  try {
    if (await reopenFile(file)) return;
    if (file.type.startsWith("video/") || IS_VIDEO.test(name)) await openVideo(file);
    else await upload(await cropPicture(file), name);
  } catch (error) {
    sayError(error, () => openFile(file));
  }
}

async function upload(file, name) {
  if (!file) return;
  try {
    const said = await api.sendPicture(file);
    usePicture(await loadPicture(said.picture, name));
    say(`Picture: ${name}, ${said.width} by ${said.height} px.`);
  } catch (error) {
    sayError(error, () => upload(file, name));
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
    openFirst(event, event.dataTransfer);
  });
  document.addEventListener("paste", (event) => openFirst(event, event.clipboardData));
}

function openFirst(event, data) {
  const file = data?.files[0];
  if (!file) return;
  event.preventDefault();
  if (fits(file)) openFile(file);
}

function fits(file) {
  const most = state.about?.limits.video_bytes ?? Infinity;
  if (file.size <= most) return true;
  sayProblem(`${file.name} has ${megabytes(file.size)}, more than the ${megabytes(most)} that are taken; choose a smaller file.`);
  return false;
}

const megabytes = (bytes) => `${Number((bytes / 1e6).toPrecision(3))} MB`;

function chooseWith(buttonId, inputId, then) {
  byId(buttonId).addEventListener("click", () => byId(inputId).click());
  byId(inputId).addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file && fits(file)) then(file);
  });
}

/** Listen to all ways that files come in. */
export function startOpening() {
  chooseWith("open", "open-file", openFile);
  chooseWith("transfer", "transfer-file", transferNow);
  byId("reopen").addEventListener("click", () => byId("open-file").click());
  for (const [id, wish] of [["video-motion", "motion"], ["video-frame", "frame"], ["video-cancel", ""]]) {
    byId(id).addEventListener("click", () => byId("video-dialog").close(wish));
  }
  startDrop();
}

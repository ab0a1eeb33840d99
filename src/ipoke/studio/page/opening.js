/** Open pictures, videos and saved sessions that are chosen, dropped or pasted. */

import * as api from "./api.js";
import { cropPicture, cropVideo } from "./crop.js";
import { byId } from "./dom.js";
import { showProblem, showStatus } from "./messages.js";
import { showError } from "./outage.js";
import { loadPicture, usePicture } from "./pictures.js";
import { reopenFile } from "./reopening.js";
import { state } from "./state.js";
import { transferNow } from "./transfer.js";

const IS_VIDEO = /\.(mp4|webm|mov|mkv|avi|m4v|mpg|mpeg|ogv)$/i;

/** Open a file: a saved session, a picture, or a video. */
async function openFile(file) {
  const name = file.name || "pasted picture";
  try {
    if (await reopenFile(file)) return;
    if (file.type.startsWith("video/") || IS_VIDEO.test(name)) await openVideo(file);
    else await upload(await cropPicture(file), name);
  } catch (error) {
    showError(error, () => openFile(file));
  }
}

async function upload(file, name) {
  if (!file) return;
  try {
    const reply = await api.sendPicture(file);
    usePicture(await loadPicture(reply.picture, name));
    showStatus(`Picture: ${name}, ${reply.width} by ${reply.height} px.`);
  } catch (error) {
    showError(error, () => upload(file, name));
  }
}

/** Ask how to use a video: its motion, or a frame. */
async function openVideo(file) {
  byId("video-words").textContent = `How should ${file.name || "the video"} be used?`;
  byId("video-motion").disabled = !state.picture;
  byId("video-dialog").showModal();
  const choice = await new Promise((resolve) => {
    byId("video-dialog").onclose = () => resolve(byId("video-dialog").returnValue);
  });
  byId("video-dialog").returnValue = "";
  if (choice === "motion") await transferNow(file);
  else if (choice === "frame") await upload(await cropVideo(file), file.name || "a frame");
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
  showProblem(`${file.name}: got ${megabytes(file.size)}, expected at most ${megabytes(most)}; choose a smaller file.`);
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

/** Listen to the buttons, to drops and to pastes. */
export function startOpening() {
  chooseWith("open", "open-file", openFile);
  chooseWith("transfer", "transfer-file", transferNow);
  byId("reopen").addEventListener("click", () => byId("open-file").click());
  for (const [id, choice] of [["video-motion", "motion"], ["video-frame", "frame"], ["video-cancel", ""]]) {
    byId(id).addEventListener("click", () => byId("video-dialog").close(choice));
  }
  startDrop();
}

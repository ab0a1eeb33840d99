/** Starts all parts of the page and opens the first picture. */

import * as api from "./api.js";
import { settleBurst } from "./burst.js";
import { startChooser } from "./chooser.js";
import { clearClips, sampleNow } from "./clips.js";
import { startCrop } from "./crop.js";
import { byId, drawIcons, startDialogs } from "./dom.js";
import { startFrames } from "./frames.js";
import { startKeys } from "./keys.js";
import { readLink } from "./link.js";
import { showProblem, showStatus, startMessages } from "./messages.js";
import { startMix } from "./mix.js";
import { startOpening } from "./opening.js";
import { showError } from "./outage.js";
import { startOverlays } from "./overlays.js";
import { startPicture } from "./picture.js";
import { openBundled } from "./pictures.js";
import { startPlayer } from "./player.js";
import { startPointer } from "./pointer.js";
import { startPokeList } from "./pokelist.js";
import { cancelDrag } from "./poking.js";
import { openQuestion } from "./reopening.js";
import { plain } from "./residuals.js";
import { chooseSample, startSamples } from "./samples.js";
import { newSeed, startSampling } from "./sampling.js";
import { startSaving } from "./saving.js";
import { canRedo, canUndo, change, redo, state, subscribe, undo } from "./state.js";
import { startTheme } from "./theme.js";
import { startTimeline } from "./timeline.js";
import { startTransfer } from "./transfer.js";

function travel(go, what) {
  cancelDrag();
  settleBurst();
  const before = state.picture;
  if (!go()) return;
  if (state.picture !== before) {
    clearClips();
    change({ ambiguities: [] });
  }
  sampleNow(what);
}

const undoNow = () => travel(undo, "Undone");
const redoNow = () => travel(redo, "Redone");

function startHistory() {
  byId("undo").addEventListener("click", undoNow);
  byId("redo").addEventListener("click", redoNow);
  subscribe((changed) => {
    if (!changed.has("history")) return;
    byId("undo").disabled = !canUndo();
    byId("redo").disabled = !canRedo();
  });
}

async function firstPicture(session) {
  const [first] = state.about.pictures;
  if (!session) return openBundled(first.picture);
  try {
    const { question, history } = readLink(session);
    return await openQuestion(question, history, { name: question.picture, what: "Opened" });
  } catch (error) {
    await openBundled(first.picture);
    return showProblem(error.status ? `The link cannot be opened: ${error.message}` : "This link is damaged; copy it again from its source.");
  }
}

async function begin(session) {
  try {
    const about = await api.about();
    change({ about, guidance: about.model.predicts_motion });
    byId("model").textContent = `${about.model.name} · ${about.model.size} px · ${about.model.frames} frames`;
    await firstPicture(session);
  } catch (error) {
    showError(error, () => begin(session));
  }
}

drawIcons();
startDialogs();
startMessages();
startTheme();
startPlayer();
startPicture();
startSamples();
startPointer();
startKeys({ undo: undoNow, redo: redoNow, newSeed: () => state.picture && newSeed(), choose: chooseSample });
startPokeList();
startSampling();
startMix();
startFrames();
startOverlays();
startChooser();
startOpening();
startCrop();
startTimeline();
startTransfer();
startSaving();
startHistory();
change({ residuals: plain(state.seed, state.count) });
showStatus("Drag a point to poke it; click a point to pin it.");
begin(api.takeHash().get("session"));

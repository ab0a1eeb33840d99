/** Wires the page together and opens the first picture. */

import * as api from "./api.js";
import { newSeed, startChance } from "./chance.js";
import { clearClips, sampleNow } from "./clips.js";
import { startCrop } from "./crop.js";
import { byId, drawIcons, startDialogs } from "./dom.js";
import { startKeep } from "./keep.js";
import { startKeys } from "./keys.js";
import { readLink } from "./link.js";
import { openBundled, openQuestion, startOpening } from "./opening.js";
import { startOverlays } from "./overlays.js";
import { startPicture } from "./picture.js";
import { startPlayer } from "./player.js";
import { startPointer } from "./pointer.js";
import { cancelPull, settleNudge } from "./poking.js";
import { startPokeList } from "./pokelist.js";
import { plain } from "./residuals.js";
import { chooseSample, startSamples } from "./samples.js";
import { canRedo, canUndo, change, redo, state, subscribe, undo } from "./state.js";
import { startTheme } from "./theme.js";
import { startTimeline } from "./timeline.js";
import { startTransfer } from "./transfer.js";
import { say, sayProblem, startWords } from "./words.js";

function travel(go, what) {
  cancelPull();
  settleNudge();
  const before = state.picture;
  if (!go()) return;
  if (state.picture !== before) {
    clearClips();
    change({ ambiguities: [] });
  }
  sampleNow(what);
}

const takeBack = () => travel(undo, "Undone");
const makeAgain = () => travel(redo, "Redone");

function startHistory() {
  byId("undo").addEventListener("click", takeBack);
  byId("redo").addEventListener("click", makeAgain);
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
    return await openQuestion(question, history, question.picture);
  } catch (error) {
    await openBundled(first.picture);
    return sayProblem(`This link cannot be opened: ${error.message}`);
  }
}

async function begin(session) {
  try {
    const about = await api.about();
    change({ about, reaches: about.model.says_motion });
    byId("model").textContent = `${about.model.name} · ${about.model.size} px · ${about.model.frames} frames`;
    await firstPicture(session);
  } catch (error) {
    sayProblem(error.message, () => begin(session));
  }
}

drawIcons();
startDialogs();
startWords();
startTheme();
startPlayer();
startPicture();
startSamples();
startPointer();
startKeys({ undo: takeBack, redo: makeAgain, newSeed: () => state.picture && newSeed(), choose: chooseSample });
startPokeList();
startChance();
startOverlays();
startOpening();
startCrop();
startTimeline();
startTransfer();
startKeep();
startHistory();
change({ residuals: plain(state.seed, state.count) });
say("Drag on the picture to pull a place; click to hold one.");
begin(api.takeHash().get("session"));

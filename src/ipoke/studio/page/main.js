/** Wires the page together and opens the first picture. */

import * as api from "./api.js";
import { settleBurst } from "./burst.js";
import { newSeed, startChance } from "./chance.js";
import { startChooser } from "./chooser.js";
import { clearClips, sampleNow } from "./clips.js";
import { startCrop } from "./crop.js";
import { byId, drawIcons, startDialogs } from "./dom.js";
import { startFrames } from "./frames.js";
import { startKeep } from "./keep.js";
import { startKeys } from "./keys.js";
import { readLink } from "./link.js";
import { startMix } from "./mix.js";
import { startOpening } from "./opening.js";
import { sayError } from "./outage.js";
import { startOverlays } from "./overlays.js";
import { startPicture } from "./picture.js";
import { openBundled } from "./pictures.js";
import { startPlayer } from "./player.js";
import { startPointer } from "./pointer.js";
import { cancelPull } from "./poking.js";
import { startPokeList } from "./pokelist.js";
import { openQuestion } from "./reopening.js";
import { plain } from "./residuals.js";
import { chooseSample, startSamples } from "./samples.js";
import { canRedo, canUndo, change, redo, state, subscribe, undo } from "./state.js";
import { startTheme } from "./theme.js";
import { startTimeline } from "./timeline.js";
import { startTransfer } from "./transfer.js";
import { say, sayProblem, startWords } from "./words.js";

function travel(go, what) {
  cancelPull();
  settleBurst();
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
    return await openQuestion(question, history, { name: question.picture, what: "Opened" });
  } catch (error) {
    await openBundled(first.picture);
    return sayProblem(error.status ? `This link cannot be opened: ${error.message}` : "This link is damaged; copy it again from where it was made.");
  }
}

async function begin(session) {
  try {
    const about = await api.about();
    change({ about, reaches: about.model.says_motion });
    byId("model").textContent = `${about.model.name} · ${about.model.size} px · ${about.model.frames} frames`;
    await firstPicture(session);
  } catch (error) {
    sayError(error, () => begin(session));
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
startMix();
startFrames();
startOverlays();
startChooser();
startOpening();
startCrop();
startTimeline();
startTransfer();
startKeep();
startHistory();
change({ residuals: plain(state.seed, state.count) });
say("Drag on the picture to pull a place; click to hold one.");
begin(api.takeHash().get("session"));

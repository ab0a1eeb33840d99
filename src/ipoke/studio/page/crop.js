/** The dialog that crops a picture, or a frame of a video, to a square. */

import * as api from "./api.js";
import { byId, fitCanvas } from "./dom.js";

const LARGEST_SIDE = 1024;
const LARGEST_PNG_SIDE = 512;
const JPEG_QUALITY = 0.95;
const REST = 250;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const crop = { image: null, x: 0, y: 0, side: 1, done: null, video: null, request: null, resting: null, grab: null };

/** Let the visitor crop a picture file; returns the crop as a file, or null. */
export async function cropPicture(file) {
  let image;
  try {
    image = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${file.name || "The file"}: the browser cannot read it as a picture; try JPEG, PNG or WebP.`);
  }
  return open(image, null);
}

/** Let the visitor choose a frame of a video and crop it; returns the crop as a file, or null. */
export async function cropVideo(file) {
  const first = await frameAt(file, 0);
  byId("crop-second").max = String(Math.max(0.1, first.seconds - 0.05));
  byId("crop-second").value = "0";
  byId("crop-second-value").textContent = "0.0 s";
  return open(first.image, file);
}

async function frameAt(file, seconds, signal) {
  const reply = await api.videoFrame(file, seconds, signal);
  return { image: await createImageBitmap(await api.pictureFile(reply.picture)), seconds: reply.seconds };
}

function open(image, video) {
  crop.video = video;
  byId("crop-second-line").hidden = !video;
  byId("crop-problem").hidden = true;
  byId("crop-size").value = "1";
  byId("crop-title").textContent = video ? "Choose a frame and crop it" : "Crop the picture";
  show(image);
  byId("crop-dialog").showModal();
  paint();
  return new Promise((resolve) => {
    crop.done = resolve;
  });
}

/** Show another image; the square keeps its place if the image has the same size. */
function show(image) {
  const isSameSize = crop.image && crop.image.width === image.width && crop.image.height === image.height && crop.done;
  crop.image?.close();
  crop.image = image;
  if (!isSameSize) {
    crop.side = Math.min(image.width, image.height);
    place((image.width - crop.side) / 2, (image.height - crop.side) / 2);
  }
}

function place(x, y) {
  crop.x = Math.min(crop.image.width - crop.side, Math.max(0, x));
  crop.y = Math.min(crop.image.height - crop.side, Math.max(0, y));
}

function resize(share) {
  const side = Math.max(1, share * Math.min(crop.image.width, crop.image.height));
  const [x, y] = [crop.x + (crop.side - side) / 2, crop.y + (crop.side - side) / 2];
  crop.side = side;
  place(x, y);
  paint();
}

function paint() {
  if (!crop.image) return;
  const canvas = byId("crop");
  canvas.style.setProperty("--shape", String(crop.image.width / crop.image.height));
  canvas.style.aspectRatio = `${crop.image.width} / ${crop.image.height}`;
  const { width, height, ratio } = fitCanvas(canvas);
  const scale = width / crop.image.width;
  const [x, y, side] = [crop.x * scale, crop.y * scale, crop.side * scale];
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(crop.image, 0, 0, width, height);
  ctx.beginPath();
  ctx.rect(0, 0, width, height);
  ctx.rect(x, y, side, side);
  ctx.fillStyle = "rgb(12 14 18 / 0.62)";
  ctx.fill("evenodd");
  ctx.strokeStyle = "#fff";
  ctx.lineWidth = 2;
  ctx.strokeRect(x + 1, y + 1, side - 2, side - 2);
  ctx.strokeStyle = "rgb(255 255 255 / 0.4)";
  ctx.lineWidth = 1;
  for (const third of [1 / 3, 2 / 3]) {
    ctx.strokeRect(x + side * third, y, 0, side);
    ctx.strokeRect(x, y + side * third, side, 0);
  }
}

async function cut() {
  const side = Math.max(1, Math.round(Math.min(LARGEST_SIDE, crop.side)));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const ctx = canvas.getContext("2d");
  ctx.imageSmoothingQuality = "high";
  ctx.fillStyle = "#fff";
  ctx.fillRect(0, 0, side, side);
  ctx.drawImage(crop.image, crop.x, crop.y, crop.side, crop.side, 0, 0, side, side);
  const type = side <= LARGEST_PNG_SIDE ? "image/png" : "image/jpeg";
  return new Promise((resolve) => canvas.toBlob(resolve, type, JPEG_QUALITY));
}

function finish(file) {
  clearTimeout(crop.resting);
  crop.request?.abort();
  byId("crop-dialog").close();
  crop.image?.close();
  crop.image = null;
  crop.video = null;
  crop.done?.(file);
  crop.done = null;
}

async function askSecond() {
  crop.request?.abort();
  const mine = new AbortController();
  crop.request = mine;
  try {
    const { image } = await frameAt(crop.video, Number(byId("crop-second").value), mine.signal);
    if (mine.signal.aborted) {
      image.close();
      return;
    }
    byId("crop-problem").hidden = true;
    show(image);
    paint();
  } catch (error) {
    if (mine.signal.aborted) return;
    byId("crop-problem").textContent = error.message;
    byId("crop-problem").hidden = false;
  }
}

function startDragging(canvas) {
  const scale = () => crop.image.width / canvas.clientWidth;
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary) return;
    crop.grab = { x: event.clientX * scale() - crop.x, y: event.clientY * scale() - crop.y };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!crop.grab || !crop.image) return;
    place(event.clientX * scale() - crop.grab.x, event.clientY * scale() - crop.grab.y);
    paint();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      crop.grab = null;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const far = crop.image.width * (event.shiftKey ? 0.1 : 0.01);
    place(crop.x + step[0] * far, crop.y + step[1] * far);
    paint();
  });
}

/** Make the dialog work. */
export function startCrop() {
  startDragging(byId("crop"));
  new ResizeObserver(paint).observe(byId("crop"));
  byId("crop-size").addEventListener("input", (event) => resize(Number(event.target.value)));
  byId("crop-second").addEventListener("input", (event) => {
    byId("crop-second-value").textContent = `${Number(event.target.value).toFixed(1)} s`;
    clearTimeout(crop.resting);
    crop.resting = setTimeout(askSecond, REST);
  });
  byId("crop-use").addEventListener("click", async () => finish(await cut()));
  byId("crop-cancel").addEventListener("click", () => finish(null));
  byId("crop-dialog").addEventListener("cancel", (event) => {
    event.preventDefault();
    finish(null);
  });
}

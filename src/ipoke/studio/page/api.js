/** The server's API: one function per call; errors carry a message. */

const TOKEN = "ipoke-token";
const VISITOR = "ipoke-visitor";

/** A failed call: its HTTP status, or 0 where the server did not respond. */
class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Store the token from the address's hash; returns all parameters of the hash. */
export function takeHash() {
  const hash = new URLSearchParams(location.hash.slice(1));
  if (hash.has("token")) sessionStorage.setItem(TOKEN, hash.get("token"));
  if (hash.has("token") || hash.has("session")) history.replaceState(null, "", location.pathname + location.search);
  return hash;
}

function visitor() {
  let name = sessionStorage.getItem(VISITOR);
  if (!name) {
    name = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem(VISITOR, name);
  }
  return name;
}

/** Send a request and return its response; throws a Problem, or AbortError where the request was cancelled. */
async function call(path, { body, signal, type } = {}) {
  const headers = { "X-Visitor": visitor() };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not respond. Your work is kept; the page continues as soon as the server is back.", 0);
  }
  if (response.ok) return response;
  let message = `The server returned status ${response.status}.`;
  try {
    message = (await response.json()).error || message;
  } catch {
    /* not JSON: the status has to do */
  }
  throw new Problem(message, response.status);
}

const postJson = (path, question, signal) => call(path, { body: JSON.stringify(question), type: "application/json", signal });
const postFile = (path, file, signal) => call(path, { body: file, type: file.type || "application/octet-stream", signal });
const json = async (response) => (await response).json();

export const about = () => json(call("/api/about"));
export const sendPicture = (file) => json(postFile("/api/pictures", file));
export const pictureFile = async (id) => (await call(`/api/pictures/${encodeURIComponent(id)}`)).blob();
export const videoFrame = (file, seconds, signal) => json(postFile(`/api/frame?at=${seconds}`, file, signal));
export const correlation = (picture, x, y, signal) => json(postJson("/api/correlation", { picture, x, y }, signal));
export const continueFrom = (question) => json(postJson("/api/continue", question));
export const reopen = (file) => json(postFile("/api/reopen", file));
export const command = (question) => json(postJson("/api/command", question));
export const exported = async (question, format) => (await postJson(`/api/export?format=${format}`, question)).blob();

/** A preview, the last frame of a question: its JPEG and the poked points' final positions. */
export async function preview(question, signal) {
  const response = await postJson("/api/preview", question, signal);
  return { file: await response.blob(), reached: JSON.parse(response.headers.get("X-Reached") || "[]") };
}

/** The clips of a question, as a stream of objects. */
export async function* clips(question, signal) {
  yield* lines(await postJson("/api/clips", question, signal));
}

/** The clip of a motion transfer, as a stream of objects. */
export async function* transfer(picture, file, signal) {
  yield* lines(await postFile(`/api/transfer?picture=${encodeURIComponent(picture)}`, file, signal));
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part) yield parsed(part);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem("The connection was interrupted. Your pokes are kept; try again.", 0);
  }
  if (rest.trim()) yield parsed(rest);
}

function parsed(line) {
  const value = JSON.parse(line);
  if (value.kind === "error") throw new Problem(value.error, 500);
  return value;
}

/** The bytes of a base64 text. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

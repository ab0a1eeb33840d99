/** The server's calls: one function each, errors as words. */

const TOKEN = "ipoke-token";
const VISITOR = "ipoke-visitor";

/** An answer of the server that is not a success, or none at all (status 0). */
class Problem extends Error {
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

/** Keep the token that came in the address, and give what else the address's hash held. */
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

/** Send a request and give its response; throws a Problem in words, or the AbortError of a request taken back. */
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
    throw new Problem("The server does not answer. Nothing is lost here; the page goes on as soon as it is back.", 0);
  }
  if (response.ok) return response;
  let words = `The server answered ${response.status}.`;
  try {
    words = (await response.json()).error || words;
  } catch {
    /* an answer without words keeps the number */
  }
  throw new Problem(words, response.status);
}

const asked = (path, question, signal) => call(path, { body: JSON.stringify(question), type: "application/json", signal });
const sent = (path, file, signal) => call(path, { body: file, type: file.type || "application/octet-stream", signal });
const json = async (response) => (await response).json();

export const about = () => json(call("/api/about"));
export const sendPicture = (file) => json(sent("/api/pictures", file));
export const pictureFile = async (id) => (await call(`/api/pictures/${encodeURIComponent(id)}`)).blob();
export const videoFrame = (file, seconds, signal) => json(sent(`/api/frame?at=${seconds}`, file, signal));
export const affinity = (picture, x, y, signal) => json(asked("/api/affinity", { picture, x, y }, signal));
export const continueFrom = (question) => json(asked("/api/continue", question));
export const reopen = (file) => json(sent("/api/reopen", file));
export const command = (question) => json(asked("/api/command", question));
export const exported = async (question, format) => (await asked(`/api/export?format=${format}`, question)).blob();

/** The last frame of a question: its JPEG and where the poked points end. */
export async function preview(question, signal) {
  const response = await asked("/api/preview", question, signal);
  return { file: await response.blob(), reached: JSON.parse(response.headers.get("X-Reached") || "[]") };
}

/** The lines of a question's clips, one object at a time. */
export async function* clips(question, signal) {
  yield* lines(await asked("/api/clips", question, signal));
}

/** The lines of a picture that a video's motion moves. */
export async function* transfer(picture, file, signal) {
  yield* lines(await sent(`/api/transfer?picture=${encodeURIComponent(picture)}`, file, signal));
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
      for (const part of parts) if (part) yield said(part);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem("The connection broke off in the middle. Your pokes are kept; try again.", 0);
  }
  if (rest.trim()) yield said(rest);
}

function said(line) {
  const value = JSON.parse(line);
  if (value.kind === "error") throw new Problem(value.error, 500);
  return value;
}

/** The bytes of a base64 text. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// Requests to /api: JSON, lines of JSON as they come, and who is asking. Knows no element.

export class Refused extends Error {
  /** status: of the answer, 0 where there was none. data: what the server said besides its line. later: s after which to ask again, or null. */
  constructor(status, words, data = {}, later = null) {
    super(words);
    Object.assign(this, { status, data, later });
  }
}

/** JSON of /api. body: an object or a Blob. Throws Refused with the server's own line. */
export async function api(path, { method = "GET", body, signal } = {}) {
  const answer = await ask(path, { method, body, signal });
  return answer.headers.get("content-type")?.includes("json") ? answer.json() : answer.arrayBuffer();
}

export const post = (path, body = {}) => api(path, { method: "POST", body });
export const put = (path, body = {}) => api(path, { method: "PUT", body });
export const patch = (path, body = {}) => api(path, { method: "PATCH", body });
export const remove = (path) => api(path, { method: "DELETE" });

async function ask(path, { method, body, signal }) {
  const raw = body instanceof Blob;
  let answer;
  try {
    answer = await fetch("/api" + path, {
      method,
      signal,
      headers: body === undefined || raw ? {} : { "Content-Type": "application/json" },
      body: body === undefined || raw ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer");
  }
  if (answer.status === 401) {
    location.assign("/login" + location.hash); // and back to the same place
    throw new Refused(401, "sign in first");
  }
  if (!answer.ok) {
    const data = await answer.json().catch(() => ({ detail: answer.statusText }));
    const later = Number(answer.headers.get("retry-after") ?? NaN);
    throw new Refused(answer.status, lineOf(data.detail), data, Number.isFinite(later) ? later : null);
  }
  return answer;
}

function lineOf(detail) {
  if (typeof detail === "string") return detail;
  return (detail ?? []).map((d) => `${d.loc?.at(-1)}: ${d.msg}`).join("; ");
}

/** Lines of JSON as they come; on(line) gets each, the last one is returned. Throws Refused where it is {error}. */
export async function stream(path, body, on) {
  const answer = await ask(path, { method: "POST", body });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "",
    last = {};
  for (;;) {
    const { value, done } = await reader.read();
    kept += value ?? "";
    const lines = kept.split("\n");
    kept = lines.pop();
    for (const line of lines) {
      last = JSON.parse(line);
      on(last);
    }
    if (done) break;
  }
  if (last.error) throw new Refused(500, last.error);
  return last;
}

let mine;
/** Who is signed in: {name, role, scopes, local, cannot}. cannot: what the models here can't do, a sentence each, "" where they can. */
export function me() {
  mine ??= api("/me").catch((error) => {
    mine = undefined; // asked again when next it is needed
    throw error;
  });
  return mine;
}

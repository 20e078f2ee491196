// What the rooms share: requests, elements whose words are only words, times, and the way from room to room.

export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** JSON of /api. body: an object. Throws Refused with the server's own line. */
export async function api(path, { method = "GET", body, signal } = {}) {
  const answer = await ask(path, { method, body, signal });
  return answer.headers.get("content-type")?.includes("json") ? answer.json() : answer.arrayBuffer();
}

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
    location.assign("/login");
    throw new Refused(401, "sign in first");
  }
  if (!answer.ok) {
    const { detail } = await answer.json().catch(() => ({ detail: answer.statusText }));
    const words =
      typeof detail === "string" ? detail : (detail ?? []).map((d) => `${d.loc?.at(-1)}: ${d.msg}`).join("; ");
    throw new Refused(answer.status, words);
  }
  return answer;
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

/** An element. props: properties, on...: listeners, "aria-..", "data-..", role: attributes. Children: elements, or text that stays text. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (/^(aria-|data-|role$|for$|list$|colspan$)/.test(name)) {
      if (value !== null && value !== undefined) made.setAttribute(name, value);
    } else if (name === "class") made.className = value;
    else if (name === "style") Object.assign(made.style, value);
    else made[name] = value;
  }
  made.append(
    ...children
      .flat()
      .filter((c) => c !== null && c !== undefined && c !== false)
      .map((c) => (c instanceof Node ? c : String(c))),
  );
  return made;
}

export function fill(parent, ...children) {
  parent.replaceChildren(
    ...children
      .flat()
      .filter((c) => c !== null && c !== undefined && c !== false)
      .map((c) => (c instanceof Node ? c : String(c))),
  );
}

/** Seconds as 1:02:03.4 */
export function clock(seconds, digits = 1) {
  const s = Math.max(0, seconds),
    hours = Math.floor(s / 3600),
    minutes = Math.floor(s / 60) % 60;
  const rest = (s % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes) + ":" + rest;
}

export function when(stamp) {
  return stamp ? new Date(stamp * 1000).toLocaleString() : "";
}

export function bytes(count) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (count < 1024 || unit === "GiB") return `${unit === "B" ? count : count.toFixed(1)} ${unit}`;
    count /= 1024;
  }
}

/** Status by shape and word, and only then by colour. */
export const SHAPES = { open: "◆", confirmed: "▲", dismissed: "○" };
export function status(name) {
  return el(
    "span",
    { class: `status ${name}` },
    el("span", { "aria-hidden": "true" }, (SHAPES[name] ?? "•") + " "),
    name,
  );
}

let told;
/** Say something, also to a screen reader; it stays for a while. wrong: it is an error. */
export function say(words, { wrong = false, undo } = {}) {
  told ??= document.body.appendChild(
    el(
      "div",
      { class: "vlad told" },
      el("div", { role: "status", "aria-live": "polite" }),
      el("div", { role: "alert" }),
    ),
  );
  const [calm, alarm] = told.children;
  fill(calm, ...(wrong ? [] : [words, undo ? el("button", { type: "button", onclick: undo }, "Undo") : null]));
  fill(alarm, wrong ? words : "");
  told.dataset.shown = "yes";
  clearTimeout(told.timer);
  told.timer = setTimeout(
    () => {
      told.dataset.shown = "";
    },
    wrong ? 12000 : 6000,
  );
}

/** Run an async function; what goes wrong is said. */
export async function tried(work, where) {
  if (where) where.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, { wrong: true });
    if (!(error instanceof Refused) && error.name !== "AbortError") console.error(error);
    return undefined;
  } finally {
    where?.removeAttribute("aria-busy");
  }
}

const rooms = new Map();
/** A room hears arrive(parameters) when it comes on screen, however people got there, and when they go to it anew. */
export function room(root, name, arrive) {
  const come = () => {
    const { name: asked, params } = place();
    if (asked === name && location.hash) {
      arrive(params);
      return;
    }
    history[location.hash ? "pushState" : "replaceState"](null, "", `#${name}`);
    arrive({});
  };
  rooms.set(name, { root, come });
  let seen = false;
  new ResizeObserver(() => {
    const now = shown(root);
    if (now && !seen) come();
    seen = now;
  }).observe(root);
}

export function place() {
  const [name, query] = location.hash.slice(1).split("?");
  return { name: name || "analyse", params: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

/** To a room; parameters stand in the address, so that Back and a bookmark work. */
export function go(name, params = {}) {
  const query = new URLSearchParams(params).toString();
  const hash = `#${name}${query ? "?" + query : ""}`;
  if (location.hash === hash) arrived();
  else location.hash = hash;
}

/** The address changed: to its room, which comes on screen and hears of it, or hears at once where it is there already. */
export function arrived() {
  const { name } = place(),
    tab = document.getElementById(`room-${name}-button`),
    there = rooms.get(name);
  if (there && shown(there.root)) there.come();
  else tab?.click();
}

export function shown(element) {
  return element.isConnected && element.offsetParent !== null;
}

/** Call again and again while the element is on screen; work() says how many ms to wait. */
export function poll(element, work) {
  let timer,
    busy = false;
  const again = async () => {
    clearTimeout(timer);
    if (busy) return;
    busy = true;
    let wait = 3000;
    try {
      if (shown(element) && !document.hidden) wait = await work();
    } catch (error) {
      if (!(error instanceof Refused)) console.error(error);
      wait = 5000;
    }
    busy = false;
    timer = setTimeout(again, wait);
  };
  document.addEventListener("visibilitychange", again);
  again();
  return again;
}

export function labelled(words, control) {
  return el("label", {}, el("span", {}, words), control);
}

export function choice(options, props = {}) {
  return el(
    "select",
    props,
    options.map(([value, words]) => el("option", { value }, words)),
  );
}

/** Put other options into a select and keep what is chosen where it is still there. */
export function options(select, pairs) {
  const kept = select.value;
  fill(
    select,
    pairs.map(([value, words]) => el("option", { value }, words)),
  );
  if (pairs.some(([value]) => value === kept)) select.value = kept;
}

let mine;
/** Who is signed in: {name, role, scopes, local}. */
export function me() {
  return (mine ??= api("/me"));
}

/** Frames at times (s) as pictures of one request: elements in the order of the times. */
export function frames(video, times) {
  const url = `/api/videos/${video}/strip?` + new URLSearchParams(times.map((t) => ["t", t.toFixed(3)]));
  const made = times.map(() => el("span", { class: "frame", role: "img", "aria-label": "frame" }));
  const picture = new Image();
  picture.onload = () =>
    made.forEach((span, i) =>
      Object.assign(span.style, {
        aspectRatio: `${picture.naturalWidth / times.length} / ${picture.naturalHeight}`,
        backgroundImage: `url("${url}")`,
        backgroundSize: `${times.length * 100}% 100%`,
        backgroundPosition: `${times.length > 1 ? (i / (times.length - 1)) * 100 : 0}% 0`,
      }),
    );
  picture.onerror = () =>
    made.forEach((span) => {
      span.textContent = "no frame";
    });
  picture.src = url;
  return made;
}

// Small pictures out of a clip's sheet of thumbnails: still ones, and previews that move. One sheet is fetched for all of them.
import { api } from "./api.js";
import { el } from "./dom.js";

const PACE = 350; // ms a picture of a moving preview
const LINES = 2; // sheets asked for at once: one that is made first takes seconds, and a browser has six lines to a server
const versions = new Map(); // of covered clips: pictures of another version are other pictures
const sheets = new Map(),
  waiting = [];
let open = 0;

/** A clip's sheet {times (s), columns, width, height, url}, or null while there is none. */
export function sheet(video) {
  if (!sheets.has(video)) {
    const asked = inTurn(() => api(`/videos/${video}/sheet.json`))
      .then((found) => ({ ...found, url: `/api/videos/${video}/sheet?v=${found.version ?? found.times.length}` }))
      .catch(() => {
        setTimeout(() => sheets.delete(video), 3000); // asked again when next it is needed
        return null;
      });
    sheets.set(video, asked);
  }
  return sheets.get(video);
}

async function inTurn(work) {
  if (open >= LINES) await new Promise((free) => waiting.push(free));
  open += 1;
  try {
    return await work();
  } finally {
    open -= 1;
    waiting.shift()?.();
  }
}

/** Which version of a covered clip is shown; "" of one that is not covered. */
export const shownAs = (video, version) => versions.set(video, version);

/** Something changed about a clip: its sheet is asked for anew when next it is needed. */
export const forget = (video) => sheets.delete(video);

/** Which tile stands for a time (s): the nearest. times rise. */
export function nearest(times, time) {
  let low = 0,
    high = times.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low > 0 && time - times[low - 1] <= times[low] - time ? low - 1 : low;
}

/** Show tile `number` of a sheet in an element. */
export function paint(element, found, number) {
  const rows = Math.ceil(found.times.length / found.columns),
    share = (at, count) => (count > 1 ? (at / (count - 1)) * 100 : 0);
  Object.assign(element.style, {
    backgroundImage: `url("${found.url}")`,
    backgroundSize: `${found.columns * 100}% ${rows * 100}%`,
    backgroundPosition: `${share(number % found.columns, found.columns)}% ${share(Math.floor(number / found.columns), rows)}%`,
  });
}

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries)
    if (isIntersecting) {
      seen.unobserve(target);
      target.arrive();
    }
});

/** A picture of a clip at a time (s), fetched once it comes on screen. */
export function picture(video, time, words = "") {
  const made = el("span", {
    class: "frame",
    ...(words ? { role: "img", "aria-label": words } : { "aria-hidden": "true" }),
  });
  made.arrive = async () => {
    const found = await sheet(video);
    if (found) paint(made, found, nearest(found.times, time));
    else setTimeout(() => made.isConnected && seen.observe(made), 4000);
  };
  seen.observe(made);
  return made;
}

/** The picture of a segment's peak; it runs through the segment while `host` is pointed at or has the focus. */
export function preview({ video, start, end, peak_time }, host) {
  const made = picture(video, peak_time);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = null;
  const stop = async () => {
    clearInterval(timer);
    timer = null;
    const found = await sheet(video);
    if (found) paint(made, found, nearest(found.times, peak_time));
  };
  const run = async () => {
    if (timer || still.matches) return;
    timer = -1;
    const found = await sheet(video);
    if (!found || timer !== -1) return;
    const from = nearest(found.times, start),
      count = Math.max(1, nearest(found.times, end) - from + 1);
    let step = 0;
    timer = setInterval(() => {
      if (!made.isConnected) clearInterval(timer);
      else paint(made, found, from + (step++ % count));
    }, PACE);
  };
  host.addEventListener("pointerenter", run);
  host.addEventListener("pointerleave", stop);
  host.addEventListener("focusin", run);
  host.addEventListener("focusout", stop);
  return made;
}

/** Full frames at times (s) as pictures of one request: elements in the order of the times. */
export function frames(video, times) {
  const url =
    `/api/videos/${video}/strip?` +
    new URLSearchParams([...times.map((t) => ["t", t.toFixed(3)]), ["v", versions.get(video) ?? ""]]);
  const made = times.map(() => el("span", { class: "frame", role: "img", "aria-label": "frame" }));
  const whole = new Image();
  whole.onload = () =>
    made.forEach((span, i) =>
      Object.assign(span.style, {
        aspectRatio: `${whole.naturalWidth / times.length} / ${whole.naturalHeight}`,
        backgroundImage: `url("${url}")`,
        backgroundSize: `${times.length * 100}% 100%`,
        backgroundPosition: `${times.length > 1 ? (i / (times.length - 1)) * 100 : 0}% 0`,
      }),
    );
  let tries = 0;
  whole.onerror = () => {
    if (++tries < 3 && made[0].isConnected)
      setTimeout(() => (whole.src = `${url}&n=${tries}`), 3000); // others come first
    else made.forEach((span) => (span.textContent = "no frame"));
  };
  whole.src = url;
  return made;
}

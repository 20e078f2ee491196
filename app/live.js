// What others do, as it happens: one stream of changes for all rooms, and who is looking at what.
import { Refused, api, post } from "./api.js";

const AGAIN = 5000; // ms between two looks where no stream comes through
const BEAT = 12_000; // ms between two signs of presence
const ears = new Set();
let source = null,
  looking = {},
  timer = null,
  watch = null;
export let people = [];

/** on({kind, id, video, by}) for every change; kind "all": something was missed, look anew; "presence": `people` changed. */
export function listen(on) {
  ears.add(on);
  open();
  return () => ears.delete(on);
}

const tell = (change) => ears.forEach((on) => on(change));

function open() {
  if (source) return;
  source = new EventSource("/api/events");
  let broke = false;
  source.addEventListener("change", (event) => tell(JSON.parse(event.data)));
  source.addEventListener("presence", (event) => {
    people = JSON.parse(event.data).people;
    tell({ kind: "presence" });
  });
  source.addEventListener("open", () => {
    document.documentElement.classList.remove("away");
    if (broke) tell({ kind: "all" });
    broke = false;
  });
  source.addEventListener("error", () => {
    broke = true;
    setTimeout(() => {
      if (source?.readyState !== EventSource.OPEN) document.documentElement.classList.add("away");
    }, 3000); // a stream ends now and then, and comes back by itself
  });
  watch ??= setInterval(() => {
    if (source?.readyState === EventSource.OPEN || document.hidden) return;
    tell({ kind: "all" }); // the stream is broken: look, and try again
    if (source?.readyState !== EventSource.CLOSED) return;
    source = null;
    open();
  }, AGAIN);
}

/** Say what this person looks at: {segment, video}, {} for nothing. */
export function look(at) {
  if (JSON.stringify(at) === JSON.stringify(looking)) return;
  looking = at;
  clearTimeout(timer);
  timer = setTimeout(beat, 300);
}

function beat() {
  clearTimeout(timer);
  timer = setTimeout(beat, BEAT);
  if (document.hidden) return;
  post("/presence", { segment: looking.segment ?? null, video: looking.video ?? null }).catch(() => {});
}

/** Work that many changes ask for is done once, shortly after the last of them; never twice at a time. */
export function calmly(work, wait = 250) {
  let later = null,
    running = false,
    asked = false;
  const run = async () => {
    later = null;
    if (running) {
      asked = true;
      return;
    }
    running = true;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refused)) console.error(error); // a server that is away is asked again soon
    } finally {
      running = false;
      if (asked) {
        asked = false;
        later = setTimeout(run, wait);
      }
    }
  };
  return () => {
    later ??= setTimeout(run, wait);
  };
}

/** Templates, classes, cameras and people there are, asked for once in a while. */
let kept = null;
export function facets() {
  if (!kept || Date.now() - kept.at > 10_000)
    kept = {
      at: Date.now(),
      found: Promise.all([api("/facets"), api("/people").catch(() => [])]).then(([f, people]) => ({ ...f, people })),
    };
  kept.found.catch(() => (kept = null));
  return kept.found;
}

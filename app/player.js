// The clip; or single frames of it, where the browser cannot play it. Knows times in seconds and nothing of segments.
import { el } from "./dom.js";

export const SPEEDS = [0.25, 0.5, 1, 1.5, 2, 4, 8];
const AHEAD = 2; // seconds shown before a segment
const STUCK = 3000; // milliseconds after which a seek that found nothing is given up, and the next one tried
const PAINTED = 300; // milliseconds after which a seek that shows no new picture is taken to show the old one
const LATE = 1500; // the same where the old one was of quite another time: a frame that lasts long, or a browser that is behind

export class Player {
  /** ontime(s): where it is. */
  constructor(ontime) {
    this.video = el("video", { controls: true, preload: "metadata", playsInline: true, "aria-label": "The clip" });
    this.still = el("img", { alt: "One frame of the clip", hidden: true });
    this.words = el(
      "p",
      { class: "small", hidden: true },
      "This browser cannot play this clip's codec; single frames are shown instead.",
    );
    this.over = el("div", { class: "over" }); // what is drawn on the picture
    this.element = el(
      "div",
      { class: "player" },
      el("div", { class: "stage" }, this.video, this.still, this.over),
      this.words,
    );
    Object.assign(this, { ontime, id: null, speed: 1, loop: null, place: 0, frames: false, fps: 25 });
    Object.assign(this, { frame: null, known: null, shown: 0, due: 0, stepping: false });
    this.video.addEventListener("timeupdate", () => this._moved());
    this.video.addEventListener("seeked", () => this._moved());
    this.video.addEventListener("loadedmetadata", () => (this.video.playbackRate = this.speed));
    this.video.addEventListener("error", () => this.video.src && this._frames());
    this._watch();
  }

  /** query: which of the clip's files, such as v=3; null: none may be shown, and nothing is asked for. */
  load(id, fps, query = "") {
    Object.assign(this, { id, query, fps: fps || 25, frames: false, place: 0, loop: null, frame: null, due: 0 });
    this.still.hidden = this.words.hidden = true;
    this.video.hidden = query === null;
    if (query === null) {
      this.video.removeAttribute("src");
      this.video.load();
    } else this.video.src = `/api/videos/${id}/media?${query}`;
  }

  unload() {
    Object.assign(this, { id: null, query: "", frames: false, place: 0, loop: null, frame: null, due: 0 });
    clearTimeout(this.later);
    this.video.hidden = false;
    this.still.hidden = this.words.hidden = true;
    this.still.removeAttribute("src");
    this.video.removeAttribute("src");
    this.video.load();
  }

  _frames() {
    this.frames = true;
    this.video.hidden = true;
    this.still.hidden = this.words.hidden = false;
    this.seek(this.place);
  }

  /** Which frame is on screen, by its own timestamp, where the browser tells. */
  _watch() {
    if (!this.video.requestVideoFrameCallback) return;
    const seen = (_, { mediaTime }) => {
      this.frame = mediaTime;
      this.shown += 1;
      this.video.requestVideoFrameCallback(seen);
    };
    this.video.requestVideoFrameCallback(seen);
  }

  _moved() {
    if (this.loop && !this.video.paused && (this.time >= this.loop[1] || this.time < this.loop[0] - 0.5))
      this.seek(this.loop[0]);
    this.ontime(this.time);
  }

  get time() {
    return this.frames ? this.place : this.video.currentTime;
  }

  seek(time) {
    this.place = Math.max(0, time);
    this.known = null;
    if (!this.frames) {
      this.video.currentTime = this.place;
      return;
    }
    clearTimeout(this.later);
    this.later = setTimeout(
      () => (this.still.src = `/api/videos/${this.id}/frame?t=${this.place.toFixed(3)}&${this.query}`),
      120,
    );
    this.ontime(this.place);
  }

  /** One frame on (1) or back (-1), whatever the distances between frames are. What is asked meanwhile is done afterwards. */
  async step(count) {
    this.video.pause();
    if (this.frames || this.frame === null) {
      this.seek(this.time + count / this.fps);
      return;
    }
    this.due = Math.max(-3, Math.min(3, this.due + count));
    if (this.stepping) return;
    this.stepping = true;
    try {
      if (this.video.seeking || !this._fits(this.time)) await this._show(this.time);
      while (this.due) {
        const way = Math.sign(this.due);
        this.due -= way;
        if (way < 0) await this._show(Math.max(0, this.frame - 0.0005));
        else await this._next(this.frame);
      }
    } catch {
      this.due = 0; // another clip came between
    } finally {
      this.stepping = false;
    }
  }

  /** The frame after `from` (s): further on from here until it changes, then back to the first that differs. */
  async _next(from) {
    const end = this.video.duration,
      here = Math.max(from, this.time),
      fine = 0.25 / this.fps;
    let same = here,
      other = null; // the start of a later frame
    for (let on = 2 * fine; other === null && same < end; on *= 2) {
      const at = Math.min(end, here + on * 1.02),
        found = await this._show(at);
      if (found > from) other = found;
      else same = at;
    }
    if (other === null) return; // this is the last one
    while (other - same > fine) {
      const middle = (same + other) / 2,
        found = await this._show(middle);
      if (found > from) other = Math.min(found, middle);
      else same = middle;
    }
    await this._show(other + 0.002);
  }

  /** Whether the frame that was last told can be what is on screen at a time (s). */
  _fits(time) {
    const after = time - this.frame;
    return this.frame === this.known || (after > -0.25 / this.fps && after < 1.5 / this.fps);
  }

  /** Seek, and the timestamp (s) of the frame that is then on screen. Rejected where another clip comes between. */
  _show(time) {
    const shown = this.shown,
      known = this.known,
      listening = new AbortController(),
      { signal } = listening;
    const showing = new Promise((done, failed) => {
      const seen = () => {
        if (this.video.seeking) return; // another seek came between
        const began = performance.now();
        const look = () => {
          const fits = this.frame === known || this._fits(time),
            late = performance.now() - began > (fits ? PAINTED : LATE);
          if (late || (fits && this.shown > shown)) setTimeout(() => done((this.known = this.frame)), 10);
          else requestAnimationFrame(look); // a busy browser paints some time after it has found the place
        };
        requestAnimationFrame(() => requestAnimationFrame(look));
      };
      this.video.addEventListener("seeked", seen, { signal });
      setTimeout(() => done(this.frame), STUCK);
      for (const gone of ["emptied", "error"]) this.video.addEventListener(gone, failed, { signal });
    });
    this.seek(time);
    return showing.finally(() => listening.abort());
  }

  toggle() {
    if (this.frames) return;
    if (this.video.paused) this.play();
    else this.video.pause();
  }

  play() {
    if (!this.frames) this.video.play().catch(() => {});
  }

  /** A segment with the seconds before it. */
  from(start) {
    this.seek(Math.max(0, start - AHEAD));
    this.play();
  }

  /** Again and again from start to end (s); null: no more. */
  repeat(span) {
    this.loop = span;
    if (!span) return;
    if (this.time < span[0] || this.time >= span[1]) this.seek(span[0]);
    this.play();
  }

  /** Faster (1) or slower (-1); the new speed. */
  pace(by) {
    const at = SPEEDS.indexOf(this.speed) + by;
    this.speed = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at))];
    this.video.playbackRate = this.speed;
    return this.speed;
  }
}

// A clip's scores over time: zoom, threshold, segments whose ends can be dragged, marks, thumbnails.
//
// In: scores [T] in 0..1, edges [T + 1] (s), segments {id, start, end, peak, status, origin}. Out: onseek(s), onthreshold(score, done),
// onchoose(id), onspan(id, start, end).
import { FOOT, STRIP, draw, indexAt, pyramid } from "./curve.js";
import { el, fill } from "./dom.js";
import { nearest, paint, sheet } from "./sprites.js";
import { clock, moment } from "./times.js";

const TILE = 160,
  GRIP = 6, // pixels around the end of the chosen span
  LEAST = 0.2; // seconds that a dragged span keeps
const NONE = {
  id: null,
  scores: new Float32Array(0),
  edges: new Float32Array([0, 1]),
  duration: 1,
  segments: [],
  gaps: [],
  starts: null,
};

export class Timeline {
  constructor({ onseek, onthreshold, onchoose, onspan }) {
    Object.assign(this, { onseek, onthreshold, onchoose, onspan });
    this.canvas = el("canvas", {
      tabIndex: 0,
      role: "slider",
      "aria-label": "Position in the clip; plus, minus and 0 zoom",
      "aria-valuemin": "0",
      "aria-valuenow": "0",
    });
    this.thumb = el("div", { class: "thumb", hidden: true }, el("div", { class: "tile" }), el("span", {}));
    this.element = el("div", { class: "timeline" }, this.canvas, this.thumb);
    this.threshold = 0.5;
    this.load(NONE);
    this._listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** A clip; null: none. starts: when it began, ISO, or null. */
  load(clip) {
    const { id, scores, edges, duration, segments, gaps, starts } = clip ?? NONE;
    Object.assign(this, {
      id,
      edges,
      duration,
      segments,
      gaps,
      starts,
      chosen: null,
      now: 0,
      view: [0, duration],
      marked: [null, null],
      counts: null,
      held: [],
      departures: [],
    });
    this.levels = pyramid(scores);
    this.canvas.setAttribute("aria-valuemax", duration.toFixed(1));
    this.draw();
  }

  /** The score at a time (s). */
  at(time) {
    return this.levels[0][indexAt(this.edges, time)] ?? 0;
  }

  zoom(factor, around = this.now) {
    const [a, b] = this.view,
      least = Math.min(this.duration, 2);
    const span = Math.min(this.duration, Math.max(least, (b - a) / factor));
    const share = b > a ? Math.min(1, Math.max(0, (around - a) / (b - a))) : 0.5;
    this.pan(0, [around - share * span, around - share * span + span]);
  }

  whole() {
    this.view = [0, this.duration];
    this.draw();
  }

  pan(seconds, view = this.view) {
    const span = view[1] - view[0],
      start = Math.min(Math.max(0, view[0] + seconds), this.duration - span);
    this.view = [start, start + span];
    this.draw();
  }

  /** Show this time, moving the view only where it lies outside. */
  reveal(start, end = start) {
    const [a, b] = this.view;
    if (start < a || end > b) this.pan((start + end) / 2 - (a + b) / 2);
    this.draw();
  }

  moveTo(time) {
    this.now = time;
    this.canvas.setAttribute("aria-valuenow", time.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", `${moment(this.starts, time)}, score ${this.at(time).toFixed(2)}`);
    this.draw();
  }

  mark(from, until) {
    this.marked = [from, until];
    this.draw();
  }

  setThreshold(score) {
    this.threshold = Math.round(Math.min(0.99, Math.max(0.01, score)) * 100) / 100;
    this.onthreshold(this.threshold, false);
    this.draw();
  }

  draw() {
    // once a frame, however often it is asked for
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      draw(this);
    });
  }

  x(time) {
    return ((time - this.view[0]) / (this.view[1] - this.view[0])) * this.width;
  }
  y(score) {
    return STRIP + (1 - score) * (this.height - STRIP - FOOT);
  }
  time(x) {
    return this.inside(this.view[0] + (x / this.width) * (this.view[1] - this.view[0]));
  }
  inside(time) {
    return Math.min(this.duration, Math.max(0, time));
  }

  /** What lies under the pointer: an end of the chosen span, the threshold, or the clip itself. */
  _under(x, y, touch) {
    const own = this.segments.find((s) => s.id === this.chosen);
    if (own && y >= STRIP) {
      if (Math.abs(x - this.x(own.end)) <= GRIP) return { end: own };
      if (Math.abs(x - this.x(own.start)) <= GRIP) return { start: own };
    }
    if (Math.abs(y - this.y(this.threshold)) < 8 && (!touch || x > this.width - 60)) return { threshold: true };
    return touch ? { pan: true } : { seek: true };
  }

  _listen() {
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
        if (sideways) this.pan(((event.deltaX || event.deltaY) / this.width) * (this.view[1] - this.view[0]));
        else this.zoom(Math.exp(-event.deltaY / 300), this.time(place(event)[0]));
      },
      { passive: false },
    );
    let held = {},
      last = 0,
      moved = 0;
    this.canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = place(event);
      held = this._under(x, y, event.pointerType === "touch");
      [last, moved] = [x, 0];
      this.canvas.setPointerCapture(event.pointerId);
      if (held.seek) this._pressed(x, y);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      moved += Math.abs(x - last);
      if (held.threshold) this.setThreshold(1 - (y - STRIP) / (this.height - STRIP - FOOT));
      else if (held.start || held.end) this._drag(held, x);
      else if (held.pan) this.pan(((last - x) / this.width) * (this.view[1] - this.view[0]));
      else if (held.seek) this.onseek(this.time(x));
      else this._hover(x, this._under(x, y, false));
      last = x;
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const [x, y] = place(event);
      if (held.pan && moved < 6) this._pressed(x, y);
      if (held.threshold) this.onthreshold(this.threshold, true);
      const own = held.start ?? held.end;
      if (own && moved > 2) this.onspan(own.id, own.start, own.end);
      held = {};
    });
    this.canvas.addEventListener("pointerleave", () => (this.thumb.hidden = true));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -10, ArrowUp: 10 }[event.key];
      if (!step || event.shiftKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.onseek(this.inside(this.now + step));
    });
  }

  _drag({ start, end }, x) {
    const time = this.time(x);
    if (start) start.start = Math.max(0, Math.min(time, start.end - LEAST));
    else end.end = Math.min(this.duration, Math.max(time, end.start + LEAST));
    this.onseek(start ? start.start : end.end);
  }

  _pressed(x, y) {
    const hit = y < STRIP ? this.segments.find((s) => this.x(s.start) - 5 <= x && x <= this.x(s.end) + 5) : null;
    if (hit) this.onchoose(hit.id);
    else this.onseek(this.time(x));
  }

  async _hover(x, under) {
    this.canvas.style.cursor = under.threshold ? "ns-resize" : under.start || under.end ? "ew-resize" : "pointer";
    const time = this.time(x),
      [tile, words] = this.thumb.children;
    this.thumb.hidden = !this.id;
    this.thumb.style.left = `${Math.min(Math.max(0, x - TILE / 2), this.width - TILE)}px`;
    fill(words, `${moment(this.starts, time)} score ${this.at(time).toFixed(2)}`);
    const found = this.id && (await sheet(this.id));
    tile.hidden = !found;
    if (!found) return;
    const number = nearest(found.times, time);
    tile.style.aspectRatio = `${found.width} / ${found.height}`;
    paint(tile, found, number);
    if (Math.abs(found.times[number] - time) > 1)
      fill(words, words.textContent, el("br"), `picture of ${clock(found.times[number])}`);
  }
}

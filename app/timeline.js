// A clip's scores over time on a canvas: zoom, threshold, segments, thumbnails. Knows no server.
//
// In: scores [T] in 0..1, edges [T + 1] (s), segments {id, start, end, peak, status}. Out: onseek(s), onthreshold(score), onchoose(id).
// A pyramid of maxima keeps what is drawn to a few thousand points, so that a whole day zooms as smoothly as a minute.
import { SHAPES, clock, el, fill } from "./common.js";

const STRIP = 20,
  FOOT = 18,
  TILE = 160;
const COLOURS = {
  light: {
    line: "#0072B2",
    open: "#D55E00",
    confirmed: "#9A3E00",
    dismissed: "#6b6b6b",
    text: "#333",
    grid: "#ddd",
    now: "#000",
  },
  dark: {
    line: "#56B4E9",
    open: "#D55E00",
    confirmed: "#FF9A4D",
    dismissed: "#a0a0a0",
    text: "#ccc",
    grid: "#333",
    now: "#fff",
  },
};

export class Timeline {
  constructor({ onseek, onthreshold, onchoose }) {
    Object.assign(this, { onseek, onthreshold, onchoose });
    this.canvas = el("canvas", {
      tabIndex: 0,
      role: "slider",
      "aria-label": "Position in the clip; plus, minus and 0 zoom",
      "aria-valuemin": "0",
    });
    this.thumb = el("div", { class: "thumb", hidden: true }, el("div", { class: "tile" }), el("span", {}));
    this.element = el("div", { class: "timeline" }, this.canvas, this.thumb);
    this.load({
      scores: new Float32Array(0),
      edges: new Float32Array([0, 1]),
      duration: 1,
      segments: [],
      gaps: [],
      sheet: "",
    });
    this.threshold = 0.5;
    this._listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
    for (const query of ["(prefers-color-scheme: dark)"])
      matchMedia(query).addEventListener("change", () => this.draw());
  }

  load({ scores, edges, duration, segments, gaps, sheet }) {
    Object.assign(this, { duration, segments, gaps, sheet, chosen: null, now: 0, view: [0, duration] });
    this.levels = [scores];
    while (this.levels.at(-1).length > 512) {
      const below = this.levels.at(-1),
        level = new Float32Array(Math.ceil(below.length / 2));
      for (let i = 0; i < level.length; i++) level[i] = Math.max(below[2 * i], below[2 * i + 1] ?? 0);
      this.levels.push(level);
    }
    this.edges = edges;
    this.canvas.setAttribute("aria-valuemax", duration.toFixed(1));
    this.ratio = null;
    if (sheet) {
      const picture = new Image();
      picture.onload = () => {
        if (this.sheet === sheet) this.ratio = picture.naturalHeight / picture.naturalWidth;
      };
      picture.src = sheet;
    }
    this.draw();
  }

  /** The score at a time (s). */
  at(time) {
    return this.levels[0][this._index(time)] ?? 0;
  }

  _index(time) {
    // the last edge at or before time
    let low = 0,
      high = this.edges.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.edges[middle] <= time) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
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
    this.canvas.setAttribute("aria-valuetext", `${clock(time)}, score ${this.at(time).toFixed(2)}`);
    this.draw();
  }

  draw() {
    // once a frame, however often it is asked for
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this._draw();
    });
  }

  _x(time) {
    return ((time - this.view[0]) / (this.view[1] - this.view[0])) * this.width;
  }
  _time(x) {
    return this.view[0] + (x / this.width) * (this.view[1] - this.view[0]);
  }
  _y(score) {
    return STRIP + (1 - score) * (this.height - STRIP - FOOT);
  }

  _draw() {
    const box = this.canvas.getBoundingClientRect(),
      scale = devicePixelRatio || 1;
    if (!box.width) return;
    this.width = box.width;
    this.height = box.height;
    if (this.canvas.width !== Math.round(box.width * scale) || this.canvas.height !== Math.round(box.height * scale)) {
      this.canvas.width = Math.round(box.width * scale);
      this.canvas.height = Math.round(box.height * scale);
    }
    const pen = this.canvas.getContext("2d"),
      colours = COLOURS[document.body.classList.contains("dark") ? "dark" : "light"];
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.font = "11px system-ui, sans-serif";
    this._ticks(pen, colours);
    this._spans(pen, colours);
    this._curve(pen, colours);
    this._lines(pen, colours);
  }

  _ticks(pen, colours) {
    const [a, b] = this.view,
      step =
        [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400].find(
          (s) => ((b - a) / s) * 64 < this.width,
        ) ?? 28800;
    for (let t = Math.ceil(a / step) * step; t <= b; t += step) {
      pen.fillStyle = colours.grid;
      pen.fillRect(this._x(t), STRIP, 1, this.height - STRIP - FOOT);
      pen.fillStyle = colours.text;
      const words = clock(t, step < 1 ? 1 : 0),
        wide = pen.measureText(words).width;
      pen.fillText(words, Math.min(Math.max(0, this._x(t) - wide / 2), this.width - wide), this.height - 4);
    }
    pen.fillStyle = colours.grid;
    for (const [start, end] of this.gaps)
      pen.fillRect(this._x(start), STRIP, Math.max(2, this._x(end) - this._x(start)), this.height - STRIP - FOOT);
  }

  _spans(pen, colours) {
    let free = -1;
    for (const s of this.segments) {
      if (s.end < this.view[0] || s.start > this.view[1]) continue;
      const left = this._x(s.start),
        wide = Math.max(2, this._x(s.end) - left),
        faint = s.peak < this.threshold;
      pen.globalAlpha = faint ? 0.08 : s.id === this.chosen ? 0.5 : 0.22;
      pen.fillStyle = colours[s.status];
      pen.fillRect(left, STRIP, wide, this.height - STRIP - FOOT);
      pen.globalAlpha = faint ? 0.3 : 1;
      pen.fillRect(left, STRIP - 4, wide, 3);
      const middle = left + wide / 2;
      if (middle > free) {
        pen.textAlign = "center";
        pen.fillText(SHAPES[s.status], middle, STRIP - 7);
        pen.textAlign = "left";
        free = middle + 11;
      }
      if (s.id === this.chosen) {
        pen.globalAlpha = 1;
        pen.strokeStyle = colours.now;
        pen.lineWidth = 1.5;
        pen.strokeRect(left, STRIP, wide, this.height - STRIP - FOOT);
      }
    }
    pen.globalAlpha = 1;
  }

  _curve(pen, colours) {
    const first = this._index(this.view[0]),
      last = this._index(this.view[1]);
    let level = 0;
    while (level + 1 < this.levels.length && (last - first) >> level > 2 * this.width) level++;
    const values = this.levels[level];
    pen.beginPath();
    for (let i = first >> level; i <= last >> level && i < values.length; i++) {
      const y = this._y(values[i]);
      pen.lineTo(this._x(this.edges[i << level]), y);
      pen.lineTo(this._x(this.edges[Math.min((i + 1) << level, this.edges.length - 1)]), y);
    }
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1.5;
    pen.stroke();
  }

  _lines(pen, colours) {
    const y = this._y(this.threshold);
    pen.setLineDash([6, 4]);
    pen.strokeStyle = colours.open;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(0, y);
    pen.lineTo(this.width, y);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colours.open;
    pen.fillRect(this.width - 36, y - 7, 36, 14);
    pen.fillStyle = "#fff";
    pen.fillText(this.threshold.toFixed(2), this.width - 31, y + 4);
    const x = this._x(this.now);
    pen.fillStyle = colours.now;
    pen.fillRect(x - 1, STRIP - 4, 2, this.height - STRIP - FOOT + 4);
  }

  _listen() {
    let held = null,
      last = 0,
      moved = 0;
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const near = (y) => Math.abs(y - this._y(this.threshold)) < 8;
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
        if (sideways) this.pan(((event.deltaX || event.deltaY) / this.width) * (this.view[1] - this.view[0]));
        else this.zoom(Math.exp(-event.deltaY / 300), this._time(place(event)[0]));
      },
      { passive: false },
    );
    this.canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = place(event);
      held =
        near(y) && (event.pointerType !== "touch" || x > this.width - 60)
          ? "threshold"
          : event.pointerType === "touch"
            ? "pan"
            : "seek";
      [last, moved] = [x, 0];
      this.canvas.setPointerCapture(event.pointerId);
      if (held === "seek") this._pressed(x, y);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event);
      this.canvas.style.cursor = near(y) ? "ns-resize" : "pointer";
      if (held === "threshold") this.setThreshold(1 - (y - STRIP) / (this.height - STRIP - FOOT));
      else if (held === "pan") {
        moved += Math.abs(x - last);
        this.pan(((last - x) / this.width) * (this.view[1] - this.view[0]));
        last = x;
      } else if (held === "seek") this.onseek(this._inside(this._time(x)));
      else this._hover(x);
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const [x, y] = place(event);
      if (held === "pan" && moved < 6) this._pressed(x, y);
      if (held === "threshold") this.onthreshold(this.threshold, true);
      held = null;
    });
    this.canvas.addEventListener("pointerleave", () => {
      this.thumb.hidden = true;
    });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -10, ArrowUp: 10 }[event.key];
      if (step) {
        event.preventDefault();
        event.stopPropagation();
        this.onseek(this._inside(this.now + step));
      }
    });
  }

  _inside(time) {
    return Math.min(this.duration, Math.max(0, time));
  }

  _pressed(x, y) {
    const time = this._time(x);
    const hit = y < STRIP ? this.segments.find((s) => this._x(s.start) - 5 <= x && x <= this._x(s.end) + 5) : null;
    if (hit) this.onchoose(hit.id);
    else this.onseek(this._inside(time));
  }

  setThreshold(score) {
    this.threshold = Math.round(Math.min(0.99, Math.max(0.01, score)) * 100) / 100;
    this.onthreshold(this.threshold, false);
    this.draw();
  }

  _hover(x) {
    const time = this._inside(this._time(x)),
      [tile, words] = this.thumb.children;
    this.thumb.hidden = false;
    this.thumb.style.left = `${Math.min(Math.max(0, x - TILE / 2), this.width - TILE)}px`;
    fill(words, `${clock(time)} score ${this.at(time).toFixed(2)}`);
    tile.hidden = !this.ratio;
    if (!this.ratio) return;
    const number = Math.min(99, Math.floor((time / this.duration) * 100)),
      tall = TILE * this.ratio;
    Object.assign(tile.style, {
      width: `${TILE}px`,
      height: `${tall}px`,
      backgroundImage: `url("${this.sheet}")`,
      backgroundSize: `${TILE * 10}px ${tall * 10}px`,
      backgroundPosition: `${-(number % 10) * TILE}px ${-Math.floor(number / 10) * tall}px`,
    });
  }
}

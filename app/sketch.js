// Zones and lines are drawn over a picture, by pointer and by keyboard alike. Knows no server.
//
// Drawing: a click, or Enter at the pen, adds a corner; arrows move the pen, Delete takes the last corner back, Escape ends. Afterwards every corner of the chosen shape
// is a button: it is dragged, or moved by arrows (Shift: further); Enter adds one after it, Delete removes it, Escape leaves it.
import { el, fill, hush, say } from "./dom.js";
import { drawing, label } from "./shapes.js";

const STEP = 0.005,
  FAR = 0.05; // share of the picture of one press of an arrow
const LEAST = { zone: 3, line: 2 };
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const within = (v) => Math.min(1, Math.max(0, v));
const percent = (v) => `${Math.round(v * 100)} %`;

export class Sketch {
  /** onchange(): something was drawn, moved or chosen. what: of the picture, for whoever does not see it. */
  constructor(onchange, what = "zones and lines") {
    Object.assign(this, { onchange, shapes: [], chosen: null, pen: null, size: [16, 9] });
    this.picture = el("img", { alt: "", draggable: false });
    this.words = el("p", { class: "small none", hidden: true });
    this.over = el("div", { class: "over" });
    this.stage = el(
      "div",
      {
        class: "sketch",
        tabIndex: 0,
        role: "application",
        "aria-roledescription": "drawing",
        "aria-label": `The camera's picture with its ${what}`,
      },
      this.picture,
      this.words,
      this.over,
    );
    this.picture.addEventListener("load", () => {
      this.size = [this.picture.naturalWidth, this.picture.naturalHeight];
      this.stage.style.aspectRatio = this.size.join(" / ");
      this.stage.style.maxWidth = `calc(70vh * ${this.size[0] / this.size[1]})`; // as high as it may be, and not stretched
      this.tell("");
      this.draw();
    });
    this.picture.addEventListener("error", () =>
      this.tell("There is no picture to show just now; you can draw all the same."),
    );
    this.stage.addEventListener("click", (event) => this.click(event));
    this.stage.addEventListener("keydown", (event) => this.key(event));
  }

  tell(words) {
    this.words.textContent = words;
    this.words.hidden = !words;
    this.picture.hidden = Boolean(words);
  }

  /** A picture below the shapes; without one `words` instead, on a plain ground. */
  show(url, words = "No clip of this camera is here yet; you can draw all the same.") {
    if (url) this.picture.src = url;
    else {
      this.picture.removeAttribute("src");
      this.tell(words);
    }
  }

  load(shapes) {
    Object.assign(this, { shapes, chosen: null, pen: null });
    this.draw();
  }

  /** Begin a zone or a line. */
  begin(kind, name) {
    this.end();
    this.chosen = { kind, name, points: [] };
    this.shapes.push(this.chosen);
    this.pen = [0.5, 0.5];
    this.draw();
    this.stage.focus();
    say(
      kind === "zone"
        ? "Click the corners of the zone, or move the pen with the arrows and press Enter; Escape ends."
        : "Click both ends of the line, or move the pen with the arrows and press Enter.",
    );
  }

  /** Whether what is being drawn is no shape yet. */
  get unfinished() {
    return Boolean(this.pen) && this.chosen.points.length < LEAST[this.chosen.kind];
  }

  /** Drawing is over: what is no shape yet goes. */
  end() {
    if (!this.pen) return;
    const { unfinished } = this;
    this.pen = null;
    hush(); // how to draw
    if (unfinished) {
      this.shapes.splice(this.shapes.indexOf(this.chosen), 1);
      this.chosen = null;
      say("It was too small to keep.");
    }
    this.draw();
    this.onchange();
  }

  choose(shape) {
    this.end();
    this.chosen = shape;
    this.draw();
    this.onchange();
  }

  drop(shape) {
    if (this.pen) hush();
    this.pen = null;
    this.shapes.splice(this.shapes.indexOf(shape), 1);
    if (this.chosen === shape) this.chosen = null;
    this.draw();
    this.onchange();
    this.stage.focus();
  }

  /** The other way round: what was in is out. */
  turn(shape) {
    shape.points.reverse();
    this.draw();
    this.onchange();
  }

  place(event) {
    const box = this.stage.getBoundingClientRect();
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  }

  click(event) {
    if (event.target.closest(".corner")) return;
    const at = this.place(event);
    if (this.pen) this.add(at);
    else this.choose(this.shapes.findLast((s) => this.hit(s, at)) ?? null);
  }

  hit({ kind, points }, [x, y]) {
    if (kind === "zone") {
      let inside = false;
      points.forEach(([ax, ay], i) => {
        const [bx, by] = points.at(i - 1);
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
      });
      return inside;
    }
    const [[ax, ay], [bx, by]] = points,
      long = (bx - ax) ** 2 + (by - ay) ** 2 || 1,
      share = within(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / long);
    return Math.hypot(ax + share * (bx - ax) - x, ay + share * (by - ay) - y) < 0.03;
  }

  add(at) {
    const { points, kind } = this.chosen;
    if (points.length && points.at(-1).every((v, i) => Math.abs(v - at[i]) < 1e-4)) return; // a double click
    points.push(at);
    this.pen = at;
    if (kind === "line" && points.length === 2) {
      this.end();
      return;
    }
    this.draw();
    this.onchange();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const corner = event.target.closest(".corner");
    const done = corner ? this.atCorner(Number(corner.dataset.at), event) : this.pen ? this.atPen(event) : false;
    if (done) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  atPen(event) {
    const way = WAYS[event.key];
    if (way) this.pen = this.moved(this.pen, way, event);
    else if (event.key === "Enter") this.add([...this.pen]);
    else if (/^(Delete|Backspace)$/.test(event.key)) this.chosen.points.pop();
    else if (event.key === "Escape") this.end();
    else return false;
    this.draw();
    return true;
  }

  atCorner(at, event) {
    const { points, kind } = this.chosen,
      way = WAYS[event.key];
    if (way) points[at] = this.moved(points[at], way, event);
    else if (event.key === "Enter") {
      if (kind === "line") return true;
      const [a, b] = [points[at], points[(at + 1) % points.length]];
      points.splice(at + 1, 0, [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
      at += 1;
    } else if (/^(Delete|Backspace)$/.test(event.key)) {
      if (points.length <= LEAST[kind]) {
        say(
          `A ${kind} has ${kind === "zone" ? "three corners or more" : "two ends"}; remove all of it with its own button.`,
        );
        return true;
      }
      points.splice(at, 1);
      at = Math.min(at, points.length - 1);
    } else if (event.key === "Escape") {
      this.choose(null);
      this.stage.focus();
      return true;
    } else return false;
    this.draw();
    this.over.querySelector(`[data-at="${at}"]`).focus();
    this.onchange();
    return true;
  }

  moved(point, way, { shiftKey }) {
    return point.map((v, i) => within(v + way[i] * (shiftKey ? FAR : STEP)));
  }

  drag(at, event) {
    const corner = event.currentTarget;
    corner.setPointerCapture(event.pointerId);
    const move = (more) => {
      this.chosen.points[at] = this.place(more);
      Object.assign(corner.style, place(this.chosen.points[at]));
      this.lines();
    };
    const end = () => {
      corner.removeEventListener("pointermove", move);
      this.draw();
      this.over.querySelector(`[data-at="${at}"]`)?.focus();
      this.onchange();
    };
    corner.addEventListener("pointermove", move);
    corner.addEventListener("pointerup", end, { once: true });
    corner.addEventListener("pointercancel", end, { once: true });
  }

  lines() {
    const fresh = drawing(this.shapes, this.size, this.chosen);
    this.drawn?.replaceWith(fresh);
    this.drawn = fresh;
  }

  draw() {
    this.drawn = drawing(this.shapes, this.size, this.chosen);
    const names = this.shapes
      .filter((s) => s.points.length)
      .map((s) => el("span", { class: "name", style: place(label(s)) }, s.name));
    const corners = this.pen
      ? [el("span", { class: "pen", style: place(this.pen) })]
      : (this.chosen?.points ?? []).map((p, i, all) =>
          el("button", {
            type: "button",
            class: "corner",
            "data-at": String(i),
            "aria-label": `${this.chosen.name}, point ${i + 1} of ${all.length}: ${percent(p[0])} from the left, ${percent(p[1])} from the top`,
            style: place(p),
            onpointerdown: (event) => this.drag(i, event),
          }),
        );
    fill(this.over, this.drawn, names, corners);
    this.stage.classList.toggle("drawing", Boolean(this.pen));
  }
}

const place = ([x, y]) => ({ left: `${x * 100}%`, top: `${y * 100}%` });

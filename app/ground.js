// The ground of a camera: pairs of points, in its picture and on a floor plan or in metres, and what stands still in its picture. Knows the routes of plans alone.
import { put } from "./api.js";
import { button, el, fault, fill, labelled, say, tried } from "./dom.js";

const STEP = 0.005,
  FAR = 0.05; // share of a picture of one press of an arrow
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FIRST = [
  [0.3, 0.85],
  [0.7, 0.85],
  [0.65, 0.45],
  [0.35, 0.45],
]; // of the picture: where the first points lie until they are moved
const WIDE = 20; // metres of a plan until somebody says how wide it is
const MOST = 20;

const within = (v) => Math.min(1, Math.max(0, v));
const percent = (v) => `${Math.round(v * 100)} %`;

/** A picture with numbered pins, each a button that is dragged or moved by arrows; a click moves the chosen one. */
class Pins {
  /** onmove(place, [x, y]): shares of the picture; onchoose(place). */
  constructor(name, onmove, onchoose) {
    Object.assign(this, { name, onmove, onchoose, points: [], chosen: null });
    this.picture = el("img", { alt: "", draggable: false });
    this.over = el("div", { class: "over" });
    this.stage = el("div", { class: "sketch", role: "group", "aria-label": name }, this.picture, this.over);
    this.picture.addEventListener("load", () => {
      this.picture.hidden = false;
      this.stage.style.aspectRatio = `${this.picture.naturalWidth} / ${this.picture.naturalHeight}`;
    });
    this.picture.addEventListener("error", () => (this.picture.hidden = true));
    this.stage.addEventListener("click", (event) => {
      if (!event.target.closest(".corner") && this.chosen !== null) this.onmove(this.chosen, this.at(event));
    });
  }

  at(event) {
    const box = this.stage.getBoundingClientRect();
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  }

  show(url) {
    this.picture.hidden = !url;
    if (url && this.picture.getAttribute("src") !== url) this.picture.src = url;
  }

  /** points: shares [x, y], those outside the picture at its edge. */
  draw(points, chosen) {
    const focused = this.over.contains(document.activeElement) ? document.activeElement.dataset.at : null;
    Object.assign(this, { points, chosen });
    fill(
      this.over,
      points.map((p, i) =>
        el(
          "button",
          {
            type: "button",
            class: `corner pin${i === chosen ? " chosen" : ""}`,
            "data-at": String(i),
            "aria-label": `Point ${i + 1} of ${points.length}, ${this.name}: ${percent(p[0])} from the left, ${percent(p[1])} from the top`,
            style: place(p),
            onfocus: () => this.onchoose(i),
            onkeydown: (event) => this.key(i, event),
            onpointerdown: (event) => this.drag(i, event),
          },
          el("span", {}, i + 1),
        ),
      ),
    );
    if (focused !== null) this.over.querySelector(`[data-at="${focused}"]`)?.focus();
  }

  mark(chosen) {
    this.chosen = chosen;
    [...this.over.children].forEach((pin, i) => pin.classList.toggle("chosen", i === chosen));
  }

  key(i, event) {
    const way = WAYS[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.onmove(
      i,
      this.points[i].map((v, k) => within(v + way[k] * (event.shiftKey ? FAR : STEP))),
    );
  }

  drag(i, event) {
    const pin = event.currentTarget;
    pin.setPointerCapture(event.pointerId);
    let at = null;
    const move = (more) => {
      at = this.at(more);
      Object.assign(pin.style, place(at));
    };
    const end = () => {
      pin.removeEventListener("pointermove", move);
      if (at) this.onmove(i, at);
    };
    pin.addEventListener("pointermove", move);
    pin.addEventListener("pointerup", end, { once: true });
    pin.addEventListener("pointercancel", end, { once: true });
  }
}

const place = ([x, y]) => ({ left: `${within(x) * 100}%`, top: `${within(y) * 100}%` });

/** The section of Places. onchange(): points or plan are others. */
export class Ground {
  constructor(onchange) {
    Object.assign(this, { onchange, camera: "", place: null, chosen: null });
    const choose = (i) => this.choose(i);
    this.seen = new Pins("in the camera's picture", (i, at) => this.move(i, 0, at), choose);
    this.plan = new Pins("on the floor plan", (i, at) => this.move(i, 1, this.metres(at)), choose);
    this.none = el(
      "p",
      { class: "small" },
      "No floor plan yet: upload one and put the points on it, or type their metres below.",
    );
    this.list = el("ol", { class: "pointlist" });
    this.told = el("p", { class: "small", role: "status" });
    this.wrong = el("p", { class: "grave", role: "status" });
    this.file = el("input", {
      type: "file",
      accept: "image/png,image/jpeg,image/webp",
      onchange: () => this.upload(),
    });
    this.wide = el("input", { type: "number", min: "0.1", step: "0.1", onchange: () => this.widen() });
    this.sized = el(
      "div",
      { class: "row tight" },
      labelled("The plan is wide (m)", this.wide),
      button("Without the plan", () => this.drop(), { picture: "x" }),
    );
    this.element = el(
      "section",
      { class: "ground", "aria-label": "Place" },
      el("h3", {}, "Place: metres on the floor"),
      el(
        "p",
        { class: "small" },
        "Four points or more that lie on the floor in the picture and on the plan give metres: people's paths on a map, and rules such as ",
        el("q", {}, "a person with speed over 3 m/s"),
        ". Points far apart are best, such as corners of tiles; a fifth tells the error. Drag a pin, or move it with the arrows (Shift: further).",
      ),
      el("div", { class: "halves even" }, this.seen.stage, el("div", {}, this.none, this.plan.stage)),
      el(
        "div",
        { class: "row tight" },
        button("New point", () => this.add(), { picture: "plus" }),
        labelled("Floor plan (PNG, JPEG, WebP)", this.file),
        this.sized,
      ),
      this.list,
      this.wrong,
      this.told,
    );
  }

  /** place: of the text, null for none; it is changed in place. */
  load(camera, found) {
    Object.assign(this, { camera, place: found, chosen: found?.points.length ? 0 : null });
    this.file.value = "";
    fault(this.file);
    this.draw();
  }

  show(url) {
    this.seen.show(url);
  }

  /** Metres of a place on the plan's picture, whose lower left corner is 0, 0. */
  metres([x, y]) {
    const { width, height } = this.place.plan;
    return [x * width, (1 - y) * height];
  }

  add() {
    this.place ??= { points: [], origin: null, bearing: 0, plan: null };
    const { points, plan } = this.place,
      n = points.length;
    if (n >= MOST) {
      say(`${MOST} points are enough.`);
      return;
    }
    const at = FIRST[n] ?? [0.5, 0.5];
    points.push([[...at], plan ? this.metres(at) : [at[0] < 0.5 ? 0 : 5, at[1] > 0.5 ? 0 : 5]]);
    this.chosen = n;
    this.draw();
    this.onchange();
    this.seen.over.querySelector(`[data-at="${n}"]`).focus();
  }

  choose(i) {
    if (this.chosen === i) return;
    this.chosen = i; // and nothing is drawn anew: the pin may be under way
    for (const pins of [this.seen, this.plan]) pins.mark(i);
    [...this.list.children].forEach((row, k) => row.classList.toggle("chosen", k === i));
  }

  move(i, side, at) {
    this.place.points[i][side] = at;
    this.draw();
    this.onchange();
  }

  remove(i) {
    this.place.points.splice(i, 1);
    this.chosen = this.place.points.length ? Math.min(i, this.place.points.length - 1) : null;
    this.draw();
    this.onchange();
    this.element.querySelector("button").focus();
  }

  upload() {
    const file = this.file.files[0],
      { camera } = this;
    if (!file) return;
    fault(this.file);
    tried(async () => {
      try {
        const made = await put("/plans?" + new URLSearchParams({ camera }), file);
        if (this.camera !== camera) return;
        this.place ??= { points: [], origin: null, bearing: 0, plan: null };
        const width = this.place.plan?.width ?? Math.max(WIDE, ...this.place.points.map(([, m]) => m[0]));
        this.place.plan = { picture: made.picture, width, height: (width * made.height) / made.width };
        this.draw();
        this.onchange();
        say("The plan is here. Say how wide it is in metres, and put the points on it; saving keeps it.");
      } catch (error) {
        fault(this.file, error.message);
        throw error;
      }
    }, this.element);
  }

  /** Another width: the points stay where they are on the plan. */
  widen() {
    const width = Number(this.wide.value),
      { plan, points } = this.place;
    if (!(width > 0 && width <= 1e5)) {
      fault(this.wide, "More than 0 metres.");
      return;
    }
    fault(this.wide);
    const factor = width / plan.width;
    for (const pair of points) pair[1] = pair[1].map((v) => v * factor);
    Object.assign(plan, { width, height: plan.height * factor });
    this.draw();
    this.onchange();
  }

  drop() {
    this.place.plan = null;
    this.draw();
    this.onchange();
  }

  draw() {
    const { place, chosen } = this,
      plan = place?.plan,
      points = place?.points ?? [];
    this.seen.draw(
      points.map(([p]) => p),
      chosen,
    );
    this.plan.stage.hidden = this.sized.hidden = !plan;
    this.none.hidden = Boolean(plan);
    if (plan) {
      this.plan.show(`/api/plans/${plan.picture}?` + new URLSearchParams({ camera: this.camera }));
      this.plan.draw(
        points.map(([, [x, y]]) => [x / plan.width, 1 - y / plan.height]),
        chosen,
      );
      if (document.activeElement !== this.wide) this.wide.value = String(Number(plan.width.toFixed(2)));
    }
    this.rows(points, chosen);
  }

  /** A row a point; they stay the same elements while points move, so that whoever tabs through them goes on. */
  rows(points, chosen) {
    if (this.list.children.length !== points.length)
      fill(
        this.list,
        points.map((_, i) =>
          el(
            "li",
            {},
            this.metre(i, 0, "to the right"),
            " m to the right, ",
            this.metre(i, 1, "up"),
            " m up ",
            button(`Remove point ${i + 1}`, () => this.remove(i), { picture: "trash-2", words: false }),
          ),
        ),
      );
    [...this.list.children].forEach((row, i) => {
      row.classList.toggle("chosen", i === chosen);
      row.querySelectorAll("input").forEach((input, k) => {
        if (input !== document.activeElement) input.value = String(Number(points[i][1][k].toFixed(2)));
      });
    });
  }

  metre(i, k, words) {
    return el("input", {
      type: "number",
      step: "0.01",
      "aria-label": `Point ${i + 1}, metres ${words}`,
      onfocus: () => this.choose(i),
      onchange: ({ target }) => {
        if (target.value === "" || !Number.isFinite(Number(target.value))) return;
        const at = [...this.place.points[i][1]];
        at[k] = Number(target.value);
        this.move(i, 1, at);
      },
    });
  }

  /** What the server says of it. lines: the error in words; faults: what is wrong. */
  tell(lines, faults) {
    this.told.textContent = lines.join(". ");
    this.wrong.textContent = faults.join("; ");
  }
}

// Covers: moments of which nobody knows whether all that is to be covered is. A person draws what is to be covered too, or says that it is fine.
import { api, post, remove } from "./api.js";
import { pictureOf } from "./boxes.js";
import { button, el, fault, fill, labelled, say, shown, tried } from "./dom.js";
import { calmly, listen } from "./live.js";
import { closed, privacy } from "./originals.js";
import { Player } from "./player.js";
import { to } from "./rooms.js";
import { clock, plural, seconds, when } from "./times.js";

const STEP = 0.01,
  LEAST = 0.02; // share of the picture of one press of an arrow; of a box's sides
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export async function start(root) {
  const covers = new Covers(root);
  return { arrive: (params) => covers.arrive(params), leave: () => covers.player.video.pause() };
}

/** A box of shares that stays in the picture and keeps a size. */
export function fitted([x, y, w, h]) {
  const [wide, tall] = [Math.min(1, Math.max(LEAST, w)), Math.min(1, Math.max(LEAST, h))];
  return [Math.min(1 - wide, Math.max(0, x)), Math.min(1 - tall, Math.max(0, y)), wide, tall];
}

class Covers {
  constructor(root) {
    Object.assign(this, { root, clip: null, box: [0.4, 0.4, 0.2, 0.2], cover: "none" });
    this.player = new Player(() => {});
    this.player.video.controls = false; // they lie under what is drawn
    this.rect = el("div", {
      class: "rect",
      tabIndex: 0,
      role: "application",
      "aria-roledescription": "box",
      onkeydown: (event) => this.key(event),
    });
    this.player.over.classList.add("drawable");
    this.player.over.append(this.rect);
    this.player.over.addEventListener("pointerdown", (event) => this.drag(event));
    new ResizeObserver(() => this.draw()).observe(this.player.over);
    this.player.video.addEventListener("loadeddata", () => this.draw());
    this.told = el("p", { role: "status" });
    this.list = el("ul", { class: "doubts" });
    this.title = el("h3", {});
    this.from = el("input", { inputMode: "decimal", "aria-label": "From" });
    this.until = el("input", { inputMode: "decimal", "aria-label": "To" });
    this.marks = el("ul", {});
    this.bench = el(
      "section",
      { hidden: true, "aria-label": "Moment" },
      this.title,
      this.player.element,
      el(
        "p",
        { class: "small" },
        "Draw a box over who can still be seen, or move it with the arrows (Shift: its size). It is covered from the one time to the other.",
      ),
      el(
        "div",
        { class: "row tight" },
        button("Play or pause", () => this.player.toggle(), { picture: "play", words: false }),
        button("One frame back", () => this.player.step(-1), { picture: "step-back", words: false }),
        button("One frame on", () => this.player.step(1), { picture: "step-forward", words: false }),
        labelled("From", this.from),
        labelled("to", this.until),
        button("Cover the box", () => this.say(true), { picture: "eye-off", class: "main" }),
        button("It is fine", () => this.say(false), { picture: "check" }),
        button("Look for people anew", () => this.again(), { picture: "refresh-cw" }),
      ),
      this.marks,
    );
    fill(
      root,
      el(
        "div",
        { class: "vlad covers" },
        el("h2", {}, "Covers"),
        this.told,
        el("div", { class: "halves" }, this.bench, el("section", { "aria-label": "Doubtful moments" }, this.list)),
      ),
    );
    const again = calmly(() => this.load());
    listen((change) => shown(root) && ["video", "all"].includes(change.kind) && again());
  }

  async arrive({ video, at }) {
    await tried(async () => {
      ({ cover: this.cover } = await privacy());
      await this.load();
      if (video) await this.open(video, { start: Number(at) || 0, end: (Number(at) || 0) + 2 });
      else if (!this.clip && this.rows.length) await this.open(this.rows[0].video, this.rows[0].doubtful[0]);
    }, this.root);
  }

  async load() {
    this.rows = await api("/covers");
    const left = this.rows.reduce((sum, r) => sum + r.doubtful.length, 0);
    fill(
      this.told,
      this.cover === "none"
        ? [
            "Nobody is covered here; an admin may change that under ",
            el("a", { href: to("settings") }, "Settings"),
            ".",
          ]
        : left
          ? `${plural(left, "moment")} in ${plural(this.rows.length, "clip")} are doubtful: the detector was not sure of what it covered there.`
          : "Nothing is doubtful. What no look found is covered nowhere: whoever sees somebody draws a box, from Review.",
    );
    fill(
      this.list,
      this.rows.flatMap((r) =>
        r.doubtful.map((d) =>
          el(
            "li",
            {},
            el(
              "button",
              { type: "button", onclick: () => tried(() => this.open(r.video, d)) },
              `${r.name}, ${clock(d.start)} to ${clock(d.end)}`,
              el("span", { class: "small" }, ` sure to ${Math.round(d.score * 100)} %`),
            ),
          ),
        ),
      ),
    );
    if (this.clip) await this.show(this.clip.id);
  }

  async open(video, { start, end, box }) {
    const clip = await api(`/videos/${video}`);
    this.clip = clip;
    this.bench.hidden = false;
    this.title.textContent = clip.name;
    this.from.value = clock(start);
    this.until.value = clock(Math.min(end, clip.duration ?? end));
    if (box) this.box = fitted(box);
    await this.show(video);
    this.player.seek((start + Math.min(end, clip.duration ?? end)) / 2);
    this.draw();
  }

  /** The clip as far as it is covered by now, and what was said of it. */
  async show(video) {
    const [clip, found] = await Promise.all([api(`/videos/${video}`), api(`/videos/${video}/cover`)]);
    if (this.clip.id !== video) return;
    const why = closed(clip, this.cover),
      query = why ? null : clip.covered ? `v=${clip.covered.version}` : "";
    if (this.player.id !== video || this.player.query !== query) {
      const at = this.player.id === video ? this.player.time : 0;
      this.player.load(video, clip.fps, query);
      this.player.seek(at);
    }
    this.title.textContent = why ? `${clip.name}. ${why}` : clip.name;
    fill(
      this.marks,
      found.marks.map((m) =>
        el(
          "li",
          {},
          `${clock(m.start)} to ${clock(m.end)}: ${m.box ? "a box is covered" : "fine"}, by ${m.by}, ${when(m.at)} `,
          button(`Take back: ${clock(m.start)} to ${clock(m.end)}`, () => this.back(m), {
            picture: "undo-2",
            words: false,
          }),
        ),
      ),
    );
  }

  draw() {
    const at = pictureOf(this.player),
      [x, y, w, h] = this.box;
    Object.assign(this.rect.style, {
      left: `${at.left + x * at.width}px`,
      top: `${at.top + y * at.height}px`,
      width: `${w * at.width}px`,
      height: `${h * at.height}px`,
    });
    const [a, b, c, d] = this.box.map((v) => Math.round(v * 100));
    this.rect.setAttribute(
      "aria-label",
      `Box to be covered: ${a} % from the left, ${b} % from the top, ${c} % wide, ${d} % high`,
    );
  }

  key(event) {
    const way = WAYS[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const [x, y, w, h] = this.box,
      [dx, dy] = way.map((v) => v * STEP);
    this.box = fitted(event.shiftKey ? [x, y, w + dx, h + dy] : [x + dx, y + dy, w, h]);
    this.draw();
  }

  drag(event) {
    const at = pictureOf(this.player),
      area = this.player.over.getBoundingClientRect();
    const place = (e) => [
      Math.min(1, Math.max(0, (e.clientX - area.left - at.left) / at.width)),
      Math.min(1, Math.max(0, (e.clientY - area.top - at.top) / at.height)),
    ];
    const [x, y] = place(event);
    event.preventDefault();
    this.player.over.setPointerCapture(event.pointerId);
    const move = (more) => {
      const [a, b] = place(more);
      this.box = fitted([Math.min(x, a), Math.min(y, b), Math.abs(a - x), Math.abs(b - y)]);
      this.draw();
    };
    const stop = new AbortController();
    for (const kind of ["pointerup", "pointercancel"])
      this.player.over.addEventListener(kind, () => stop.abort(), { signal: stop.signal });
    this.player.over.addEventListener("pointermove", move, { signal: stop.signal });
  }

  async say(drawn) {
    const [start, end] = [seconds(this.from.value), seconds(this.until.value)];
    fault(
      this.until,
      start === null || end === null || start >= end ? "Expected two times, such as 0:02.5 and 0:04." : "",
    );
    if (start === null || end === null || start >= end) return;
    await tried(async () => {
      const box = drawn ? fitted(this.box).map((v) => Number(v.toFixed(4))) : null;
      await post(`/videos/${this.clip.id}/cover/marks`, { start, end, box });
      say(drawn ? "It will be covered; the clip is shown again once it is." : "Noted: that moment is fine.");
      await this.load();
      const next = this.rows[0];
      if (!drawn && next) await this.open(next.video, next.doubtful[0]);
    }, this.bench);
  }

  back(mark) {
    tried(async () => {
      await remove(`/videos/${this.clip.id}/cover/marks/${mark.id}`);
      await this.load();
    }, this.bench);
  }

  again() {
    tried(async () => {
      await post(`/videos/${this.clip.id}/cover/again`);
      say("People in this clip will be looked for anew.");
      await this.load();
    }, this.bench);
  }
}

// Review: player, timeline, segments, what the model said, and what people decide. Every key has a button, every button a name.
import {
  api,
  choice,
  clock,
  el,
  fill,
  go,
  labelled,
  options,
  poll,
  room,
  say,
  shown,
  status,
  tried,
  when,
} from "./common.js";
import { Player } from "./player.js";
import { Said, appears } from "./said.js";
import { Timeline } from "./timeline.js";

const PAGE = 500;
const REASONS = [
  "everyday activity",
  "light or shadow",
  "animal or weather",
  "camera moved or broken",
  "authorised person",
  "repeats another segment",
];
const KEYS = [
  ["Space or K", "play or pause"],
  ["J, L", "10 seconds back, on"],
  [", and .", "one frame back, on"],
  ["N, P", "next, previous segment"],
  ["C", "confirm"],
  ["X", "dismiss, with a reason"],
  ["U", "undo your last verdict"],
  ["E", "to the explanation"],
  ["T", "write a note"],
  ["+ - 0", "zoom the timeline in, out, whole"],
  ["?", "this help"],
  ["Esc", "leave a field or a window"],
];
const NOT_FOR_SEGMENTS = new Set(["summarise", "chat", "judge"]);

const busy = (job) => ["queued", "running"].includes(job?.status);
const scoring = (job) => busy(job) && job.stage !== "explaining";

export function start(root) {
  new Review(root);
}

class Review {
  constructor(root) {
    Object.assign(this, {
      root,
      clip: null,
      inClip: [],
      list: [],
      total: 0,
      chosen: null,
    });
    this.player = new Player((t) => this.timeline.moveTo(t));
    this.timeline = new Timeline({
      onseek: (t) => this.seek(t),
      onthreshold: (score) => this.showThreshold(score),
      onchoose: (id) => this.choose(id),
    });
    this.build();
    document.addEventListener("keydown", (event) => this.key(event));
    this.refresh = poll(root, () => this.look());
    room(root, "review", (params) => this.arrive(params));
  }

  build() {
    this.title = el("h2", {}, "No clip chosen");
    this.facts = el("p", { class: "small" });
    this.scope = choice(
      [
        ["all", "all clips"],
        ["clip", "this clip"],
      ],
      { onchange: () => this.reload() },
    );
    this.state = choice(
      [
        ["open", "open"],
        ["", "every status"],
        ["confirmed", "confirmed"],
        ["dismissed", "dismissed"],
      ],
      { onchange: () => this.reload() },
    );
    this.label = choice([["", "every class"]], { onchange: () => this.reload() });
    this.camera = choice([["", "every camera"]], { onchange: () => this.reload() });
    this.order = choice(
      [
        ["peak", "highest score first"],
        ["start", "by time"],
        ["newest", "newest clip first"],
      ],
      { onchange: () => this.reload() },
    );
    this.words = el("input", {
      type: "search",
      maxLength: 200,
      placeholder: "in notes and tags",
      onchange: () => this.reload(),
    });
    this.rows = el("ol", { class: "segments", "aria-label": "Segments" });
    this.count = el("p", { class: "small", role: "status" });
    this.more = el("button", { type: "button", hidden: true, onclick: () => this.append() }, "More");
    this.advance = this.kept("advance", true);
    this.plays = this.kept("plays", false);
    this.threshold = el("input", {
      type: "number",
      min: "0.01",
      max: "0.99",
      step: "0.01",
      "aria-label": "Threshold",
      onchange: () => this.timeline.setThreshold(Number(this.threshold.value) || 0.5),
    });
    this.above = el("span", { class: "small", role: "status" });
    this.said = new Said({
      onseek: (t) => this.seek(t),
      onchange: (fresh) => this.changed(fresh),
    });
    const button = (words, key, act, more = "") =>
      el(
        "button",
        { type: "button", class: more, "aria-keyshortcuts": key, onclick: act },
        words,
        " ",
        el("kbd", { "aria-hidden": "true" }, key),
      );
    this.acts = el(
      "div",
      { class: "acts", role: "group", "aria-label": "Verdict" },
      button("Confirm", "C", () => this.decide("confirmed"), "confirm"),
      button("Dismiss", "X", () => this.ask(), "dismiss"),
      button("Undo", "U", () => this.undo()),
      button("Previous", "P", () => this.step(-1)),
      button("Next", "N", () => this.step(1)),
      button("Keys", "?", () => this.help.showModal()),
    );
    this.help = el(
      "dialog",
      { class: "vlad", "aria-label": "Keys" },
      el("h2", {}, "Keys"),
      el(
        "dl",
        {},
        KEYS.flatMap(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)]),
      ),
      el("form", { method: "dialog" }, el("button", {}, "Close")),
    );
    this.why = this.reasons();
    const zoom = el(
      "div",
      { class: "row tight" },
      el("button", { type: "button", "aria-label": "Zoom in", onclick: () => this.timeline.zoom(1.6) }, "+"),
      el("button", { type: "button", "aria-label": "Zoom out", onclick: () => this.timeline.zoom(1 / 1.6) }, "−"),
      el("button", { type: "button", "aria-label": "Whole clip", onclick: () => this.timeline.whole() }, "0"),
      labelled("Threshold", this.threshold),
      this.above,
      el("button", { type: "button", onclick: () => this.again() }, "Analyse again with it"),
    );
    fill(
      this.root,
      el(
        "div",
        { class: "vlad review" },
        el(
          "div",
          { class: "watch" },
          this.title,
          this.facts,
          this.player.element,
          this.timeline.element,
          this.acts,
          zoom,
        ),
        el(
          "div",
          { class: "side" },
          el(
            "details",
            { class: "filters", open: innerWidth > 800 },
            el("summary", {}, "Queue and filters"),
            el(
              "div",
              { class: "row" },
              labelled("Queue", this.scope),
              labelled("Status", this.state),
              labelled("Class", this.label),
              labelled("Camera", this.camera),
              labelled("Order", this.order),
              labelled("Words", this.words),
            ),
            el(
              "div",
              { class: "row" },
              el("label", { class: "check" }, this.advance, " go on after a verdict"),
              el("label", { class: "check" }, this.plays, " play what is chosen"),
            ),
          ),
          this.count,
          this.rows,
          this.more,
          this.said.element,
        ),
        this.help,
        this.why,
      ),
    );
  }

  kept(name, usual) {
    const box = el("input", {
      type: "checkbox",
      checked: (localStorage.getItem(`vlad ${name}`) ?? String(usual)) === "true",
    });
    box.addEventListener("change", () => localStorage.setItem(`vlad ${name}`, String(box.checked)));
    return box;
  }

  reasons() {
    const text = el("input", {
      maxLength: 2000,
      "aria-label": "Other reason",
      placeholder: "another reason, then Enter",
    });
    const end = (reason) => {
      dialog.close();
      this.decide("dismissed", reason);
    };
    const dialog = el(
      "dialog",
      { class: "vlad why", "aria-label": "Why is it dismissed?" },
      el("h2", {}, "Why is it dismissed?"),
      el(
        "ol",
        {},
        REASONS.map((words, i) =>
          el(
            "li",
            {},
            el(
              "button",
              { type: "button", onclick: () => end(words) },
              el("kbd", { "aria-hidden": "true" }, i + 1),
              " ",
              words,
            ),
          ),
        ),
      ),
      el(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            end(text.value);
          },
        },
        text,
        el("button", {}, "Dismiss"),
        el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      ),
    );
    dialog.addEventListener("keydown", (event) => {
      const number = Number(event.key);
      if (event.target !== text && number >= 1 && number <= REASONS.length) {
        event.preventDefault();
        end(REASONS[number - 1]);
      }
    });
    dialog.addEventListener("close", () => {
      text.value = "";
    });
    return dialog;
  }

  // what is on screen

  async arrive({ video, segment, at }) {
    await tried(async () => {
      const [facets, prompts] = await Promise.all([api("/facets"), api("/prompts")]);
      options(this.label, [["", "every class"], ...facets.labels.map((c) => [c, c])]);
      options(this.camera, [["", "every camera"], ...facets.cameras.map((c) => [c, c])]);
      this.said.prompts = prompts.filter((p) => p.version && !NOT_FOR_SEGMENTS.has(p.name)).map((p) => p.name);
      if (segment) {
        if (this.chosen === segment) return;
        const found = await api(`/segments/${segment}`);
        await this.open(found.video);
        if (!this.list.some((s) => s.id === segment)) {
          this.scope.value = "clip";
          this.state.value = "";
          await this.fetch();
        }
        await this.choose(segment);
      } else if (video) {
        await this.open(video);
        this.scope.value = "clip";
        this.state.value = "";
        this.order.value = "start";
        await this.fetch();
        if (at !== undefined) {
          this.chosen = null;
          this.mark();
          this.timeline.zoom(Math.max(1, this.timeline.duration / 60), Number(at));
          this.player.seek(Number(at));
          this.timeline.moveTo(Number(at));
          this.tell(null);
        } else if (this.list.length) await this.choose(this.list[0].id);
        else {
          this.chosen = null;
          this.tell(null);
        }
      } else {
        await this.fetch();
        if (!this.chosen && this.list.length) await this.choose(this.list[0].id);
        else if (!this.chosen) this.tell(null);
      }
    }, this.root);
  }

  async open(id) {
    if (this.clip?.id === id && this.clip.analysed) return;
    const clip = await api(`/videos/${id}`);
    this.clip = clip;
    this.describe();
    if (!clip.analysed) {
      this.inClip = [];
      this.player.unload();
      this.timeline.load({
        scores: new Float32Array(0),
        edges: new Float32Array([0, 1]),
        duration: 1,
        segments: [],
        gaps: [],
        sheet: "",
      });
      return;
    }
    const [data, segments] = await Promise.all([
      api(`/videos/${id}/scores`),
      this.everyPage({ video: id, by: "start" }),
    ]);
    const floats = new Float32Array(data),
      count = (floats.length - 1) / 2;
    this.inClip = segments;
    if (this.player.id !== id) this.player.load(id, clip.fps);
    this.timeline.load({
      scores: floats.subarray(0, count),
      edges: floats.subarray(count),
      duration: clip.duration,
      segments,
      gaps: clip.gaps,
      sheet: `/api/videos/${id}/sheet`,
    });
    this.timeline.setThreshold(clip.threshold ?? 0.5);
  }

  describe() {
    const { clip } = this,
      { job } = clip;
    this.title.textContent = clip.name;
    this.facts.textContent = [
      clip.camera,
      clip.recorded ? `recorded ${when(clip.recorded)}` : "",
      clip.width ? `${clip.width} × ${clip.height}` : "",
      clip.duration ? clock(clip.duration, 0) : "",
      job && job.status !== "done" ? `${job.status} ${job.stage}` : "",
      clip.summary,
      ...clip.warnings,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  async everyPage(query) {
    const found = [];
    for (;;) {
      const page = await api(
        "/segments?" + new URLSearchParams({ ...query, first: String(found.length), count: String(PAGE) }),
      );
      found.push(...page.segments);
      if (found.length >= page.total || !page.segments.length) return found;
    }
  }

  query(first) {
    return (
      "/segments?" +
      new URLSearchParams({
        ...(this.scope.value === "clip" && this.clip ? { video: this.clip.id } : {}),
        status: this.state.value,
        label: this.label.value,
        camera: this.camera.value,
        words: this.words.value,
        by: this.order.value,
        first: String(first),
        count: String(this.scope.value === "clip" ? PAGE : 100),
      })
    );
  }

  async fetch() {
    const page = await api(this.query(0));
    this.list = page.segments;
    this.total = page.total;
    if (this.scope.value === "clip")
      while (this.list.length < this.total) {
        const next = await api(this.query(this.list.length));
        if (!next.segments.length) break;
        this.list.push(...next.segments);
      }
    this.showList();
  }

  reload() {
    return tried(() => this.fetch(), this.rows);
  }
  append() {
    return tried(async () => {
      const page = await api(this.query(this.list.length));
      this.list.push(...page.segments);
      this.total = page.total;
      this.showList();
    }, this.rows);
  }

  showList() {
    const here = this.scope.value === "clip";
    this.count.textContent = this.total
      ? `${this.total} segment${this.total === 1 ? "" : "s"}`
      : this.state.value === "open"
        ? "Nothing open is left here."
        : "No segments here: nothing reached the threshold, or the filters leave nothing.";
    this.more.hidden = this.list.length >= this.total;
    fill(
      this.rows,
      this.list.map((s) =>
        el(
          "li",
          { "data-id": s.id, class: s.status },
          el(
            "button",
            { type: "button", "aria-current": s.id === this.chosen ? "true" : null, onclick: () => this.choose(s.id) },
            status(s.status),
            el("span", { class: "name" }, here ? "" : s.name),
            el("span", {}, `${clock(s.start)}–${clock(s.end)}`),
            el("span", { class: "peak" }, s.peak.toFixed(2)),
            el("span", {}, s.label),
            s.explanation
              ? el("span", { class: "model" }, `appears ${appears(s.explanation.verdict)}`)
              : el("span", { class: "model" }, "…"),
            s.decided_by ? el("span", { class: "by" }, `by ${s.decided_by}`) : null,
            s.exported ? el("span", { class: "by" }, "exported") : null,
          ),
        ),
      ),
    );
    this.faint();
  }

  mark() {
    for (const button of this.rows.querySelectorAll("button")) {
      const on = button.parentElement.dataset.id === this.chosen;
      if (on) {
        button.setAttribute("aria-current", "true");
        button.scrollIntoView({ block: "nearest" });
      } else button.removeAttribute("aria-current");
    }
    this.timeline.chosen = this.chosen;
    this.timeline.draw();
  }

  async choose(id) {
    await tried(async () => {
      const found = await api(`/segments/${id}`);
      this.chosen = id;
      await this.open(found.video);
      history.replaceState(null, "", `#review?segment=${id}`);
      this.mark();
      this.player.seek(found.start);
      this.timeline.moveTo(found.start);
      this.timeline.reveal(found.start, found.end);
      if (this.plays.checked) this.player.play();
      this.tell(found);
    });
  }

  step(by) {
    const at = this.list.findIndex((s) => s.id === this.chosen),
      next = this.list[at < 0 ? (by > 0 ? 0 : this.list.length - 1) : at + by];
    if (next) this.choose(next.id);
    else if (by > 0 && !this.more.hidden)
      this.append().then(() => {
        if (this.list[at + 1]) this.step(1);
      });
    else say(by > 0 ? "This is the last one." : "This is the first one.");
  }

  showThreshold(score) {
    this.threshold.value = score.toFixed(2);
    const left = this.inClip.filter((s) => s.peak >= score).length;
    this.above.textContent = `${left} of ${this.inClip.length} segments reach it`;
    this.faint();
  }

  faint() {
    const low = new Set(this.inClip.filter((s) => s.peak < this.timeline.threshold).map((s) => s.id));
    for (const item of this.rows.children) item.classList.toggle("faint", low.has(item.dataset.id));
  }

  again() {
    if (!this.clip) return;
    tried(async () => {
      await api(`/videos/${this.clip.id}/analyse`, { method: "POST", body: { enter: this.timeline.threshold } });
      say(
        `${this.clip.name} is in the queue again, with the threshold ${this.timeline.threshold.toFixed(2)}; what was decided stays.`,
      );
      this.clip.job = { status: "queued", stage: "" }; // looked at from now on
      this.refresh();
    });
  }

  /** While a clip is worked on its scores come first, then one explanation after another; zoom and place stay. */
  async look() {
    const clip = this.clip;
    if (!clip || (clip.analysed && !busy(clip.job))) return 2000;
    const fresh = await api(`/videos/${clip.id}`);
    if (this.clip !== clip) return 500;
    if (!fresh.analysed) {
      this.clip = fresh;
      this.describe();
      return 1000;
    }
    if (!clip.analysed || (scoring(clip.job) && !scoring(fresh.job))) {
      this.clip = null;
      await this.open(clip.id);
    } else {
      this.clip = fresh;
      this.describe();
      this.inClip = await this.everyPage({ video: clip.id, by: "start" });
      this.timeline.segments = this.inClip;
    }
    await this.fetch();
    const chosen = this.chosen;
    if (this.inClip.some((s) => s.id === chosen)) {
      const found = await api(`/segments/${chosen}`);
      if (this.chosen === chosen && this.said.text !== JSON.stringify(found.explanation)) this.tell(found);
      this.mark();
    } else if (this.list.length) await this.choose(this.list[0].id);
    return busy(fresh.job) ? 1000 : 4000;
  }

  // what people do

  async decide(verdict, reason = "") {
    if (!this.chosen) {
      say("Choose a segment first.");
      return;
    }
    const id = this.chosen;
    const found = await tried(
      () => api(`/segments/${id}/verdict`, { method: "POST", body: { verdict, reason } }),
      this.acts,
    );
    if (!found) return;
    this.changed(found);
    say(`${clock(found.start)} ${verdict}.`, { undo: () => this.undo() });
    const at = this.list.findIndex((s) => s.id === id);
    const next = [...this.list.slice(at + 1), ...this.list.slice(0, Math.max(0, at))].find((s) => s.status === "open");
    if (this.advance.checked && next) await this.choose(next.id);
    else {
      this.tell(found);
      if (this.advance.checked)
        say(`${clock(found.start)} ${verdict}. Nothing open is left in this list.`, { undo: () => this.undo() });
    }
  }

  ask() {
    if (this.chosen) {
      this.why.showModal();
      this.why.querySelector("button").focus();
    } else say("Choose a segment first.");
  }

  async undo() {
    const found = await tried(() => api("/undo", { method: "POST" }));
    if (!found) return;
    if (!found.segment) {
      say("There is no verdict of yours to undo.");
      return;
    }
    this.changed(await api(`/segments/${found.segment}`));
    if (!this.list.some((s) => s.id === found.segment)) await this.reload(); // it had left the list with its verdict
    await this.choose(found.segment);
    say("Undone.");
  }

  /** A segment is not what it was: in the lists and on the timeline. */
  changed(found) {
    for (const rows of [this.list, this.inClip]) {
      const at = rows.findIndex((s) => s.id === found.id);
      if (at >= 0) rows[at] = found;
    }
    this.showList();
    this.mark();
  }

  key(event) {
    if (!shown(this.root) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]"))
      return;
    const at = event.target;
    if (at.closest?.("input, textarea, select")) {
      if (event.key === "Escape") at.blur();
      return;
    }
    if (event.key === " " && at.closest?.("button, a, summary, video, [role=tab]")) return;
    const acts = {
      " ": () => this.player.toggle(),
      k: () => this.player.toggle(),
      j: () => this.player.seek(this.player.time - 10),
      l: () => this.player.seek(Math.min(this.timeline.duration, this.player.time + 10)),
      ",": () => this.player.step(-1),
      ".": () => this.player.step(1),
      n: () => this.step(1),
      p: () => this.step(-1),
      c: () => this.decide("confirmed"),
      x: () => this.ask(),
      u: () => this.undo(),
      e: () => {
        this.said.element.focus();
        this.said.element.scrollIntoView({ block: "nearest" });
      },
      t: () => this.said.element.querySelector("textarea")?.focus(),
      "+": () => this.timeline.zoom(1.6),
      "=": () => this.timeline.zoom(1.6),
      "-": () => this.timeline.zoom(1 / 1.6),
      0: () => this.timeline.whole(),
      "?": () => this.help.showModal(),
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  }

  tell(found) {
    for (const button of this.acts.querySelectorAll(".confirm, .dismiss")) button.disabled = !found;
    this.said.tell(
      found,
      this.clip ? "Choose a segment." : "Nothing is chosen. Drop clips under Analyse, and what is flagged comes here.",
    );
  }

  seek(time) {
    this.player.seek(time);
    this.timeline.moveTo(time);
  }
}

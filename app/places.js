// Places: zones, lines and rules of a camera, drawn over its picture. What is saved is a version; none is ever overwritten.
import { api, me, post, put } from "./api.js";
import { Board } from "./board.js";
import { button, choice, el, fault, fill, icon, labelled, options, say, shown, tried } from "./dom.js";
import { drafts } from "./drafts.js";
import { clipsOf, frameOf } from "./frames.js";
import { calmly, facets, listen } from "./live.js";
import { Ground } from "./ground.js";
import { Usual } from "./paths.js";
import { go } from "./rooms.js";
import { taken, written } from "./shapes.js";
import { plural, when } from "./times.js";

const NONE = "clips without a camera";
const CLIPS = 20; // of a camera, to take its picture from

export async function start(root) {
  const places = new Places(root, await me());
  return { arrive: (params) => places.arrive(params), leave: () => places.board.sketch.end() };
}

class Places {
  constructor(root, user) {
    Object.assign(this, {
      root,
      user,
      camera: null,
      seen: 0,
      state: { shapes: [], rules: [], place: null, background: "" },
      saved: "",
      faults: [],
      unchecked: 0,
    });
    this.board = new Board({
      kinds: ["zone", "line"],
      onchange: () => this.changed(),
      onname: (before, name) => {
        for (const rule of this.state.rules) rule.when = rule.when.replaceAll(`"${before}"`, `"${name}"`);
      },
      more: (shape) =>
        shape.kind === "line"
          ? [
              [
                button("", () => this.board.sketch.turn(shape), { picture: "repeat", words: false }),
                () => `Turn ${shape.name} round`,
              ],
            ]
          : [],
    });
    this.ground = new Ground(() => {
      this.state.place = this.ground.place;
      this.edited();
    });
    this.usual = new Usual();
    this.pick = choice([], { onchange: () => go("places", { camera: this.pick.value }) });
    this.clip = choice([], { onchange: () => this.show() });
    this.time = el("input", { type: "range", min: "0", max: "1000", value: "500", oninput: calmly(() => this.show()) });
    this.rules = el("ul", { class: "rulelist" });
    this.general = el("ul", { class: "faults" });
    this.told = el("span", { class: "small", role: "status" });
    this.save = button("Save", () => this.keep(), { picture: "check", class: "main" });
    this.apply = button("", () => this.check(), { picture: "refresh-cw" });
    this.back = button("Discard", () => this.discard(), { picture: "undo-2" });
    this.versions = el("ul", { class: "versions" });
    this.looks = el("span", { class: "small" });
    this.fix = button("The camera looks as in this clip", () => this.takeBackground(), { picture: "camera" });
    this.unfix = button("Forget that", () => this.setBackground(""), { picture: "x" });
    this.text = el("textarea", { class: "yaml", rows: 10, spellcheck: false, "aria-label": "The same as text" });
    this.ways = el("datalist", { id: "rule-ways" });
    this.look = calmly(() => this.lint(), 350);
    this.build();
    listen((change) => shown(root) && ["video", "all"].includes(change.kind) && this.count());
  }

  build() {
    fill(
      this.root,
      el(
        "div",
        { class: "vlad places" },
        el(
          "div",
          { class: "row tight heading" },
          el("h2", {}, "Places"),
          labelled("Camera", this.pick),
          labelled("Picture of", this.clip),
          labelled("at", this.time),
        ),
        el(
          "div",
          { class: "halves" },
          el(
            "section",
            { "aria-label": "Zones and lines" },
            this.board.parts,
            el("h3", {}, "A camera that was moved"),
            el("p", {}, this.looks),
            el("div", { class: "row tight" }, this.fix, this.unfix),
          ),
          el(
            "section",
            { "aria-label": "Rules" },
            el("h3", {}, "Rules"),
            el(
              "p",
              { class: "small" },
              "A rule is a sentence, such as ",
              el("q", {}, 'a person in "yard" between 22:00 and 06:00 for 10 s'),
              ", ",
              el("q", {}, "two people nearer than 1 body height with speed over 3 for 2 s"),
              ", ",
              el("q", {}, 'a vehicle crosses "gate" outwards'),
              ". While it holds it may raise scores to a value at least, or hold them below one; its name stands with the segment.",
            ),
            this.rules,
            this.ways,
            button("New rule", () => this.addRule(), { picture: "plus" }),
            el("div", { role: "status" }, this.general),
            el("div", { class: "row tight" }, this.save, this.back, this.apply),
            el("p", {}, this.told),
            el(
              "details",
              {},
              el("summary", {}, "As text"),
              this.text,
              button("Take this text", () => this.take(), { picture: "check" }),
            ),
            el("h3", {}, "Versions"),
            this.versions,
          ),
        ),
        this.ground.element,
        this.usual.element,
      ),
    );
  }

  async arrive({ camera }) {
    await tried(async () => {
      const { cameras } = await facets(),
        names = [...new Set([...cameras.filter(Boolean), ...(camera ? [camera] : [])])];
      options(this.pick, [...names.map((c) => [c, c]), ["", NONE]]);
      const wanted = camera ?? this.camera ?? names[0] ?? "";
      this.pick.value = wanted;
      if (wanted !== this.camera) await this.open(wanted);
      else await this.count();
    }, this.root);
  }

  async open(camera) {
    this.camera = camera;
    const [found, clips] = await Promise.all([
      api("/rules?" + new URLSearchParams({ camera })),
      clipsOf(camera, CLIPS),
    ]);
    if (this.camera !== camera) return;
    this.clips = clips;
    options(
      this.clip,
      clips.map((v) => [v.id, v.name]),
    );
    this.clip.selectedIndex = this.clips.length ? 0 : -1;
    this.clip.disabled = this.time.disabled = !this.clips.length;
    this.show();
    const kept = drafts.get(`places ${camera}`, "drawn");
    this.has(found);
    if (kept) this.restore(JSON.parse(kept));
    await Promise.all([this.history(), this.usual.show(camera)]);
  }

  /** What the server has is what is edited. */
  has(found) {
    this.seen = found.version;
    this.unchecked = found.unchecked ?? this.unchecked;
    this.state = taken(found);
    this.saved = written(this.state);
    this.faults = [];
    this.load();
  }

  load() {
    this.board.load(this.state.shapes);
    this.ground.load(this.camera, this.state.place);
    this.changed();
  }

  /** What was drawn here before and not saved. */
  restore({ state, seen }) {
    if (written(state) === this.saved) return;
    Object.assign(this, { state, seen });
    this.load();
    say("What you drew here and did not save is still there.");
  }

  show() {
    const clip = this.clips.find((v) => v.id === this.clip.value);
    const at = clip ? ((Number(this.time.value) / 1000) * clip.duration * 0.999).toFixed(2) : 0;
    this.time.setAttribute("aria-valuetext", `${at} s`);
    const url = clip ? frameOf(clip, at) : "";
    this.board.sketch.show(url);
    this.ground.show(url);
    this.fix.disabled = !clip;
  }

  // what is edited

  changed() {
    this.lists();
    this.edited();
  }

  /** Something was typed or drawn: kept as a draft, and looked at for faults. */
  edited() {
    const text = written(this.state),
      fresh = text !== this.saved;
    if (this.camera !== null)
      drafts.set(`places ${this.camera}`, "drawn", fresh ? JSON.stringify({ state: this.state, seen: this.seen }) : "");
    if (document.activeElement !== this.text) this.text.value = text;
    this.back.disabled = !fresh;
    this.buttons();
    this.look();
  }

  buttons() {
    const fresh = written(this.state) !== this.saved;
    this.save.disabled = !fresh || this.faults.length > 0;
    this.apply.disabled = fresh || !this.unchecked;
    this.apply.lastElementChild.textContent = this.unchecked
      ? `Check ${plural(this.unchecked, "clip")} with them`
      : "Every clip is checked";
    const about = this.seen ? `Version ${this.seen} is in use.` : "This camera has no rules yet.";
    this.unfix.hidden = !this.state.background;
    this.looks.textContent = this.state.background
      ? "Every clip is compared with where the camera looked; while it looks elsewhere rules pause, and the clip says so."
      : "Nobody would notice: take the picture of a clip in which the camera looks where it should, some seconds by day.";
    this.told.textContent = fresh ? `${about} What you changed is not saved.` : about;
  }

  lists() {
    const { shapes, rules } = this.state;
    keep(this.rules, () => rules.map((rule) => this.row(rule)));
    const zone = shapes.find((s) => s.kind === "zone")?.name,
      line = shapes.find((s) => s.kind === "line")?.name;
    fill(
      this.ways,
      [
        zone ? `a person in "${zone}" for 10 s` : "a person for 10 s",
        zone ? `3 people in "${zone}"` : "3 people",
        line ? `a person crosses "${line}" inwards` : null,
        line ? `a vehicle crosses "${line}" outwards` : null,
        line ? `two people cross "${line}" inwards within 2 s` : null,
        "a person down for 3 s",
        zone ? `a bag left in "${zone}" for 30 s` : "a bag left for 30 s",
        "a person between 22:00 and 06:00 for 5 s",
        "two people nearer than 1 body height with speed over 3 for 2 s",
      ]
        .filter(Boolean)
        .map((value) => el("option", { value })),
    );
    this.showFaults();
  }

  row(rule) {
    const set = (name) => (event) => {
      rule[name] = event.target.value;
      score.disabled = !rule.effect;
      if (rule.effect && rule.score === "") score.value = rule.score = rule.effect === "raises" ? "0.9" : "0.2";
      this.edited();
    };
    const score = el("input", {
      type: "number",
      min: "0",
      max: "1",
      step: "0.05",
      value: rule.score,
      disabled: !rule.effect,
      oninput: set("score"),
    });
    const effect = choice(
      [
        ["", "only names it"],
        ["raises", "raises scores to"],
        ["lowers", "holds scores below"],
      ],
      { "aria-label": `What ${rule.name} does`, onchange: set("effect") },
    );
    effect.value = rule.effect;
    score.setAttribute("aria-label", `Score of ${rule.name}`);
    return el(
      "li",
      {},
      el("input", {
        value: rule.name,
        maxLength: 80,
        "aria-label": `Name of rule ${rule.name}`,
        onchange: (event) => {
          rule.name = event.target.value.trim();
          this.changed();
        },
      }),
      el("input", {
        class: "sentence",
        value: rule.when,
        maxLength: 400,
        list: "rule-ways",
        "aria-label": `Sentence of ${rule.name}`,
        "data-fault": `rules ${rule.name}`,
        oninput: set("when"),
      }),
      effect,
      score,
      button(
        `Remove rule ${rule.name}`,
        () => {
          this.state.rules.splice(this.state.rules.indexOf(rule), 1);
          this.changed();
        },
        { picture: "trash-2", words: false },
      ),
    );
  }

  addRule() {
    const names = new Set(this.state.rules.map((r) => r.name));
    let n = 1;
    while (names.has(`rule ${n}`)) n++;
    this.state.rules.push({ name: `rule ${n}`, when: "", effect: "", score: "" });
    this.changed();
    this.rules.lastElementChild.querySelector(".sentence").focus();
  }

  // what is wrong

  async lint() {
    const text = written(this.state),
      found = await post("/rules/check", { text });
    if (text !== written(this.state)) return;
    this.groundTold = found.place?.told;
    const twice = this.state.rules.filter((r, i, all) => all.findIndex((o) => o.name === r.name) < i);
    this.faults = [
      ...found.faults,
      ...twice.map((r) => ({ part: "rules", name: r.name, text: "two rules are called so" })),
    ];
    this.showFaults();
    this.buttons();
  }

  showFaults() {
    const ground = this.faults.filter((f) => f.part === "place");
    this.ground.tell(
      this.groundTold ?? [],
      ground.map((f) => f.text),
    );
    const left = new Set(this.faults.filter((f) => f.part !== "place"));
    for (const input of this.root.querySelectorAll("[data-fault]")) {
      const own = this.faults.filter((f) => `${f.part} ${f.name}` === input.dataset.fault);
      own.forEach((f) => left.delete(f));
      fault(input, own.map((f) => f.text).join("; "));
    }
    fill(
      this.general,
      [...left].map((f) => el("li", { class: "grave" }, [f.part, f.name, f.text].filter(Boolean).join(": "))),
    );
  }

  async take() {
    await tried(async () => {
      const found = await post("/rules/check", { text: this.text.value });
      if (found.faults.length) {
        fault(this.text, found.faults.map((f) => [f.part, f.name, f.text].filter(Boolean).join(": ")).join("; "));
        return;
      }
      fault(this.text);
      this.text.blur();
      this.use(found);
    }, this.root);
  }

  use(found) {
    this.state = taken(found);
    this.load();
  }

  /** The chosen clip shows where the camera looks. */
  takeBackground() {
    const id = this.clip.value,
      { camera } = this;
    tried(async () => {
      const { background } = await post(`/videos/${id}/background`);
      if (this.camera !== camera) return;
      this.setBackground(background);
      say("Taken. Save it, and every clip from now on is compared with it.");
    }, this.root);
  }

  setBackground(text) {
    this.state.background = text;
    this.edited();
  }

  // what is kept

  async keep() {
    this.board.sketch.end();
    const { camera } = this;
    await tried(async () => {
      try {
        const found = await put("/rules", { camera, text: written(this.state), version: this.seen });
        this.has(found);
        say(`Version ${found.version} is in use: new clips of this camera are checked with it.`);
      } catch (error) {
        if (error.status === 409) {
          const now = await api("/rules?" + new URLSearchParams({ camera }));
          this.seen = now.version; // whoever saves again has been told
          this.saved = written(taken(now));
          this.edited();
        }
        throw error;
      } finally {
        await this.history();
      }
    }, this.root);
  }

  discard() {
    tried(async () => this.has(await api("/rules?" + new URLSearchParams({ camera: this.camera }))), this.root);
  }

  async history() {
    const found = await api("/rules/versions?" + new URLSearchParams({ camera: this.camera }));
    fill(
      this.versions,
      found.map((v) =>
        el(
          "li",
          {},
          icon(v.version === this.seen ? "check" : "clock"),
          ` ${v.version} by ${v.by}, ${when(v.at)}: ${plural(Object.keys(v.zones).length, "zone")}, ${plural(Object.keys(v.lines).length, "line")}, ${plural(Object.keys(v.rules).length, "rule")} `,
          v.version === found[0].version
            ? el("span", { class: "small" }, "in use")
            : button(`Return to version ${v.version}`, () => this.use(v), { picture: "rotate-ccw", words: false }),
        ),
      ),
    );
  }

  check() {
    tried(async () => {
      const { clips } = await post("/rules/apply", { camera: this.camera });
      say(`${plural(clips, "clip")} will be checked by what was found in them; what was decided stays.`);
      await this.count();
    }, this.root);
  }

  async count() {
    if (this.camera === null) return;
    const found = await api("/rules?" + new URLSearchParams({ camera: this.camera })).catch(() => null);
    if (!found) return;
    this.unchecked = found.unchecked;
    this.buttons();
    await this.usual.look();
  }
}

/** Rows anew; where the focus was in one, it goes to the control of the same name. */
function keep(place, rows) {
  const had = place.contains(document.activeElement) ? document.activeElement : null,
    name = had?.getAttribute("aria-label");
  fill(place, rows());
  if (had)
    [...place.querySelectorAll("button, input, select")].find((e) => e.getAttribute("aria-label") === name)?.focus();
}

// Analyse: clips come in, each is a job that lives on the server, and its row says what was found.
import { api, me, post, remove } from "./api.js";
import { actsOf, foundIn, stateOf } from "./clips.js";
import { arrange, button, check, choice, el, fill, icon, labelled, say, shown, sure, tried } from "./dom.js";
import { edit } from "./editor.js";
import { calmly, listen } from "./live.js";
import { to } from "./rooms.js";
import { forget, picture } from "./sprites.js";
import { bytes, clock, plural, wall, when } from "./times.js";
import { Uploads } from "./uploads.js";

const PAGE = 50;
const COLUMNS = [
  ["", "", ""],
  ["Clip", "name", "Clip"],
  ["Camera", "camera", "Camera"],
  ["Recorded", "recorded", "Recorded"],
  ["Length", "", "Length"],
  ["State", "state", "State"],
  ["Found", "found", "Found"],
  ["", "", ""],
];

export async function start(root) {
  const user = await me();
  const analyse = new Analyse(root, user.scopes.includes("admin"));
  return { arrive: () => analyse.arrive() };
}

class Analyse {
  constructor(root, admin) {
    Object.assign(this, {
      root,
      admin,
      first: 0,
      total: 0,
      sort: "created",
      down: true,
      rows: new Map(),
      selected: new Set(),
    });
    this.uploads = new Uploads({ wish: () => this.wish(), ondone: () => this.refresh() });
    this.refresh = calmly(() => this.load());
    this.build();
    listen((change) => {
      if (change.kind === "video" && change.video) forget(change.video);
      if (shown(root) && ["video", "job", "segment", "all"].includes(change.kind)) this.refresh();
    });
    setInterval(() => shown(root) && this.busy && this.refresh(), 1000);
  }

  arrive() {
    this.refresh();
    return this.uploads.unfinished();
  }

  build() {
    this.threshold = el("input", { type: "number", min: "0", max: "1", step: "0.01", placeholder: "calibrated" });
    this.explain = el("input", { type: "checkbox", checked: true });
    const picker = el("input", {
      type: "file",
      multiple: true,
      accept: "video/*,.mkv,.avi,.ts,.flv,.asf",
      class: "picker",
      onchange: () => {
        this.uploads.take(picker.files);
        picker.value = "";
      },
    });
    const drop = el(
      "label",
      { class: "drop" },
      icon("upload"),
      el("strong", {}, "Drop clips here, or choose files"),
      el("span", { class: "small" }, "up to 4 GiB each; nothing leaves this server"),
      picker,
    );
    for (const kind of ["dragover", "dragleave", "drop"])
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragover");
        if (kind === "drop") this.uploads.take(event.dataTransfer.files);
      });
    this.hello = el(
      "section",
      { class: "hello", hidden: true },
      el("h2", {}, "Which moments of your footage do not belong?"),
      el(
        "p",
        {},
        "vlad scores a clip from beginning to end, flags what stands out, and shows when. You look, confirm or dismiss, and export what matters with its evidence. A score is a hint, never a proof.",
      ),
      el(
        "p",
        {},
        button("Try it with a sample clip", () => this.sample(), { picture: "film", class: "main" }),
        el("span", { class: "small" }, " a rendered scene, no real people"),
      ),
    );
    this.words = el("input", {
      type: "search",
      maxLength: 200,
      placeholder: "name or camera",
      "aria-label": "Clips by name or camera",
      oninput: calmly(() => this.anew()),
    });
    this.state = choice(
      [
        ["", "every state"],
        ["queued", "waiting"],
        ["running", "under way"],
        ["done", "done"],
        ["failed", "failed"],
      ],
      { "aria-label": "State", onchange: () => this.anew() },
    );
    this.table = el("tbody", {});
    this.count = el("span", { class: "small", role: "status" });
    this.newer = button("Earlier page", () => this.page(-PAGE), { picture: "chevron-left", words: false });
    this.older = button("Later page", () => this.page(PAGE), { picture: "chevron-right", words: false });
    this.bulk = el("span", { class: "row tight", hidden: true, role: "group", "aria-label": "What is selected" });
    this.all = el("input", {
      type: "checkbox",
      "aria-label": "Select all clips shown",
      onchange: () => this.pickAll(),
    });
    fill(
      this.root,
      el(
        "div",
        { class: "vlad analyse" },
        this.hello,
        drop,
        el(
          "details",
          { class: "wishes" },
          el("summary", {}, "How new clips are analysed"),
          el(
            "div",
            { class: "row" },
            labelled("Threshold", this.threshold),
            check("explain what is flagged", this.explain),
            button("Analyse a sample clip", () => this.sample(), { picture: "film" }),
          ),
        ),
        this.uploads.element,
        this.uploads.kept,
        el(
          "div",
          { class: "row tight heading" },
          el("h2", {}, "Clips"),
          this.words,
          this.state,
          this.bulk,
          el("span", { class: "gap" }),
          this.count,
          this.newer,
          this.older,
        ),
        el(
          "table",
          { class: "clips cards" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              COLUMNS.map(([words, sort], i) => this.head(words, sort, i)),
            ),
          ),
          this.table,
        ),
      ),
    );
  }

  head(words, sort, i) {
    if (!i) return el("th", { scope: "col" }, this.all);
    if (!sort) return words ? el("th", { scope: "col" }, words) : el("td", {});
    const own = el(
      "th",
      { scope: "col", "data-sort": sort },
      button(words, () => {
        this.down = this.sort === sort ? !this.down : sort !== "name" && sort !== "camera";
        this.sort = sort;
        this.anew();
      }),
    );
    return own;
  }

  wish() {
    return {
      explain: this.explain.checked,
      ...(this.threshold.value === "" ? {} : { enter: Number(this.threshold.value) }),
    };
  }

  sample() {
    return tried(async () => {
      await post("/sample");
      say("The sample clip is being analysed; what is flagged comes under Review.");
      this.refresh();
    }, this.hello);
  }

  anew() {
    this.first = 0;
    return this.load();
  }

  page(by) {
    this.first = Math.max(0, this.first + by);
    this.refresh();
  }

  async load() {
    const query = {
      first: this.first,
      count: PAGE,
      sort: this.sort,
      down: this.down,
      words: this.words.value,
      state: this.state.value,
    };
    const found = await tried(() => api("/videos?" + new URLSearchParams(query)));
    if (!found) return;
    this.busy = found.busy > 0;
    this.total = found.total;
    const filtered = this.words.value || this.state.value;
    this.hello.hidden = found.total > 0 || Boolean(filtered);
    this.count.textContent = found.total
      ? `${this.first + 1} to ${this.first + found.videos.length} of ${found.total}`
      : filtered
        ? "none like that"
        : "";
    this.newer.disabled = !this.first;
    this.older.disabled = this.first + PAGE >= found.total;
    for (const cell of this.root.querySelectorAll("th[data-sort]"))
      cell.setAttribute(
        "aria-sort",
        cell.dataset.sort === this.sort ? (this.down ? "descending" : "ascending") : "none",
      );
    arrange(
      this.table,
      found.videos.map((clip) => this.row(clip)),
    );
    const live = new Set(found.videos.map((v) => v.id));
    for (const id of this.rows.keys()) if (!live.has(id)) this.rows.delete(id);
    for (const id of this.selected) if (!live.has(id)) this.selected.delete(id);
    this.showBulk();
  }

  row(clip) {
    const text = JSON.stringify(clip),
      old = this.rows.get(clip.id);
    if (old?.text === text) return old.made;
    const made = old?.made ?? el("tr", { "data-id": clip.id }),
      had = made.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null,
      there = wall(clip.starts_at);
    const box = el("input", {
      type: "checkbox",
      "aria-label": `Select ${clip.name}`,
      checked: this.selected.has(clip.id),
      onchange: () => this.pick(clip.id, box.checked),
    });
    fill(
      made,
      el("td", {}, box),
      el(
        "td",
        { "data-label": "Clip", class: "clip" },
        clip.found
          ? picture(clip.id, clip.found.count ? clip.found.peak_time : clip.duration / 2)
          : el("span", { class: "frame none" }),
        clip.found ? el("a", { href: to("review", { video: clip.id }) }, clip.name) : clip.name,
      ),
      el("td", { "data-label": "Camera" }, clip.camera),
      el(
        "td",
        { "data-label": "Recorded" },
        there ? `${there.day} ${there.time}` : el("span", { class: "small" }, `added ${when(clip.created)}`),
      ),
      el("td", { "data-label": "Length" }, clip.duration === null ? bytes(clip.size) : clock(clip.duration, 0)),
      el("td", { "data-label": "State", class: `state ${clip.job?.status}` }, stateOf(clip)),
      el("td", { "data-label": "Found" }, foundIn(clip)),
      el("td", { class: "acts" }, actsOf(clip, this)),
    );
    if (had) [...made.querySelectorAll("[aria-label]")].find((e) => e.getAttribute("aria-label") === had)?.focus();
    this.rows.set(clip.id, { text, made });
    return made;
  }

  act(work) {
    return tried(async () => {
      await work();
      this.refresh();
    });
  }

  // several at once

  pick(id, on) {
    if (on) this.selected.add(id);
    else this.selected.delete(id);
    this.showBulk();
  }

  pickAll() {
    const on = this.all.checked;
    for (const { made } of this.rows.values()) made.querySelector("input").checked = on;
    this.selected = new Set(on ? this.rows.keys() : []);
    this.showBulk();
  }

  showBulk() {
    const ids = [...this.selected],
      each = (work) =>
        this.act(async () => {
          for (const id of ids) await work(id);
          this.selected.clear();
        });
    this.bulk.hidden = !ids.length;
    this.all.checked = ids.length > 0 && ids.length === this.rows.size;
    fill(
      this.bulk,
      el("strong", {}, plural(ids.length, "selected", "selected")),
      button("Change camera and time", () => edit(null, this.refresh, ids), { picture: "pencil" }),
      button("Analyse again", () => each((id) => post(`/videos/${id}/analyse`, this.wish())), {
        picture: "refresh-cw",
      }),
      this.admin
        ? button(
            "Remove",
            async () => {
              if (await sure(`Remove ${plural(ids.length, "clip")}?`, "Remove")) each((id) => remove(`/videos/${id}`));
            },
            { picture: "trash-2" },
          )
        : null,
    );
  }
}

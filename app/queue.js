// The queue of segments: filters, rows with moving pictures, and what is selected. Rows that did not change stay the same elements.
import { api } from "./api.js";
import { arrange, button, choice, el, fill, labelled, options, status, tried } from "./dom.js";
import { leave } from "./keys.js";
import { facets } from "./live.js";
import { preview } from "./sprites.js";
import { clock, plural, wall } from "./times.js";

const PAGE = 500, // rows of a request at most
  MOST = 2000; // segments of one selection
const HEAVY = 100; // rows of a page over all clips

/** What a segment is called: a person's word, or the scorer's where nothing speaks against it. */
export function called(s) {
  if (s.label_by) return s.label || (s.origin === "person" ? "marked by hand" : "no class");
  if (s.reading && !s.reading.sure) return "not sure what";
  if (s.reading && s.explanation?.verdict === "normal") return "appears normal";
  return s.label ? `${s.label}?` : "flagged";
}

export class Queue {
  /** onchoose(id): a row was chosen. onselect(ids): the selection changed. clip(): the clip on screen, or null. */
  constructor({ onchoose, onselect, clip }) {
    Object.assign(this, {
      onchoose,
      onselect,
      clip,
      list: [],
      total: 0,
      counts: null,
      chosen: null,
      selected: new Map(),
      rows: new Map(),
      last: null,
    });
    const again = (event) => {
      leave(event.target);
      this.reload();
    };
    this.scope = choice(
      [
        ["all", "all clips"],
        ["clip", "this clip"],
      ],
      { "aria-label": "Queue", onchange: again },
    );
    this.state = choice(
      [
        ["open", "open"],
        ["", "every status"],
        ["confirmed", "confirmed"],
        ["dismissed", "dismissed"],
      ],
      { "aria-label": "Status", onchange: again },
    );
    this.label = choice([["", "every class"]], { onchange: again });
    this.camera = choice([["", "every camera"]], { onchange: again });
    this.assigned = choice([["", "anybody's"]], { onchange: again });
    this.origin = choice(
      [
        ["", "model and people"],
        ["model", "flagged by the model"],
        ["person", "marked by people"],
      ],
      { onchange: again },
    );
    this.order = choice(
      [
        ["peak", "highest score first"],
        ["start", "by time"],
        ["newest", "newest clip first"],
      ],
      { onchange: again },
    );
    this.words = el("input", { type: "search", maxLength: 200, placeholder: "in words, notes, tags", onchange: again });
    this.place = el("ol", { class: "segments", "aria-label": "Segments" });
    this.done = el("p", { class: "small done", role: "status" });
    this.empty = el("p", { class: "small empty" });
    this.more = el("button", { type: "button", hidden: true, onclick: () => this.append() }, "More");
    this.bulk = el("div", { class: "bulk", hidden: true, role: "group", "aria-label": "What is selected" });
    this.element = el(
      "section",
      { class: "queue", "aria-label": "Queue" },
      el("div", { class: "row tight" }, this.scope, this.state, this.filters()),
      this.done,
      this.bulk,
      el("div", { class: "list" }, this.place, this.empty, this.more),
    );
  }

  filters() {
    return el(
      "details",
      { class: "filters" },
      el("summary", {}, "Filters"),
      el(
        "div",
        { class: "drop-down" },
        labelled("Class", this.label),
        labelled("Camera", this.camera),
        labelled("Whose", this.assigned),
        labelled("Found by", this.origin),
        labelled("Order", this.order),
        labelled("Words", this.words),
      ),
    );
  }

  async learn() {
    const found = await facets();
    options(this.label, [["", "every class"], ...found.labels.map((c) => [c, c])]);
    options(this.camera, [["", "every camera"], ...found.cameras.map((c) => [c, c])]);
    options(this.assigned, [["", "anybody's"], ...found.people.map((p) => [p, p])]);
  }

  get filter() {
    return {
      ...(this.scope.value === "clip" && this.clip() ? { video: this.clip().id } : {}),
      status: this.state.value,
      label: this.label.value,
      camera: this.camera.value,
      assigned: this.assigned.value,
      origin: this.origin.value,
      words: this.words.value,
    };
  }

  query(first, count) {
    return (
      "/segments?" +
      new URLSearchParams({ ...this.filter, by: this.order.value, first: String(first), count: String(count) })
    );
  }

  /** Everything again, as far as it was shown, or from the top (anew); rows that are the same stay where they are. */
  async fetch({ anew = false } = {}) {
    const whole = this.scope.value === "clip",
      wanted = whole ? Infinity : anew ? HEAVY : Math.max(HEAVY, this.list.length),
      found = [];
    for (let total = 1; found.length < Math.min(total, wanted);) {
      const page = await api(this.query(found.length, Math.min(PAGE, wanted - found.length)));
      ({ total } = page);
      found.push(...page.segments);
      Object.assign(this, { total, counts: page.counts });
      if (!page.segments.length) break;
    }
    this.list = found;
    this.show();
  }

  /** Whether the list is all of one clip, in the order of time. */
  get whole() {
    const { video, ...filters } = this.filter;
    return Boolean(video) && this.order.value === "start" && Object.values(filters).every((value) => !value);
  }

  /** The segments of the clip, where they are known already. */
  take(segments) {
    const counts = { open: 0, confirmed: 0, dismissed: 0 };
    for (const s of segments) counts[s.status]++;
    Object.assign(this, { list: [...segments], total: segments.length, counts });
    this.show();
  }

  reload() {
    this.select([]);
    return tried(() => this.fetch({ anew: true }), this.place);
  }

  append() {
    return tried(async () => {
      const page = await api(this.query(this.list.length, HEAVY));
      const known = new Set(this.list.map((s) => s.id));
      this.list.push(...page.segments.filter((s) => !known.has(s.id)));
      Object.assign(this, { total: page.total, counts: page.counts });
      this.show();
    }, this.place);
  }

  show() {
    const here = this.scope.value === "clip";
    arrange(
      this.place,
      this.list.map((s) => this.row(s, here)),
    );
    const live = new Set(this.list.map((s) => s.id));
    let lost = 0;
    for (const id of this.rows.keys())
      if (!live.has(id)) {
        this.rows.delete(id);
        lost += this.selected.delete(id); // somebody decided on it: it is selected no more
      }
    if (lost) this.onselect();
    this.more.hidden = this.list.length >= this.total;
    const { open = 0, confirmed = 0, dismissed = 0 } = this.counts ?? {},
      all = open + confirmed + dismissed;
    this.done.textContent = all ? `${confirmed + dismissed} of ${all} done` + (open ? `, ${open} open` : "") : "";
    this.faint();
    this.nothing(here, all);
  }

  /** Why the list is empty, and the way out. */
  async nothing(here, all) {
    fill(this.empty);
    if (this.list.length) return;
    const open = this.state.value === "open",
      elsewhere = here && (open || !all) ? (await api("/segments?status=open&count=1")).total : 0;
    if (this.list.length) return;
    const { job, analysed, name } = this.clip() ?? {};
    const words =
      here && !all && !analysed
        ? `${name} was not analysed${job?.error ? `: ${job.error}` : " yet"}. `
        : here && !all
          ? `Nothing was flagged in ${this.clip()?.name}. `
          : here && open
            ? `Nothing is open in ${this.clip()?.name}. `
            : open && all
              ? "Nothing open is left here."
              : open
                ? "Nothing is open. Drop clips under Analyse, and what is flagged comes here."
                : "No segments here: nothing reached the threshold, or the filters leave nothing.";
    fill(
      this.empty,
      words,
      elsewhere
        ? el("button", { type: "button", onclick: () => this.everywhere() }, `Show ${elsewhere} open in other clips`)
        : null,
    );
  }

  everywhere() {
    this.scope.value = "all";
    this.state.value = "open";
    return this.reload().then(() => this.list.length && this.onchoose(this.list[0].id));
  }

  row(s, here) {
    const text = JSON.stringify([here, s]),
      old = this.rows.get(s.id);
    if (old?.text === text) return old.made;
    const made = old?.made ?? el("li", { "data-id": s.id });
    const own = el("button", {
      type: "button",
      "aria-current": s.id === this.chosen ? "true" : null,
      onclick: (event) => this.press(event, s.id),
    });
    const there = wall(s.starts_at);
    fill(
      own,
      preview(s, own),
      el(
        "span",
        { class: "what" },
        el(
          "span",
          { class: "first" },
          status(s.status, { words: false }),
          el("strong", {}, called(s)),
          el("span", { class: "peak", title: "score" }, s.peak.toFixed(2)),
        ),
        el(
          "span",
          { class: "second model" },
          s.reading ? s.reading.text : s.origin === "person" ? `marked by ${s.author}` : "not explained yet",
        ),
        el(
          "span",
          { class: "third" },
          here ? null : el("span", { class: "name" }, s.name),
          el(
            "span",
            { title: there ? `${there.day} ${there.time}` : "" },
            there ? `${there.day.slice(5)} ${there.time}` : `${clock(s.start, 0)}–${clock(s.end, 0)}`,
          ),
          s.camera ? el("span", {}, s.camera) : null,
          s.assigned ? el("span", { class: "by" }, `${s.assigned}'s`) : null,
          s.decided_by ? el("span", { class: "by" }, `by ${s.decided_by}`) : null,
          s.exported ? el("span", { class: "by" }, "exported") : null,
          el("span", { class: "by eyes" }),
        ),
      ),
    );
    const focused = made.contains(document.activeElement) && document.activeElement.tagName;
    const box = el("input", {
      type: "checkbox",
      class: "pick",
      checked: this.selected.has(s.id),
      "aria-label": `Select ${called(s)} at ${clock(s.start)}`,
      onclick: (event) => this.pick(s.id, event.shiftKey),
    });
    fill(made, box, own);
    made.className = s.status;
    if (focused === "BUTTON") own.focus({ preventScroll: true });
    else if (focused === "INPUT") box.focus({ preventScroll: true });
    this.rows.set(s.id, { text, made });
    return made;
  }

  press(event, id) {
    if (event.shiftKey) this.pick(id, true);
    else if (event.ctrlKey || event.metaKey) this.pick(id, false);
    else this.onchoose(id);
  }

  /** Select one more or one less; range: all from the last one on. Each is kept with the version that was seen. */
  pick(id, range) {
    const ids = this.list.map((s) => s.id),
      from = ids.indexOf(this.last ?? this.chosen),
      at = ids.indexOf(id),
      chosen = new Map(this.selected);
    if (range && from >= 0)
      for (const s of this.list.slice(Math.min(from, at), Math.max(from, at) + 1)) chosen.set(s.id, s.version);
    else if (chosen.has(id)) chosen.delete(id);
    else if (at >= 0) chosen.set(id, this.list[at].version);
    this.last = id;
    this.select(chosen);
  }

  /** chosen: [id, version] of each. */
  select(chosen) {
    this.selected = new Map(chosen);
    for (const [id, { made }] of this.rows) made.querySelector(".pick").checked = this.selected.has(id);
    this.onselect();
  }

  /** Every segment of the filters, shown or not. */
  selectAll() {
    return tried(async () => {
      const { ids } = await api("/segments/ids?" + new URLSearchParams(this.filter));
      this.select(ids.slice(0, MOST));
    }, this.place);
  }

  showBulk(acts) {
    const count = this.selected.size;
    this.bulk.hidden = !count;
    if (!count) return;
    fill(
      this.bulk,
      el("strong", {}, plural(count, "selected", "selected")),
      acts,
      count < this.total ? button(`All ${Math.min(this.total, MOST)}`, () => this.selectAll()) : null,
      button("None", () => this.select([])),
    );
  }

  /** Mark the chosen row; scroll: bring it on screen. */
  mark(id, scroll = false) {
    this.chosen = id;
    for (const [own, { made }] of this.rows) {
      const row = made.querySelector("button");
      if (own === id) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      if (own === id && scroll) within(this.place.parentElement, made);
    }
  }

  /** A segment is not what it was. */
  patch(fresh) {
    const at = this.list.findIndex((s) => s.id === fresh.id);
    if (at < 0) return;
    const before = this.list[at].status;
    this.list[at] = fresh;
    if (this.counts && before !== fresh.status) {
      this.counts[before]--;
      this.counts[fresh.status]++;
    }
    this.show();
  }

  /** Who looks at what, beside its row. */
  eyes(people, own) {
    for (const [id, { made }] of this.rows) {
      const names = people.filter((p) => p.segment === id && p.name !== own).map((p) => p.name);
      const place = made.querySelector(".eyes");
      if (place.textContent !== names.join(", ")) fill(place, names.length ? `${names.join(", ")} looks at it` : "");
    }
  }

  faint(low = this.low ?? new Set()) {
    this.low = low;
    for (const [id, { made }] of this.rows) made.classList.toggle("faint", low.has(id));
  }

  get(id) {
    return this.list.find((s) => s.id === id);
  }

  /** The next open segment after one, going round, but for some; null where none is left. */
  nextOpen(id, but = new Set()) {
    const at = this.list.findIndex((s) => s.id === id);
    return (
      [...this.list.slice(at + 1), ...this.list.slice(0, Math.max(0, at))].find(
        (s) => s.status === "open" && !but.has(s.id),
      ) ?? null
    );
  }

  beside(id, by) {
    const at = this.list.findIndex((s) => s.id === id);
    return this.list[at < 0 ? (by > 0 ? 0 : this.list.length - 1) : at + by] ?? null;
  }
}

/** Bring an element into sight within a box that scrolls; the page itself stays where it is. */
function within(box, element) {
  const inner = element.getBoundingClientRect(),
    outer = box.getBoundingClientRect();
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top;
  else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom;
}

// Day: cameras as lanes over the hours; what was flagged as marks by status; what could not be seen, and where nothing was recorded.
import { api } from "./api.js";
import { SHAPES, button, choice, el, fill, options, shown, tried } from "./dom.js";
import { calmly, listen } from "./live.js";
import { go, to } from "./rooms.js";
import { HERE, clock, plural } from "./times.js";

const MOST = 3000; // marks drawn; the highest scores first

export async function start(root) {
  const day = new Day(root);
  return { arrive: (params) => day.arrive(params) };
}

class Day {
  constructor(root) {
    Object.assign(this, { root, found: null, view: [0, 24] });
    this.pick = choice([], { "aria-label": "Day", onchange: () => go("day", { day: this.pick.value }) });
    this.told = el("span", { class: "small", role: "status" });
    this.lanes = el("div", { class: "lanes" });
    this.undated = el("div", {});
    fill(
      root,
      el(
        "div",
        { class: "vlad day" },
        el(
          "div",
          { class: "row tight heading" },
          el("h2", {}, "Day"),
          button("The day before", () => this.beside(1), { picture: "chevron-left", words: false }),
          this.pick,
          button("The day after", () => this.beside(-1), { picture: "chevron-right", words: false }),
          this.told,
          el("span", { class: "gap" }),
          button("Zoom in", () => this.zoom(2), { picture: "zoom-in", words: false }),
          button("Zoom out", () => this.zoom(0.5), { picture: "zoom-out", words: false }),
          button("Earlier", () => this.pan(-0.5), { picture: "chevron-left", words: false }),
          button("Later", () => this.pan(0.5), { picture: "chevron-right", words: false }),
          button("Whole day", () => this.zoom(0), { picture: "maximize-2", words: false }),
        ),
        this.lanes,
        this.undated,
      ),
    );
    this.lanes.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.shiftKey) return;
        event.preventDefault();
        if (event.shiftKey) this.pan((event.deltaY || event.deltaX) / 600);
        else this.zoom(Math.exp(-event.deltaY / 300));
      },
      { passive: false },
    );
    const again = calmly(() => this.found && this.load(this.found.day));
    listen((change) => shown(root) && ["segment", "video", "all"].includes(change.kind) && again());
  }

  async arrive({ day }) {
    await tried(async () => {
      const days = await api("/days?" + new URLSearchParams({ zone: HERE }));
      options(
        this.pick,
        days.map((d) => [d.day, `${d.day} · ${plural(d.clips, "clip")}, ${d.open} open`]),
      );
      const asked = /^\d{4}-\d\d-\d\d$/.test(day ?? "") && !isNaN(Date.parse(day)) ? day : undefined,
        wanted = asked ?? this.found?.day ?? days[0]?.day;
      if (wanted && days.some((d) => d.day === wanted)) this.pick.value = wanted;
      await this.load(wanted ?? new Date().toISOString().slice(0, 10));
    }, this.root);
  }

  beside(by) {
    const at = this.pick.selectedIndex + by;
    if (at >= 0 && at < this.pick.options.length) go("day", { day: this.pick.options[at].value });
  }

  async load(day) {
    this.found = await api(`/days/${day}?` + new URLSearchParams({ zone: HERE }));
    this.show();
  }

  /** factor 0: the whole day. */
  zoom(factor) {
    const [a, b] = this.view,
      middle = this.middle(),
      span = factor ? Math.min(24, Math.max(0.05, (b - a) / factor)) : 24,
      start = Math.min(24 - span, Math.max(0, middle - span / 2));
    this.view = [start, start + span];
    this.show();
  }

  /** Where to zoom: at the mark nearest to the middle of what is shown, or the middle itself. Hours of the day. */
  middle() {
    const [a, b] = this.view,
      centre = (a + b) / 2,
      marks = this.found.lanes
        .flatMap((l) => l.segments.map((s) => (s.start - this.found.start) / 3600))
        .filter((h) => h >= a && h <= b);
    return marks.sort((x, y) => Math.abs(x - centre) - Math.abs(y - centre))[0] ?? centre;
  }

  pan(share) {
    const [a, b] = this.view,
      span = b - a,
      start = Math.min(24 - span, Math.max(0, a + share * span));
    this.view = [start, start + span];
    this.show();
  }

  show() {
    const { found } = this,
      [a, b] = this.view,
      from = found.start + a * 3600,
      until = found.start + b * 3600,
      share = (stamp) => `${((Math.min(until, Math.max(from, stamp)) - from) / (until - from)) * 100}%`,
      wide = (start, end) => `max(2px, ${((Math.min(until, end) - Math.max(from, start)) / (until - from)) * 100}%)`,
      within = (s) => s.end > from && s.start < until,
      all = found.lanes.flatMap((l) => l.segments);
    this.told.textContent = all.length
      ? `${all.filter((s) => s.status !== "open").length} of ${all.length} done`
      : found.lanes.length
        ? "nothing flagged"
        : "nothing was recorded that day, as far as is known";
    const least = all.length > MOST ? all.map((s) => s.peak).sort((x, y) => y - x)[MOST] : 0;
    fill(
      this.lanes,
      found.lanes.length ? this.hours(share, from, until) : null,
      found.lanes.map((lane) =>
        el(
          "section",
          { class: "lane", "aria-label": lane.camera || "no camera named" },
          el(
            "h3",
            {},
            lane.camera || "no camera named",
            el("span", { class: "small" }, ` ${lane.segments.filter((s) => s.status === "open").length} open `),
            el(
              "a",
              {
                class: "small",
                href: `/api/days/${found.day}/counts.csv?` + new URLSearchParams({ camera: lane.camera, zone: HERE }),
                download: "",
                "aria-label": `Counts of ${lane.camera || "clips without a camera"} by zone and line as a table`,
              },
              "Counts (CSV)",
            ),
          ),
          el(
            "div",
            { class: "track" },
            lane.clips.filter(within).map((c) =>
              el("a", {
                class: "clip",
                href: to("review", { video: c.id }),
                title: c.name,
                "aria-label": `Clip ${c.name}`,
                style: { left: share(c.start), width: wide(c.start, c.end) },
              }),
            ),
            lane.clips
              .flatMap((c) => c.gaps.map(([start, end]) => ({ start, end })).filter(within))
              .map((g) =>
                el("span", {
                  class: "hole",
                  title: "could not be decoded",
                  style: { left: share(g.start), width: wide(g.start, g.end) },
                }),
              ),
            lane.segments.filter((s) => within(s) && s.peak >= least).map((s) => this.mark(s, share)),
          ),
        ),
      ),
    );
    fill(
      this.undated,
      found.undated.length
        ? [
            el("h3", {}, "Without a known time"),
            el(
              "ul",
              {},
              found.undated.map((c) =>
                el("li", {}, el("a", { href: to("review", { video: c.id }) }, c.name), c.camera ? ` ${c.camera}` : ""),
              ),
            ),
          ]
        : null,
    );
  }

  hours(share, from, until) {
    const hour = (until - from) / 3600,
      step = [0.25, 0.5, 1, 2, 3, 6].find((s) => hour / s <= Math.max(3, (this.lanes.clientWidth || 800) / 70)) ?? 6,
      ticks = [];
    for (
      let at = Math.ceil((from - this.found.start) / 3600 / step) * step;
      at <= (until - this.found.start) / 3600;
      at += step
    )
      ticks.push(
        el(
          "span",
          { style: { left: share(this.found.start + at * 3600) } },
          `${String(Math.floor(at)).padStart(2, "0")}:${String(Math.round((at % 1) * 60)).padStart(2, "0")}`,
        ),
      );
    return el("div", { class: "hours", "aria-hidden": "true" }, ticks);
  }

  mark(s, share) {
    const at = new Date(s.start * 1000).toLocaleTimeString(undefined, { hour12: false }),
      words = `${s.status} ${s.label || "segment"} at ${at}, ${clock(s.end - s.start, 0)} long, score ${s.peak.toFixed(2)}`;
    return el(
      "a",
      {
        class: `mark ${s.status} ${s.origin}`,
        href: to("review", { segment: s.id }),
        title: words,
        "aria-label": words,
        style: { left: share(s.start) },
      },
      SHAPES[s.status],
    );
  }
}

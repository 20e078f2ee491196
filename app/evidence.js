// Evidence: confirmed segments as one zip with clips, a PDF, tables and the SHA-256 of each file. It is made on the server; leaving the room stops nothing.
import { api, post } from "./api.js";
import { button, check, el, fill, icon, labelled, say, shown, status, tried } from "./dom.js";
import { calmly, listen } from "./live.js";
import { privacy, reason } from "./originals.js";
import { called } from "./queue.js";
import { to } from "./rooms.js";
import { picture } from "./sprites.js";
import { bytes, clock, plural, wall, when } from "./times.js";

const MOST = 200; // segments of a case
const LISTED = 2000;

export async function start(root) {
  const evidence = new Evidence(root);
  return { arrive: (params) => evidence.arrive(params) };
}

class Evidence {
  constructor(root) {
    Object.assign(this, { root, chosen: new Set(), found: [], params: {} });
    this.title = el("input", { maxLength: 300, placeholder: "Case 2026-117, front door" });
    this.margin = el("input", { type: "number", min: "0", max: "60", step: "0.5", value: "2" });
    const load = () => tried(() => this.load());
    this.undecided = el("input", { type: "checkbox", onchange: load });
    this.originals = el("input", { type: "checkbox" });
    this.uncovered = el("input", { type: "checkbox" });
    this.open = check("people uncovered", this.uncovered);
    this.before = el("input", { type: "checkbox", checked: true, onchange: load });
    this.rows = el("tbody", {});
    this.told = el("span", { class: "small", role: "status" });
    this.all = el("input", {
      type: "checkbox",
      "aria-label": "Choose all",
      onchange: () => {
        const on = this.all.checked;
        for (const box of this.boxes()) this.pick(box.value, (box.checked = on));
      },
    });
    this.make = button("Export", () => tried(() => this.create(), this.make), { picture: "download", class: "main" });
    this.cases = el("tbody", {});
    fill(
      root,
      el(
        "div",
        { class: "vlad evidence" },
        el("h2", {}, "A new case"),
        el(
          "div",
          { class: "row" },
          labelled("Title of the case", this.title),
          labelled("Seconds before and after", this.margin),
          check("the whole clips too", this.originals),
          this.open,
          check("also what nobody confirmed", this.undecided),
          check("also what was exported before", this.before),
        ),
        el("div", { class: "row tight" }, this.make, this.told),
        el(
          "table",
          { class: "cards" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { scope: "col" }, this.all),
              ["Segment", "Clip", "When", "Score", "Decided by", "Exported"].map((h) => el("th", { scope: "col" }, h)),
            ),
          ),
          this.rows,
        ),
        el("h2", {}, "Cases so far"),
        el(
          "table",
          { class: "cards" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["Case", "Made", "By", "Segments", "Size", "Files"].map((h) => el("th", { scope: "col" }, h)),
            ),
          ),
          this.cases,
        ),
      ),
    );
    const again = calmly(() => this.load());
    listen((change) => shown(root) && ["export", "segment", "all"].includes(change.kind) && again());
    setInterval(() => shown(root) && this.busy && tried(() => this.loadCases()), 1000);
  }

  async arrive(params) {
    this.params = params;
    privacy().then(({ cover, originals }) => {
      this.open.hidden = cover === "none" || !originals;
      this.originals.parentElement.hidden = cover !== "none" && !originals;
    });
    if (params.segment) this.chosen = new Set([params.segment]);
    await tried(() => this.load(), this.root);
  }

  boxes() {
    return [...this.rows.querySelectorAll("input")];
  }

  pick(id, on) {
    if (on) this.chosen.add(id);
    else this.chosen.delete(id);
    this.count();
  }

  count() {
    const n = this.chosen.size;
    this.make.disabled = !n || n > MOST;
    this.told.textContent =
      n > MOST
        ? `${n} chosen; a case holds ${MOST} at most`
        : n
          ? `${plural(n, "segment")} chosen`
          : this.found.length
            ? "Choose segments."
            : "Nothing is confirmed yet.";
    this.all.checked = n > 0 && n >= this.boxes().length;
  }

  async load() {
    const { segment, video } = this.params,
      query = {
        status: this.undecided.checked ? "" : "confirmed",
        by: "newest",
        count: "500",
        ...(video ? { video } : {}),
      },
      found = [];
    for (let total = Infinity; found.length < total && found.length < LISTED;) {
      const page = await api("/segments?" + new URLSearchParams({ ...query, first: String(found.length) }));
      ({ total } = page);
      found.push(...page.segments);
      if (!page.segments.length) break;
    }
    if (segment && !found.some((s) => s.id === segment)) {
      found.unshift(await api(`/segments/${segment}`));
      this.undecided.checked ||= found[0].status !== "confirmed";
    }
    this.found = found.filter((s) => this.before.checked || !s.exported || s.id === segment);
    const here = new Set(this.found.map((s) => s.id));
    for (const id of this.chosen) if (!here.has(id)) this.chosen.delete(id);
    const had = document.activeElement?.value;
    fill(
      this.rows,
      this.found.map((s) => this.row(s)),
    );
    this.boxes()
      .find((b) => b.value === had)
      ?.focus();
    this.count();
    await this.loadCases();
  }

  row(s) {
    const there = wall(s.starts_at);
    return el(
      "tr",
      {},
      el(
        "td",
        {},
        el("input", {
          type: "checkbox",
          value: s.id,
          checked: this.chosen.has(s.id),
          "aria-label": `${s.name} at ${clock(s.start)}`,
          onchange: (event) => this.pick(s.id, event.target.checked),
        }),
      ),
      el(
        "td",
        { "data-label": "Segment", class: "clip" },
        picture(s.video, s.peak_time),
        el(
          "span",
          {},
          status(s.status),
          " ",
          el(
            "a",
            { href: to("review", { segment: s.id }) },
            s.status === "confirmed" ? called(s).replace(/\?$/, "") : called(s),
          ),
        ),
      ),
      el("td", { "data-label": "Clip" }, s.name, s.camera ? el("span", { class: "small" }, ` ${s.camera}`) : null),
      el(
        "td",
        { "data-label": "When" },
        there ? `${there.day} ${there.time} · ` : "",
        `${clock(s.start)}–${clock(s.end)}`,
      ),
      el("td", { "data-label": "Score" }, s.origin === "person" ? "by hand" : s.peak.toFixed(2)),
      el("td", { "data-label": "Decided by" }, s.decided_by),
      el("td", { "data-label": "Exported" }, s.exported ? `✓ ${when(s.exported)}` : ""),
    );
  }

  async loadCases() {
    const made = await api("/exports");
    this.busy = made.some((c) => c.status === "queued" || c.status === "running");
    for (const c of made.filter((c) => c.id === this.awaited && c.status === "done")) {
      this.awaited = null;
      say("The case is ready.");
      fetched(c, this.reason);
      this.load().catch(() => {}); // what was exported is marked so
    }
    const text = JSON.stringify(made);
    if (text === this.casesText) return;
    this.casesText = text;
    const open = new Set([...this.cases.querySelectorAll("details[open]")].map((d) => d.dataset.id));
    fill(
      this.cases,
      made.map((c) => this.caseRow(c, open)),
    );
  }

  caseRow(c, open) {
    const title = c.title || "no title";
    return el(
      "tr",
      {},
      el(
        "td",
        { "data-label": "Case" },
        c.status !== "done" || !c.size
          ? title
          : c.covered
            ? el("a", { href: `/api/exports/${c.id}/file`, download: "" }, icon("download"), ` ${title}`)
            : button(`${title}, uncovered`, () => this.fetchOpen(c), { picture: "eye" }),
        c.status === "failed" ? el("div", { class: "why" }, c.error) : null,
        c.status === "queued" || c.status === "running"
          ? [" ", el("progress", { max: c.total || 1, value: c.done || 0, "aria-label": `making ${title}` })]
          : null,
      ),
      el("td", { "data-label": "Made" }, when(c.at)),
      el("td", { "data-label": "By" }, c.by),
      el("td", { "data-label": "Segments" }, c.segments.length),
      el("td", { "data-label": "Size" }, c.size ? bytes(c.size) : c.status === "done" ? "gone" : c.status),
      el(
        "td",
        { "data-label": "Files" },
        c.status === "done"
          ? el(
              "details",
              { "data-id": c.id, open: open.has(c.id) },
              el("summary", {}, `${Object.keys(c.manifest).length} files and their SHA-256`),
              el(
                "pre",
                { tabIndex: 0 },
                Object.entries(c.manifest)
                  .map(([name, sum]) => `${sum}  ${name}`)
                  .join("\n"),
              ),
            )
          : null,
      ),
    );
  }

  /** A case in which people are not covered, by who may, with a reason. */
  async fetchOpen(c) {
    const { originals } = await privacy();
    if (!originals) {
      say("People in this case are not covered; it is open to those who may see originals.", { wrong: true });
      return;
    }
    const why = await reason("Fetch a case in which people can be seen?");
    if (why !== null) fetched(c, why);
  }

  /** Why a case shows people uncovered; "" where it does not, null where somebody thinks better of it. */
  async why() {
    const { cover } = await privacy();
    if (cover === "none" || !(this.uncovered.checked || this.originals.checked)) return "";
    return reason("A case in which people can be seen?");
  }

  async create() {
    const why = await this.why();
    if (why === null) return;
    this.reason = why;
    const asked = await post("/exports", {
      segments: this.found.map((s) => s.id).filter((id) => this.chosen.has(id)),
      title: this.title.value,
      margin: Number(this.margin.value) || 0,
      undecided: this.undecided.checked,
      originals: this.originals.checked,
      uncovered: this.uncovered.checked,
      reason: why,
    });
    this.awaited = asked.id;
    this.busy = true;
    say("The case is being made; you may leave this room.");
    await this.loadCases();
  }
}

/** A case as a file; reason: why, where people in it are not covered. */
function fetched(c, reason) {
  const why = reason ? "?" + new URLSearchParams({ reason }) : "";
  el("a", { href: `/api/exports/${c.id}/file${why}`, download: "" }).click();
}

// The log: who did what, when, to which clip; filtered, in pages, and as a table to take away.
import { api } from "./api.js";
import { button, choice, el, fill, labelled, options, tried } from "./dom.js";
import { to } from "./rooms.js";
import { clock, when } from "./times.js";

const PAGE = 50;

/** A value of a row's detail, without brackets and quotes. */
function inWords(value) {
  if (value === null || value === "") return "none";
  if (Array.isArray(value)) return value.map(inWords).join(", ") || "none";
  if (typeof value !== "object") return String(value);
  return Object.entries(value)
    .map(([k, v]) => `${k} ${inWords(v)}`)
    .join(", ");
}

export class Log {
  constructor() {
    const again = () => tried(() => this.load(0));
    this.user = el("input", { maxLength: 200, placeholder: "anybody", onchange: again });
    this.action = choice([["", "everything"]], { onchange: again });
    this.day = el("input", { type: "date", onchange: again });
    this.told = el("p", { role: "status" });
    this.rows = el("tbody", {});
    this.csv = el("a", {}, "as CSV");
    this.newer = button("Newer", () => tried(() => this.load(Math.max(0, this.first - PAGE))), {
      picture: "chevron-left",
    });
    this.older = button("Older", () => tried(() => this.load(this.first + PAGE)), { picture: "chevron-right" });
    this.element = el(
      "section",
      {},
      el("h2", {}, "Log"),
      this.told,
      el(
        "div",
        { class: "row" },
        labelled("Who", this.user),
        labelled("What", this.action),
        labelled("Day", this.day),
        this.csv,
      ),
      el(
        "table",
        { class: "cards" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["Number", "When", "Who", "What", "Of", "More"].map((h) => el("th", { scope: "col" }, h)),
          ),
        ),
        this.rows,
      ),
      el("p", { class: "row tight" }, this.newer, this.older),
    );
  }

  get filter() {
    return { user: this.user.value.trim(), action: this.action.value, day: this.day.value };
  }

  async load(first) {
    const found = await api(
      "/audit?" + new URLSearchParams({ ...this.filter, first: String(first), count: String(PAGE) }),
    );
    this.first = first;
    this.csv.href = "/api/audit.csv?" + new URLSearchParams(this.filter);
    this.csv.setAttribute("download", "vlad-log.csv");
    fill(
      this.told,
      found.broken === null || found.broken === undefined
        ? `${found.rows} rows, one chain. `
        : `Row ${found.broken} was changed: the chain is broken. `,
      el("span", { class: "small code" }, found.digest.slice(0, 16)),
    );
    options(this.action, [["", "everything"], ...(found.actions ?? []).map((a) => [a, a])]);
    fill(
      this.rows,
      found.log.map((r) => this.row(r)),
    );
    this.newer.disabled = first === 0;
    this.older.disabled = first + PAGE >= found.total;
  }

  row(r) {
    const more = [
      r.reason,
      ...Object.entries(r.detail ?? {})
        .filter(([k]) => !["reason", "name"].includes(k))
        .map(([k, v]) => `${k}: ${inWords(v)}`),
    ]
      .filter(Boolean)
      .join("; ");
    const words =
      [r.name, typeof r.start === "number" ? clock(r.start) : ""].filter(Boolean).join(" at ") || r.target.slice(0, 12);
    const href = r.segment ? to("review", { segment: r.segment }) : r.video ? to("review", { video: r.video }) : null;
    return el(
      "tr",
      {},
      el("td", { "data-label": "Number" }, r.number),
      el("td", { "data-label": "When" }, when(r.at)),
      el("td", { "data-label": "Who" }, r.user),
      el("td", { "data-label": "What" }, r.action),
      el("td", { "data-label": "Of" }, href ? el("a", { href }, words) : words),
      el("td", { "data-label": "More", class: "small" }, more.length > 200 ? `${more.slice(0, 200)}…` : more),
    );
  }
}

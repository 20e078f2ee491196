// Evidence: confirmed segments as one zip with clips, a PDF, tables and the SHA-256 of each file.
import { api, bytes, clock, el, fill, labelled, room, say, status, stream, tried, when } from "./common.js";

const MOST = 200;

export function start(root) {
  const title = el("input", { maxLength: 300, placeholder: "Case 2026-117, front door" });
  const margin = el("input", { type: "number", min: "0", max: "60", step: "0.5", value: "2" });
  const undecided = el("input", { type: "checkbox", onchange: () => load() }),
    originals = el("input", { type: "checkbox" }),
    done = el("input", { type: "checkbox", checked: true, onchange: () => load() });
  const rows = el("tbody", {}),
    told = el("p", { role: "status" }),
    bar = el("progress", { hidden: true, "aria-label": "Making the case" });
  const all = el("input", {
    type: "checkbox",
    "aria-label": "Choose all",
    onchange: () => {
      for (const box of boxes()) box.checked = all.checked;
      count();
    },
  });
  const make = el("button", { type: "button", class: "main", onclick: () => tried(create) }, "Export");
  const cases = el("tbody", {});
  fill(
    root,
    el(
      "div",
      { class: "vlad evidence" },
      el(
        "div",
        { class: "row" },
        labelled("Title of the case", title),
        labelled("Seconds before and after", margin),
        el("label", { class: "check" }, originals, " the whole clips too"),
        el("label", { class: "check" }, undecided, " also what nobody confirmed"),
        el("label", { class: "check" }, done, " also what was exported before"),
      ),
      el("div", { class: "row tight" }, make, bar, told),
      el(
        "table",
        {},
        el("caption", {}, "Segments"),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, all),
            ["Status", "Clip", "From", "To", "Score", "Class", "By", "Exported"].map((h) =>
              el("th", { scope: "col" }, h),
            ),
          ),
        ),
        rows,
      ),
      el(
        "table",
        {},
        el("caption", {}, "Cases so far"),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["Made", "By", "Segments", "Size", "Files"].map((h) => el("th", { scope: "col" }, h)),
          ),
        ),
        cases,
      ),
    ),
  );

  const boxes = () => [...rows.querySelectorAll("input")];
  const chosen = () =>
    boxes()
      .filter((b) => b.checked)
      .map((b) => b.value);
  function count() {
    const n = chosen().length;
    make.disabled = !n || n > MOST;
    told.textContent =
      n > MOST
        ? `${n} chosen; a case holds ${MOST} at most`
        : n
          ? `${n} chosen`
          : boxes().length
            ? "Choose segments."
            : "Nothing is confirmed yet.";
  }

  async function load({ segment, video } = {}) {
    const wanted = undecided.checked ? "" : "confirmed";
    const found = [];
    for (let total = Infinity; found.length < total && found.length < 2000;) {
      const page = await api(
        "/segments?" +
          new URLSearchParams({
            status: wanted,
            by: "newest",
            first: String(found.length),
            count: "500",
            ...(video ? { video } : {}),
          }),
      );
      total = page.total;
      found.push(...page.segments);
      if (!page.segments.length) break;
    }
    if (segment && !found.some((s) => s.id === segment)) {
      found.unshift(await api(`/segments/${segment}`));
      undecided.checked ||= found[0].status !== "confirmed";
    }
    const shown = found.filter((s) => done.checked || !s.exported || s.id === segment);
    fill(
      rows,
      shown.map((s) =>
        el(
          "tr",
          {},
          el(
            "td",
            {},
            el("input", {
              type: "checkbox",
              value: s.id,
              checked: segment ? s.id === segment : false,
              "aria-label": `${s.name} at ${clock(s.start)}`,
              onchange: count,
            }),
          ),
          el("td", {}, status(s.status)),
          el("td", {}, el("a", { href: `#review?segment=${s.id}` }, s.name)),
          el("td", {}, clock(s.start)),
          el("td", {}, clock(s.end)),
          el("td", {}, s.peak.toFixed(2)),
          el("td", {}, s.label),
          el("td", {}, s.decided_by),
          el("td", {}, s.exported ? `✓ ${when(s.exported)}` : ""),
        ),
      ),
    );
    all.checked = false;
    count();
    const made = await api("/exports");
    fill(
      cases,
      made.map((c) =>
        el(
          "tr",
          {},
          el("td", {}, c.size ? el("a", { href: `/api/exports/${c.id}/file`, download: "" }, when(c.at)) : when(c.at)),
          el("td", {}, c.by),
          el("td", {}, c.segments.length),
          el("td", {}, c.size ? bytes(c.size) : "gone"),
          el(
            "td",
            {},
            el(
              "details",
              {},
              el("summary", {}, `${Object.keys(c.manifest).length} files and their SHA-256`),
              el(
                "pre",
                {},
                Object.entries(c.manifest)
                  .map(([name, sum]) => `${sum}  ${name}`)
                  .join("\n"),
              ),
            ),
          ),
        ),
      ),
    );
  }

  async function create() {
    const segments = chosen();
    make.disabled = true;
    bar.hidden = false;
    bar.removeAttribute("value");
    try {
      const last = await stream(
        "/exports",
        {
          segments,
          title: title.value,
          margin: Number(margin.value) || 0,
          undecided: undecided.checked,
          originals: originals.checked,
        },
        (line) => {
          if (line.total) {
            bar.max = line.total;
            bar.value = line.done;
            told.textContent = `${line.done} of ${line.total}`;
          }
        },
      );
      say("The case is ready.");
      await load();
      el("a", { href: `/api/exports/${last.id}/file`, download: "" }).click();
    } finally {
      bar.hidden = true;
      count();
    }
  }

  room(root, "evidence", (params) => tried(() => load(params), root));
}

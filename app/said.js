// What was said of a segment, by the model and by people: a panel of parts. Words are only words.
import { api, patch, remove } from "./api.js";
import { button, choice, el, fill, labelled, options, say, status, tried } from "./dom.js";
import { Draft, drafts } from "./drafts.js";
import { Explained } from "./explained.js";
import { Part } from "./part.js";
import { Remarks } from "./remarks.js";
import { go } from "./rooms.js";
import { Talk } from "./talk.js";
import { clock, seconds, wall, when } from "./times.js";

const SCORERS = " "; // stands for the scorer's class in the choice; no class is called so

export class Said {
  /** onseek(s): to a frame. onchange(segment): it is not what it was. onspan(id, start, end): its ends are to move. */
  constructor({ onseek, onchange, onspan }) {
    Object.assign(this, { onseek, onchange, onspan, found: null, labels: [], drafts: [] });
    this.element = el("section", { class: "said", tabIndex: -1, "aria-label": "Explanation" });
    this.otherwise = el("p", {});
    this.talk = new Talk();
    this.explained = new Explained(this);
    this.remarks = new Remarks(this);
    this.head = new Part(
      (s) => [
        s.start,
        s.end,
        s.starts_at,
        s.status,
        s.peak,
        s.label,
        s.label_by,
        s.span,
        s.reading,
        s.origin,
        s.assigned,
        s.rules,
      ],
      (s) => this.headOf(s),
    );
    this.decisions = new Part(
      (s) => [s.verdicts, s.spans],
      (s) => decisionsOf(s),
    );
    this.ways = new Part(
      (s) => [s.exported, s.origin],
      (s) => this.waysOf(s),
    );
    this.whole = el(
      "div",
      { hidden: true },
      this.head.place,
      this.spanning(),
      this.explained.element,
      this.decisions.place,
      this.remarks.element,
      this.talk.element,
      this.ways.place,
    );
    fill(this.element, this.otherwise, this.whole);
  }

  /** found: a segment with what belongs to it; null: say `otherwise`. */
  tell(found, otherwise = "") {
    const other = found?.id !== this.found?.id;
    this.found = found;
    this.otherwise.textContent = found ? "" : otherwise;
    this.whole.hidden = !found;
    for (const draft of this.drafts) draft.show(found?.id ?? null);
    this.talk.show(found?.id ?? null);
    if (!found) return;
    if (other) this.element.scrollTop = 0;
    this.showSpan(found, other);
    this.explained.tell(found, other);
    for (const part of [this.head, this.decisions, this.remarks, this.ways]) part.tell(found);
  }

  /** Send something about the segment on screen; its answer is the segment as it now is. */
  async send(work, where) {
    const { found } = this;
    const fresh = await tried(() => work(found), where);
    if (fresh?.id) this.onchange(fresh);
    return fresh;
  }

  draft(input, field) {
    const made = new Draft(input, field);
    this.drafts.push(made);
    return made;
  }

  headOf(s) {
    const looked = s.span ? s.span.label : s.label;
    const inside = `${clock(s.start)} to ${clock(s.end)}`,
      from = wall(s.starts_at);
    return [
      el(
        "h3",
        {},
        from ? `${from.time} to ${wall(s.starts_at, s.end - s.start).time} ` : `${inside} `,
        status(s.status),
      ),
      el(
        "p",
        { class: "small" },
        from ? `${inside} of the clip. ` : "",
        s.origin === "person"
          ? `Marked by ${s.author}. `
          : `Score ${s.peak.toFixed(2)} at ${clock(s.peak_time)}; a score is no probability. `,
        s.label_by && (s.label || s.origin === "model") ? `${s.label_by} calls it ${s.label || "no class"}. ` : "",
        s.origin === "person" || !looked || (s.reading && !s.reading.sure)
          ? ""
          : `To the scorer it looks most like ${looked}.`,
        s.assigned ? ` ${s.assigned} takes care of it.` : "",
      ),
      s.rules?.length
        ? el(
            "p",
            { class: "small" },
            s.rules.length > 1 ? "Rules of the camera held: " : "A rule of the camera held: ",
            s.rules.map((name, i) => [i ? ", " : "", el("strong", {}, name)]).flat(),
            ".",
          )
        : null,
    ];
  }

  /** Ends and class of the segment: nothing is changed before it is sent, and what was typed stays with its segment. */
  spanning() {
    const keep = () => {
      const { version } = drafted(this.found.id) ?? this.found; // as it was when the first of it was typed
      const values = [this.start, this.end, this.label].map((field) => field.value);
      drafts.set(this.found.id, "span", JSON.stringify({ values, version }));
    };
    const time = (name) => el("input", { size: 8, "aria-label": name, oninput: keep });
    this.start = time("Start");
    this.end = time("End");
    this.label = choice([["", "no class"]], { "aria-label": "Class", onchange: keep });
    this.modelsOwn = el("p", { class: "small" });
    this.again = button("The model's own again", () =>
      sent(() => patch(`/segments/${this.found.id}`, { own: true, version: this.found.version })),
    );
    const sent = async (work) => {
      const { id } = this.found,
        fresh = await this.send(work);
      if (!fresh) {
        const there = await tried(() => api(`/segments/${id}`)); // what is there now is seen, and saved over only then
        if (there && this.found.id === id) this.onchange(there);
        const kept = drafted(id);
        if (kept && this.found.id === id)
          drafts.set(id, "span", JSON.stringify({ ...kept, version: this.found.version }));
        return;
      }
      drafts.set(fresh.id, "span", "");
      if (this.found.id === fresh.id) this.showSpan(fresh, true);
      say(
        `Saved: ${clock(fresh.start)} to ${clock(fresh.end)}${fresh.label_by ? `, ${fresh.label || "no class"}` : ""}.`,
      );
    };
    const send = async () => {
      const { id, start, end } = this.found,
        { version } = drafted(id) ?? this.found,
        [a, b] = [seconds(this.start.value), seconds(this.end.value)];
      if (a === null || b === null || b <= a) {
        say("A span is two times such as 0:12.5, the first before the second.", { wrong: true });
        return;
      }
      const moved = {
          ...(this.start.value === clock(start) ? {} : { start: a }),
          ...(this.end.value === clock(end) ? {} : { end: b }),
        },
        body = { ...moved, ...(this.label.value === this.shown ? {} : { label: this.label.value }) };
      if (!Object.keys(body).length) {
        say("Nothing was changed.");
        return;
      }
      await sent(() => patch(`/segments/${id}`, { ...body, version }));
    };
    return el(
      "details",
      { class: "span" },
      el("summary", {}, "Span and class"),
      el(
        "form",
        {
          class: "row tight",
          onsubmit: (event) => {
            event.preventDefault();
            send();
          },
        },
        labelled("From", this.start),
        labelled("To", this.end),
        labelled("Class", this.label),
        el("button", {}, "Save"),
      ),
      this.modelsOwn,
      this.again,
    );
  }

  /** anew: whatever the fields hold; else what is being typed stays. */
  showSpan(s, anew) {
    const draft = drafted(s.id);
    const looked = s.span ? s.span.label : s.label,
      sure = !s.reading || s.reading.sure;
    this.again.hidden = !s.span;
    this.modelsOwn.textContent = s.span
      ? `The model's own: ${clock(s.span.start)} to ${clock(s.span.end)}${looked && sure ? `, ${looked}` : ""}.`
      : "";
    const classes = [...new Set([s.label, looked, draft?.values[2].trim(), ...this.labels])].filter(Boolean).sort(),
      models = sure ? `${looked || "none"}, by the scorer` : "the model is not sure",
      pairs = [...(s.label_by ? [] : [[SCORERS, models]]), ["", "no class"], ...classes.map((c) => [c, c])];
    if (JSON.stringify(pairs) !== this.choices) options(this.label, pairs);
    this.choices = JSON.stringify(pairs);
    this.shown = s.label_by ? s.label : SCORERS;
    if (draft && !anew) {
      if (s.label_by && draft.values[2] === SCORERS) this.label.value = s.label; // somebody named it meanwhile; this person did not
      return;
    }
    [this.start.value, this.end.value, this.label.value] = draft?.values ?? [clock(s.start), clock(s.end), this.shown];
  }

  waysOf(s) {
    return el(
      "p",
      { class: "row tight" },
      button("More like this", () => go("search", { like: s.id }), { picture: "search" }),
      button(s.exported ? "Export again" : "Export", () => go("evidence", { segment: s.id }), { picture: "download" }),
      s.origin === "person"
        ? button("Remove this mark", () => this.send((f) => remove(`/segments/${f.id}`)), { picture: "trash-2" })
        : null,
      s.exported ? el("span", { class: "small" }, `exported ${when(s.exported)}`) : null,
    );
  }
}

/** What was typed of a segment's span and class, and not saved: {values, version}, or null. */
function drafted(id) {
  try {
    const found = JSON.parse(drafts.get(id, "span"));
    return Array.isArray(found?.values) ? found : null;
  } catch {
    return null;
  }
}

/** Who decided what, and who moved it. */
function decisionsOf(s) {
  const told = [
    ...s.verdicts.map((v) => [
      v.at,
      v.undone,
      `${v.verdict} by ${v.by}, ${when(v.at)}${v.reason ? `: ${v.reason}` : ""}${v.undone ? " (undone)" : ""}`,
    ]),
    ...s.spans
      .slice(1)
      .map((c) => [
        c.at,
        false,
        `span ${clock(c.start)} to ${clock(c.end)} by ${c.by || "the model"}, ${when(c.at)}; ` +
          (c.label_by ? `${c.label || "no class"}, by ${c.label_by}` : "class by the scorer"),
      ]),
  ].sort((a, b) => b[0] - a[0]);
  return [
    el("h4", {}, "Reviewed by"),
    told.length
      ? el(
          "ul",
          {},
          told.map(([, undone, words]) => el("li", { class: undone ? "undone" : "" }, words)),
        )
      : el("p", { class: "small" }, "nobody yet"),
  ];
}

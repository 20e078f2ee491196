// What was said of a segment, by the model and by people: explanation, verdicts, notes, tags, questions. Words are only words.
import {
  Refused,
  api,
  choice,
  clock,
  el,
  fill,
  frames,
  go,
  say,
  shown,
  status,
  stream,
  tried,
  when,
} from "./common.js";

/** What a verdict of the model is called. */
export const appears = (verdict) => (verdict === "anomaly" ? "anomalous" : verdict);

export class Said {
  /** onseek(s): to a frame. onchange(segment): it is not what it was. */
  constructor({ onseek, onchange }) {
    Object.assign(this, { onseek, onchange, prompts: [], talks: new Map(), shown: null, text: "" });
    this.element = el("section", { class: "said", tabIndex: -1, "aria-label": "Explanation" });
  }

  /** found: a segment with what belongs to it; null: say `otherwise`. */
  tell(found, otherwise = "") {
    this.shown = found?.id ?? null;
    this.text = JSON.stringify(found?.explanation);
    if (!found) {
      fill(this.element, el("p", {}, otherwise));
      return;
    }
    const said = found.explanation;
    fill(
      this.element,
      el("h3", {}, `${clock(found.start)} to ${clock(found.end)} `, status(found.status)),
      el(
        "p",
        {},
        `Score ${found.peak.toFixed(2)} at ${clock(found.peak_time)}. `,
        found.label ? `By the scorer it looks most like ${found.label}.` : "",
      ),
      said ? this.explanation(found, said) : el("p", {}, "No explanation yet."),
      this.explainAgain(found),
      this.decisions(found),
      this.notes(found),
      this.chat(found),
      el(
        "p",
        { class: "row tight" },
        el("button", { type: "button", onclick: () => go("search", { like: found.id }) }, "More like this"),
        el(
          "button",
          { type: "button", onclick: () => go("evidence", { segment: found.id }) },
          found.exported ? "Export again" : "Export",
        ),
        found.exported ? el("span", { class: "small" }, `exported ${when(found.exported)}`) : null,
      ),
    );
  }

  explanation(found, said) {
    const chance =
      said.probability === null || said.probability === undefined
        ? ""
        : ` (probability of an anomaly by its own words ${said.probability.toFixed(2)})`;
    const pictures = said.times.length ? frames(found.video, said.times) : [];
    return el(
      "div",
      {},
      el("p", { class: "text" }, said.text),
      el(
        "p",
        { class: "small" },
        `To the model it appears ${appears(said.verdict)}${chance}. The score decided what is flagged; you decide what it is.`,
      ),
      Object.keys(said.fields).length
        ? el(
            "dl",
            { class: "fields" },
            Object.entries(said.fields).flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, words)]),
          )
        : null,
      said.times.length
        ? el(
            "div",
            { class: "frames", role: "group", "aria-label": "Frames the model saw" },
            said.times.map((t, i) =>
              el(
                "button",
                {
                  type: "button",
                  "aria-label": `Frame at ${clock(t)}`,
                  onclick: () => {
                    this.onseek(t);
                  },
                },
                pictures[i],
                clock(t),
              ),
            ),
          )
        : null,
      el(
        "details",
        {},
        el("summary", {}, `by ${said.model}, ${said.prompt}`),
        said.notes.length ? el("p", {}, said.notes.join("; ")) : null,
        el("pre", {}, said.raw),
      ),
    );
  }

  explainAgain(found) {
    const prompt = choice(
      this.prompts.map((name) => [name, name]),
      { "aria-label": "Template" },
    );
    if (this.prompts.includes("explain")) prompt.value = "explain";
    const button = el(
      "button",
      {
        type: "button",
        onclick: () =>
          tried(async () => {
            button.disabled = true;
            try {
              const fresh = await api(`/segments/${found.id}/explain`, {
                method: "POST",
                body: { prompt: prompt.value },
              });
              this.onchange(fresh);
              if (this.shown === found.id) this.tell(fresh);
            } finally {
              button.disabled = false;
            }
          }, this.said),
      },
      "Explain again",
    );
    return el("p", { class: "row tight" }, prompt, button);
  }

  decisions(found) {
    const rows = found.verdicts.map((v) =>
      el(
        "li",
        { class: v.undone ? "undone" : "" },
        `${v.verdict} by ${v.by}, ${when(v.at)}${v.reason ? `: ${v.reason}` : ""}${v.undone ? " (undone)" : ""}`,
      ),
    );
    return el(
      "div",
      {},
      el("h4", {}, "Reviewed by"),
      rows.length ? el("ul", {}, rows) : el("p", { class: "small" }, "nobody yet"),
    );
  }

  notes(found) {
    const text = el("textarea", {
      rows: 2,
      maxLength: 10000,
      "aria-label": "Note",
      placeholder: "a note (T), Ctrl+Enter keeps it",
    });
    const tag = el("input", { maxLength: 60, "aria-label": "Tag", placeholder: "a tag, Enter" });
    const shows = (fresh) => {
      if (fresh && this.shown === found.id) this.tell(fresh);
    };
    const keep = async () => {
      if (text.value.trim())
        shows(await tried(() => api(`/segments/${found.id}/notes`, { method: "POST", body: { text: text.value } })));
    };
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keep();
    });
    const path = (word) => `/segments/${found.id}/tags/${encodeURIComponent(word)}`;
    return el(
      "div",
      {},
      el("h4", {}, "Notes and tags"),
      el(
        "ul",
        {},
        found.notes.map((n) =>
          el(
            "li",
            {},
            el("span", { class: "text" }, n.text),
            el("span", { class: "small" }, ` ${n.by}, ${when(n.at)}`),
          ),
        ),
      ),
      el(
        "p",
        { class: "tags" },
        found.tags.map((word) =>
          el(
            "span",
            { class: "tag" },
            word,
            " ",
            el(
              "button",
              {
                type: "button",
                "aria-label": `Take off the tag ${word}`,
                onclick: async () => shows(await tried(() => api(path(word), { method: "DELETE" }))),
              },
              "×",
            ),
          ),
        ),
      ),
      el("div", { class: "row tight" }, text, el("button", { type: "button", onclick: keep }, "Keep note")),
      el(
        "form",
        {
          class: "row tight",
          onsubmit: async (event) => {
            event.preventDefault();
            if (tag.value.trim()) shows(await tried(() => api(path(tag.value.trim()), { method: "PUT" })));
          },
        },
        tag,
        el("button", {}, "Add tag"),
      ),
    );
  }

  chat(found) {
    const turns = this.talks.get(found.id) ?? [];
    this.talks.set(found.id, turns);
    const log = el(
      "div",
      { class: "talk", role: "log", "aria-live": "polite" },
      turns.map(([q, a]) => [el("p", { class: "q" }, q), el("p", { class: "a" }, a)]).flat(),
    );
    const text = el("input", {
      maxLength: 2000,
      "aria-label": "Question about this segment",
      placeholder: "What is the person holding?",
    });
    return el(
      "div",
      {},
      el("h4", {}, "Ask about this segment"),
      log,
      el(
        "form",
        {
          class: "row tight",
          onsubmit: (event) => {
            event.preventDefault();
            const question = text.value.trim();
            if (!question || log.getAttribute("aria-busy")) return;
            const answer = el("p", { class: "a" }, "…");
            log.append(el("p", { class: "q" }, question), answer);
            text.value = "";
            let words = "";
            tried(async () => {
              try {
                const last = await stream(
                  `/segments/${found.id}/chat/stream`,
                  { question, turns: turns.slice(-10) },
                  (line) => {
                    if (line.piece) {
                      words += line.piece;
                      answer.textContent = words;
                    }
                  },
                );
                answer.textContent = last.answer || "(the model said nothing)";
                turns.push([question, last.answer]);
              } catch (error) {
                answer.textContent = error instanceof Refused ? `no answer: ${error.message}` : "no answer";
                throw error;
              }
            }, log);
          },
        },
        text,
        el("button", {}, "Ask"),
      ),
    );
  }
}

// What models said of a segment: every explanation with its template and time; that one is wrong; and what the report shall say.
import { post, put, remove } from "./api.js";
import { button, choice, el, options, say, tried } from "./dom.js";
import { writing } from "./keys.js";
import { Part } from "./part.js";
import { frames } from "./sprites.js";
import { clock, when } from "./times.js";

const FIELDS = ["what", "who", "where", "when", "why"];
const capital = (words) => words[0].toUpperCase() + words.slice(1);

export class Explained {
  /** said: the panel it belongs to. */
  constructor(said) {
    this.said = said;
    this.part = new Part(
      (s) => [s.explanations, s.reading, s.wrong, s.adopted],
      (s) => this.explanations(s),
    );
    this.element = el("div", {}, this.part.place, this.again(), this.rightWords(), this.adopting());
  }

  tell(found, other) {
    if (other) this.wrongForm.hidden = this.adoptForm.hidden = true;
    this.part.tell(found);
    this.wrongButton.disabled = !found.explanations.length;
    this.askButton.disabled = this.asking || found.origin === "person";
  }

  explanations(s) {
    if (!s.explanations.length)
      return el("p", {}, s.origin === "person" ? "Not explained: a person marked this." : "No explanation yet.");
    const [newest, ...older] = s.explanations;
    return [
      this.explanation(s, newest),
      older.length
        ? el(
            "details",
            { class: "older" },
            el("summary", {}, `${older.length} earlier, side by side`),
            el(
              "div",
              { class: "sides" },
              s.explanations.map((e) => el("article", {}, this.explanation(s, e, true))),
            ),
          )
        : null,
      s.adopted
        ? el(
            "p",
            { class: "adopted" },
            `In the report (${s.adopted.edited ? "edited" : "adopted"} by ${s.adopted.by}): `,
            el("q", {}, s.adopted.text),
            " ",
            button("Take it out of the report", () => this.said.send((f) => remove(`/segments/${f.id}/adopted`)), {
              picture: "x",
              words: false,
            }),
          )
        : null,
      s.wrong.length
        ? el(
            "ul",
            { class: "wrong" },
            s.wrong.map((w) =>
              el(
                "li",
                {},
                `${w.by} says the explanation is wrong`,
                w.text ? [": ", el("q", {}, w.text)] : "",
                " ",
                button("Take this back", () => this.said.send((f) => remove(`/segments/${f.id}/wrong/${w.id}`)), {
                  picture: "x",
                  words: false,
                }),
              ),
            ),
          )
        : null,
    ];
  }

  /** What a model said: rendered from its fields by the server, or that it is not sure. */
  explanation(s, e, small = false) {
    const read = e.reading ?? { text: "", sure: false, chance: "", fields: {} };
    const fields = FIELDS.filter((name) => read.fields[name] && (read.sure || name !== "what")); // unsure, the sentence says it already
    const pictures = !small && e.times.length ? frames(s.video, e.times) : [];
    return el(
      "div",
      { class: "explanation" },
      el("p", { class: "text" }, read.text),
      read.chance
        ? el(
            "p",
            { class: "small" },
            `${capital(read.chance)}. The score decided what is flagged; you decide what it is.`,
          )
        : null,
      fields.length
        ? el(
            "dl",
            { class: "fields" },
            fields.flatMap((name) => [el("dt", {}, name), el("dd", {}, read.fields[name])]),
          )
        : null,
      pictures.length
        ? el(
            "div",
            { class: "frames", role: "group", "aria-label": "Frames the model saw" },
            e.times.map((t, i) =>
              el(
                "button",
                { type: "button", "aria-label": `Frame at ${clock(t)}`, onclick: () => this.said.onseek(t) },
                pictures[i],
                clock(t),
              ),
            ),
          )
        : null,
      el("p", { class: "small made" }, `${e.prompt} · ${when(e.at)}${e.by ? ` · asked by ${e.by}` : ""} · ${e.model}`),
      e.notes.length ? el("p", { class: "small" }, e.notes.join("; ")) : null,
    );
  }

  again() {
    this.prompt = choice([], { "aria-label": "Template" });
    const ask = async () => {
      const { id } = this.said.found;
      this.asking = this.askButton.disabled = true;
      this.askButton.querySelector("span").textContent = "Explaining…";
      try {
        this.said.onchange(await post(`/segments/${id}/explain`, { prompt: this.prompt.value }));
      } finally {
        this.asking = this.askButton.disabled = false;
        this.askButton.querySelector("span").textContent = "Explain again";
      }
    };
    this.askButton = button("Explain again", () => tried(ask), { picture: "rotate-ccw" });
    this.wrongButton = button("Wrong", () => this.wrong(), { picture: "flag", key: "W" });
    this.adoptButton = button("Use in report", () => this.adopt(), { picture: "file-text", key: "Y" });
    return el("p", { class: "row tight" }, this.wrongButton, this.adoptButton, this.askButton, this.prompt);
  }

  offer(prompts) {
    options(
      this.prompt,
      prompts.map((name) => [name, name]),
    );
    if (!this.offered && prompts.includes("explain")) this.prompt.value = "explain";
    this.offered = true;
  }

  /** The explanation is wrong: said at once; the right words may follow. */
  async wrong() {
    if (!this.said.found?.explanations.length) {
      say("There is no explanation here that could be wrong.");
      return;
    }
    const {
      id,
      explanations: [newest],
    } = this.said.found;
    if (!(await this.said.send((f) => post(`/segments/${f.id}/wrong`, { explanation: newest.id })))) return;
    if (this.said.found?.id !== id) return; // somebody went on meanwhile
    say("Noted: this explanation is wrong. What would be right?");
    this.wrongForm.hidden = false;
    if (!writing()) this.wrongText.focus();
  }

  rightWords() {
    this.wrongText = el("input", {
      maxLength: 2000,
      "aria-label": "The right words",
      placeholder: "what happens, in your words; Enter sends",
    });
    const draft = this.said.draft(this.wrongText, "wrong");
    this.wrongForm = el(
      "form",
      {
        class: "row tight",
        hidden: true,
        onsubmit: async (event) => {
          event.preventDefault();
          const { id, explanations } = this.said.found,
            text = this.wrongText.value.trim();
          if (!text) return;
          if (
            !(await this.said.send((f) => post(`/segments/${f.id}/wrong`, { text, explanation: explanations[0]?.id })))
          )
            return;
          draft.sent(id, text);
          this.wrongForm.hidden = true;
        },
      },
      this.wrongText,
      el("button", {}, "Send"),
    );
    return this.wrongForm;
  }

  /** The sentence for the report: the model's, or what the reviewer makes of it. */
  adopt() {
    const { found } = this.said;
    if (!found) return;
    this.adoptForm.hidden = false;
    if (!this.adoptText.value)
      this.adoptText.value = found.adopted?.text ?? (found.reading?.sure ? found.reading.text : "");
    this.adoptText.focus();
  }

  adopting() {
    this.adoptText = el("textarea", {
      rows: 2,
      maxLength: 2000,
      "aria-label": "Sentence for the report",
      placeholder: "what the report shall say of this segment",
    });
    const draft = this.said.draft(this.adoptText, "adopt");
    const keep = async () => {
      const { id } = this.said.found,
        text = this.adoptText.value.trim();
      if (
        !text ||
        !(await this.said.send((f) => put(`/segments/${f.id}/adopted`, { text, version: f.version }), this.adoptForm))
      )
        return;
      draft.sent(id, text);
      this.adoptForm.hidden = true;
    };
    this.adoptText.addEventListener(
      "keydown",
      (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && keep(),
    );
    this.adoptForm = el(
      "div",
      { class: "row tight", hidden: true },
      this.adoptText,
      button("Put in report", keep),
      button("Cancel", () => (this.adoptForm.hidden = true)),
    );
    return this.adoptForm;
  }
}

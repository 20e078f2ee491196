// Questions about a segment, and the answers as they are written. What the model at hand can't answer is said before anybody asks.
import { Refused, me, stream } from "./api.js";
import { el, fill, tried } from "./dom.js";
import { Draft } from "./drafts.js";

export class Talk {
  constructor() {
    Object.assign(this, { id: null, talks: new Map(), asking: new Set() });
    this.log = el("div", { class: "talk", role: "log", "aria-live": "polite" });
    this.text = el("input", {
      maxLength: 2000,
      "aria-label": "Question about this segment",
      placeholder: "How many people are there?",
    });
    this.draft = new Draft(this.text, "question");
    this.form = el(
      "form",
      {
        class: "row tight",
        onsubmit: (event) => {
          event.preventDefault();
          this.ask(this.text.value.trim());
        },
      },
      this.text,
      el("button", {}, "Ask"),
    );
    this.cannot = el("p", { class: "small" });
    this.element = el("div", {}, el("h4", {}, "Ask about this segment"), this.log, this.cannot, this.form);
    me().then(({ cannot }) => {
      this.cannot.textContent = cannot?.chat ?? "";
    });
  }

  show(id) {
    this.draft.show(id);
    if (id === this.id) return;
    this.id = id;
    const turns = this.talks.get(id) ?? [];
    fill(
      this.log,
      turns.flatMap(([q, a]) => [el("p", { class: "q" }, q), el("p", { class: "a" }, a)]),
    );
  }

  ask(question) {
    const { id } = this;
    if (!question || !id || this.asking.has(id)) return;
    const turns = this.talks.get(id) ?? [],
      answer = el("p", { class: "a" }, "…");
    this.talks.set(id, turns);
    this.log.append(el("p", { class: "q" }, question), answer);
    this.draft.sent(id, question);
    this.asking.add(id);
    let words = "";
    tried(async () => {
      try {
        const last = await stream(`/segments/${id}/chat/stream`, { question, turns: turns.slice(-10) }, (line) => {
          if (line.piece) answer.textContent = words += line.piece;
        });
        answer.textContent = last.answer || "(the model said nothing)";
        turns.push([question, last.answer]);
      } catch (error) {
        answer.textContent = error instanceof Refused ? `no answer: ${error.message}` : "no answer";
        throw error;
      } finally {
        this.asking.delete(id);
      }
    }, this.log);
  }
}

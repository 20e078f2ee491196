// The windows of Review: all keys, and why something is dismissed. They close with Esc, and the focus goes back to where it was.
import { el, fault } from "./dom.js";
import { Draft } from "./drafts.js";

export const REASONS = [
  "everyday activity",
  "light or shadow",
  "animal or weather",
  "camera moved or broken",
  "authorised person",
  "repeats another segment",
];
const KEYS = [
  ["Space or K", "play or pause"],
  ["J, L", "10 seconds back, on"],
  [", and .", "one frame back, on"],
  ["< and >", "slower, faster"],
  ["F", "play from two seconds before the segment"],
  ["R", "repeat the segment"],
  ["B", "boxes around people and things"],
  ["V, Z", "where they came from; zones and lines"],
  ["N, P, ↓, ↑", "next, previous segment"],
  ["C", "confirm"],
  ["X", "dismiss, with a reason"],
  ["U", "undo your last verdict"],
  ["W", "the explanation is wrong"],
  ["Y", "a sentence for the report"],
  ["I, O, M", "mark a span: begins, ends, make it a segment"],
  ["[ and ]", "move the segment's start, end to here"],
  ["S, Shift+↓ ↑", "select this one, and its neighbours"],
  ["A", "mine, or no longer mine"],
  ["E", "to the explanation"],
  ["T", "write a note"],
  ["+ - 0", "zoom the timeline in, out, whole"],
  ["Esc", "leave a field or a window; select nothing"],
  ["?", "this help"],
];

export class Help {
  constructor() {
    this.dialog = el(
      "dialog",
      { class: "vlad keys", "aria-label": "Keys" },
      el("h2", {}, "Keys"),
      el(
        "dl",
        {},
        KEYS.flatMap(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)]),
      ),
      el("form", { method: "dialog" }, el("button", {}, "Close")),
    );
    document.body.append(this.dialog);
  }

  open() {
    this.dialog.showModal();
  }
}

export class Reasons {
  constructor() {
    this.title = el("h2", {});
    this.text = el("input", {
      maxLength: 2000,
      "aria-label": "Other reason",
      placeholder: "another reason, then Enter",
    });
    this.draft = new Draft(this.text, "reason");
    this.dialog = el(
      "dialog",
      { class: "vlad reasons", "aria-label": "Why is it dismissed?" },
      this.title,
      el(
        "ol",
        {},
        REASONS.map((words, i) =>
          el(
            "li",
            {},
            el(
              "button",
              { type: "button", onclick: () => this.end(words) },
              el("kbd", { "aria-hidden": "true" }, i + 1),
              " ",
              words,
            ),
          ),
        ),
      ),
      el(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            const reason = this.text.value.trim();
            if (reason) this.end(reason);
            else fault(this.text, "Say why, or choose one above.");
          },
        },
        this.text,
        el("button", {}, "Dismiss"),
        el("button", { type: "button", onclick: () => this.dialog.close() }, "Cancel"),
      ),
    );
    this.dialog.addEventListener("keydown", (event) => {
      const number = Number(event.key);
      if (event.target === this.text || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      if (number >= 1 && number <= REASONS.length) {
        event.preventDefault();
        this.end(REASONS[number - 1]);
      }
    });
    document.body.append(this.dialog);
  }

  /** Ask; then(reason) hears the answer, once. id: whose draft the field holds. */
  open(id, title, then) {
    this.then = then;
    this.title.textContent = title;
    this.draft.show(id);
    fault(this.text);
    this.dialog.showModal();
    this.dialog.querySelector("li button").focus();
  }

  end(reason) {
    const { then } = this;
    this.then = null;
    if (reason === this.text.value.trim()) this.draft.sent(this.draft.id, reason);
    this.dialog.close();
    then?.(reason);
  }
}

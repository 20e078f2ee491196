// What stands beside a drawing: shapes are begun, chosen, named and removed there, by buttons and by keys. Knows no server.
import { arrange, button, el, fault, say } from "./dom.js";
import { Sketch } from "./sketch.js";

export class Board {
  /** kinds: what is drawn. onchange(): something was drawn, moved, chosen or named; onname(before, name) comes first where it was named.
   *
   * more(shape): further controls of its row, as [element, its name for whoever does not see it, the control within it]. */
  constructor({ kinds, onchange = () => {}, onname = () => {}, more = () => [] }) {
    Object.assign(this, { kinds, onchange, onname, more, rows: new WeakMap() });
    this.sketch = new Sketch(() => this.changed(), kinds.map((kind) => `${kind}s`).join(" and "));
    this.list = el("ul", { class: "shapelist" });
    this.parts = [
      this.sketch.stage,
      el(
        "div",
        { class: "row tight" },
        kinds.map((kind) => button(`New ${kind}`, () => this.sketch.begin(kind, this.free(kind)), { picture: "plus" })),
        button("End drawing", () => this.sketch.end(), { picture: "square-check-big" }),
      ),
      el(
        "p",
        { class: "small" },
        "A corner is dragged, or moved with the arrows (Shift: further). Enter adds a corner after it, Delete removes it, Escape ends.",
        kinds.includes("line") ? " The arrow on a line says which way is in." : null,
      ),
      this.list,
    ];
  }

  get shapes() {
    return this.sketch.shapes;
  }

  load(shapes) {
    this.sketch.load(shapes);
    this.tell();
  }

  changed() {
    this.tell();
    this.onchange();
  }

  free(kind) {
    const names = new Set(this.shapes.map((s) => s.name));
    for (let n = 1; ; n++) if (!names.has(`${kind} ${n}`)) return `${kind} ${n}`;
  }

  point(shape) {
    this.sketch.choose(shape);
    this.sketch.over.querySelector(".corner")?.focus();
  }

  rename(shape, input) {
    const name = input.value.trim().replaceAll('"', ""),
      taken = this.shapes.some((s) => s !== shape && s.name === name && s.kind === shape.kind);
    fault(input, taken ? "Another one is called so." : name ? "" : "Give it a name.");
    if (!name || taken) return false;
    if (name === shape.name) return true;
    const before = shape.name;
    shape.name = input.value = name;
    this.sketch.draw();
    this.onname(before, name);
    this.changed();
    return true;
  }

  /** Whether all of it is drawn and named; else the focus goes to where something is left to do. */
  ready() {
    if (this.sketch.unfinished) {
      say("This is no shape yet: draw on, or give it up with Escape.", { wrong: true });
      this.sketch.stage.focus();
      return false;
    }
    this.sketch.end();
    const names = this.shapes.map((shape) => [shape, this.rows.get(shape).name]),
      wrong = names.filter(([shape, input]) => !this.rename(shape, input));
    wrong[0]?.[1].focus();
    return !wrong.length;
  }

  /** The field of whichever shape a line of the server's names. */
  about(message) {
    const shape = this.shapes.find((s) => message.includes(`${s.kind} '${s.name}'`));
    return shape && this.rows.get(shape).name;
  }

  row(shape) {
    const name = el("input", { value: shape.name, maxLength: 80, onchange: () => this.rename(shape, name) }),
      choose = button("", () => this.point(shape), { picture: "pencil", words: false }),
      drop = button("", () => this.sketch.drop(shape), { picture: "trash-2", words: false });
    const parts = [
      [choose, () => `${shape === this.sketch.chosen ? "Chosen" : "Choose"}: ${shape.name}`],
      ...(this.kinds.length > 1 ? [[el("span", { class: "small" }, shape.kind)]] : []),
      [name, () => `Name of ${shape.name}`],
      ...this.more(shape),
      [drop, () => `Remove ${shape.name}`],
    ];
    const element = el(
      "li",
      {},
      parts.map(([part]) => part),
    );
    const tell = () => {
      const chosen = shape === this.sketch.chosen;
      element.classList.toggle("chosen", chosen);
      choose.setAttribute("aria-pressed", String(chosen));
      name.dataset.fault = `${shape.kind}s ${shape.name}`;
      if (document.activeElement !== name && name.getAttribute("aria-invalid") !== "true") name.value = shape.name;
      for (const [part, words, control = part] of parts.filter(([, words]) => words)) {
        control.setAttribute("aria-label", words());
        if (control.tagName === "BUTTON") control.title = words();
      }
    };
    return { element, name, tell };
  }

  /** Rows as the shapes are; those that were there stay the same elements, so that focus and what is typed stay. */
  tell() {
    const rows = this.shapes
      .filter((s) => s.points.length)
      .map((shape) => {
        if (!this.rows.has(shape)) this.rows.set(shape, this.row(shape));
        return this.rows.get(shape);
      });
    rows.forEach((row) => row.tell());
    arrange(
      this.list,
      rows.map((row) => row.element),
    );
  }
}

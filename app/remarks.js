// Notes and tags of a segment: what people write on it.
import { patch, post, put, remove } from "./api.js";
import { button, el, fill, tried } from "./dom.js";
import { drafts } from "./drafts.js";
import { Part } from "./part.js";
import { when } from "./times.js";

export class Remarks {
  /** said: the panel it belongs to. */
  constructor(said) {
    this.said = said;
    this.parts = [
      new Part(
        (s) => s.notes,
        (s) => this.notes(s),
      ),
      new Part(
        (s) => s.tags,
        (s) => this.tags(s),
      ),
    ];
    const [notes, tags] = this.parts.map((p) => p.place);
    this.element = el("div", {}, el("h4", {}, "Notes and tags"), notes, this.noting(), tags, this.tagging());
  }

  tell(found) {
    const [notes, tags] = this.parts;
    if (this.editing !== found.id || this.of !== found.id) {
      this.editing = null;
      notes.tell(found); // what is being edited stays until it is sent or given up
    }
    this.of = found.id;
    tags.tell(found);
  }

  /** The edit is over: the notes as they now are. */
  over(note) {
    drafts.set(note.segment, `edit ${note.id}`, "");
    this.editing = null;
    this.parts[0].key = null;
    if (this.said.found) this.parts[0].tell(this.said.found);
  }

  notes(s) {
    return el(
      "ul",
      {},
      s.notes.map((n) => {
        const item = el("li", {});
        const rest = () =>
          fill(
            item,
            el("span", { class: "text" }, n.text),
            el("span", { class: "small" }, ` ${n.by}, ${when(n.at)}${n.edited ? ", edited" : ""} `),
            n.by === this.said.own ? button("Edit this note", edit, { picture: "pencil", words: false }) : null,
            n.by === this.said.own
              ? button("Remove this note", () => this.said.send(() => remove(`/notes/${n.id}`), item), {
                  picture: "trash-2",
                  words: false,
                })
              : null,
          );
        const field = `edit ${n.id}`;
        const edit = (_, { focus = true } = {}) => {
          const text = el("textarea", {
            rows: 2,
            maxLength: 10000,
            value: drafts.get(s.id, field) || n.text,
            "aria-label": "Edit note",
            oninput: () => drafts.set(s.id, field, text.value),
          });
          this.editing = s.id;
          const own = { id: n.id, segment: s.id };
          const save = async () => {
            const fresh = await tried(() => patch(`/notes/${n.id}`, { text: text.value }), item);
            if (!fresh) return;
            this.over(own);
            this.said.onchange(fresh);
          };
          fill(
            item,
            text,
            button("Save", save),
            button("Cancel", () => this.over(own)),
          );
          if (focus) text.focus();
        };
        rest();
        if (drafts.get(s.id, field)) edit(null, { focus: false }); // begun before, and not sent
        return item;
      }),
    );
  }

  noting() {
    this.note = el("textarea", {
      rows: 2,
      maxLength: 10000,
      "aria-label": "Note",
      placeholder: "a note (T); Ctrl+Enter saves it",
    });
    const draft = this.said.draft(this.note, "note");
    const keep = async () => {
      const { id } = this.said.found,
        text = this.note.value.trim();
      if (!text || this.keeping) return;
      this.keeping = true;
      const fresh = await tried(() => post(`/segments/${id}/notes`, { text }));
      this.keeping = false;
      if (!fresh) return;
      draft.sent(id, text);
      this.said.onchange(fresh);
    };
    this.note.addEventListener(
      "keydown",
      (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && keep(),
    );
    return el("div", { class: "row tight" }, this.note, button("Save note", keep));
  }

  tags(s) {
    return el(
      "p",
      { class: "tags" },
      s.tags.map((word) =>
        el(
          "span",
          { class: "tag" },
          word,
          " ",
          button(
            `Take off the tag ${word}`,
            () => this.said.send((f) => remove(`/segments/${f.id}/tags/${encodeURIComponent(word)}`)),
            { picture: "x", words: false },
          ),
        ),
      ),
    );
  }

  tagging() {
    const tag = el("input", { maxLength: 60, "aria-label": "Tag", placeholder: "a tag, Enter" });
    const draft = this.said.draft(tag, "tag");
    return el(
      "form",
      {
        class: "row tight",
        onsubmit: async (event) => {
          event.preventDefault();
          const { id } = this.said.found,
            word = tag.value.trim();
          if (word && (await this.said.send((f) => put(`/segments/${f.id}/tags/${encodeURIComponent(word)}`))))
            draft.sent(id, word);
        },
      },
      tag,
      el("button", {}, "Add tag"),
    );
  }
}

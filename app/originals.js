// A clip in which people are covered, and a look at its original by who may, with a reason. Knows the player and the clip, and nothing of segments.
import { api, post } from "./api.js";
import { to } from "./rooms.js";
import { button, el, fault, fill, say, tried } from "./dom.js";

let asked = null;
/** Who is covered here, and whether this person may see originals. */
export const privacy = () =>
  (asked ??= api("/privacy").catch(() => ((asked = null), { cover: "none", originals: false })));
export const forgetPrivacy = () => (asked = null);

/** What stands instead of a clip's pictures while they may not be shown; "" where they may. */
export function closed({ covered }, cover = "people") {
  if (!covered || covered.state === "ready") return "";
  return covered.state === "failed"
    ? `The ${cover} in this clip cannot be covered (${covered.why}), so that it is not shown.`
    : `The ${cover} in this clip are being covered; it is shown once they are.`;
}

/** Why somebody looks, by a window that asks; null where they think better of it. */
export function reason(title) {
  return new Promise((answer) => {
    let said = null;
    const text = el("input", {
      required: true,
      minLength: 3,
      maxLength: 500,
      "aria-label": "Reason",
      placeholder: "why you look",
    });
    const dialog = el(
      "dialog",
      { class: "vlad", "aria-label": title },
      el("h2", {}, title),
      el("p", { class: "small" }, "The reason is written into the log, with your name."),
      el(
        "form",
        {
          class: "row",
          onsubmit: (event) => {
            event.preventDefault();
            if (text.value.trim().length < 3) {
              fault(text, "Say why.");
              return;
            }
            said = text.value.trim();
            dialog.close();
          },
        },
        text,
        el("button", { class: "main" }, "Look"),
        button("Cancel", () => dialog.close()),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(said);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export class Original {
  /** onlook(query): load the clip with it, "" for the covered one. */
  constructor(onlook) {
    Object.assign(this, { onlook, clip: null, open: false });
    this.words = el("span", { class: "small" });
    this.button = button("Original", () => this.toggle(), { picture: "eye" });
    this.way = el("a", {}, "Somebody can be seen?");
    this.element = el("div", { class: "row tight cover", hidden: true }, this.words, this.button, this.way);
  }

  async show(clip) {
    if (clip?.id !== this.clip?.id) this.open = false;
    this.clip = clip;
    if (!clip?.covered) {
      this.element.hidden = true;
      return;
    }
    const { cover, originals } = await privacy();
    if (this.clip !== clip) return;
    this.element.hidden = false;
    this.way.href = to("covers", { video: clip.id });
    this.button.hidden = !originals;
    this.tell(cover);
  }

  tell(cover) {
    fill(
      this.words,
      this.open ? "This is the original." : closed(this.clip, cover) || `The ${cover} that were found are covered.`,
    );
    this.button.lastElementChild.textContent = this.open ? "Covered again" : "Original";
    this.button.setAttribute("aria-pressed", String(this.open));
  }

  async toggle() {
    const { clip } = this;
    if (this.open) {
      this.open = false;
      this.onlook("");
    } else {
      const why = await reason("Look at the original?");
      if (why === null || this.clip?.id !== clip.id) return;
      const look = await tried(() => post(`/videos/${clip.id}/original`, { reason: why }));
      if (!look || this.clip?.id !== clip.id) return;
      this.open = true;
      this.onlook(`look=${look.look}`);
      say(`The original is open for ${Math.round(look.seconds / 60)} minutes.`);
    }
    await this.show(this.clip);
  }
}

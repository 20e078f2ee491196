// Finding again from a clip in Review: who wears this, or a vehicle of this colour, within the camera's days. Off until an admin says so; each look takes a right, and a reason that is logged.
import { api, post } from "./api.js";
import { boxAt } from "./boxes.js";
import { button, choice, el, fill, labelled, options, tried } from "./dom.js";
import { reason } from "./originals.js";
import { to } from "./rooms.js";
import { clock, moment, plural } from "./times.js";

const PACE = 1500; // milliseconds between two looks at how far it is
const PARTS = [
  ["top", "Top"],
  ["trousers", "Trousers"],
  ["vehicle", "Vehicle"],
];

export class Again {
  /** boxes: what was followed in the clip, and the player with its time. */
  constructor(boxes) {
    Object.assign(this, { boxes, clip: null, turn: 0 });
    this.who = choice([["", "somebody in the picture"]], { onfocus: () => this.offer() });
    this.colours = el("div", { class: "row tight" });
    this.results = el("div", { role: "status" });
    this.element = el(
      "details",
      { class: "more", hidden: true, ontoggle: () => this.offer() },
      el("summary", {}, "Find again on this camera"),
      el(
        "p",
        { class: "small" },
        "By the colours of clothes or of a vehicle alone: like clothes are no proof that it is the same person, and who changes a coat is not found. Your reason and what you look for are logged.",
      ),
      el(
        "div",
        { class: "row tight" },
        labelled("Like", this.who),
        button("Find them again", () => this.ask(this.wantedTrack()), { picture: "search" }),
      ),
      this.colours,
      this.results,
    );
  }

  async show(clip) {
    if (clip?.id === this.clip?.id) return;
    this.clip = clip;
    this.turn++;
    fill(this.results);
    this.element.hidden = true;
    if (!clip?.analysed || !clip.camera) return;
    const { may, days, colours } = await api("/again").catch(() => ({ may: false }));
    if (this.clip !== clip) return;
    this.element.hidden = !may;
    if (may) this.offerColours(colours, days);
  }

  /** Who is in the picture just now, by number and kind; all of the clip after them. */
  offer() {
    const { time } = this.boxes.player,
      tracks = [...this.boxes.tracks].sort((a, b) => !boxAt(a, time) - !boxAt(b, time));
    options(this.who, [
      ["", "somebody in the picture"],
      ...tracks.map((t) => [
        String(t.id),
        `${t.label} ${t.id}, ${clock(t.times[0])} to ${clock(t.times.at(-1))}${boxAt(t, time) ? ", in sight" : ""}`,
      ]),
    ]);
  }

  offerColours(colours, days) {
    this.parts = Object.fromEntries(
      PARTS.map(([part]) => [part, choice([["", "any"], ...colours.map((c) => [c, c])])]),
    );
    fill(
      this.colours,
      PARTS.map(([part, words]) => labelled(words, this.parts[part])),
      button(`Find these colours within ${plural(days, "day")}`, () => this.ask(this.wantedColours()), {
        picture: "search",
      }),
    );
  }

  wantedTrack() {
    return this.who.value ? { track: Number(this.who.value) } : "Choose who it is first.";
  }

  wantedColours() {
    const chosen = Object.entries(this.parts).filter(([, one]) => one.value);
    if (!chosen.length) return "Choose a colour first.";
    const wanted = Object.fromEntries(chosen.map(([part, one]) => [part, one.value]));
    return wanted.vehicle && chosen.length > 1 ? "A person or a vehicle, not both." : wanted;
  }

  ask(wanted) {
    if (typeof wanted === "string") {
      fill(this.results, wanted);
      return;
    }
    const { clip } = this,
      turn = ++this.turn;
    tried(async () => {
      const why = await reason("Find again?");
      if (why === null || this.clip !== clip) return;
      const { id } = await post(`/videos/${clip.id}/again`, { ...wanted, reason: why });
      this.follow(id, turn);
    }, this.element);
  }

  /** Look how far it is until it is over, or something else is shown. */
  async follow(id, turn) {
    const found = await tried(() => api(`/again/${id}`));
    if (!found || turn !== this.turn) return;
    const { job, hits } = found;
    if (["queued", "running"].includes(job?.status)) {
      fill(
        this.results,
        job.total ? `${job.done} of ${plural(job.total, "clip")} looked through.` : "Waiting for a worker.",
      );
      setTimeout(() => turn === this.turn && this.follow(id, turn), PACE);
    } else if (hits === null) {
      fill(this.results, job?.error || "It was cancelled.");
    } else this.tell(hits);
  }

  tell(hits) {
    fill(
      this.results,
      el(
        "p",
        { class: "small" },
        hits.length
          ? `${hits.length} alike, the likest first. No proof that it is the same.`
          : "Nobody alike was found.",
      ),
      el(
        "ul",
        { "aria-label": "Found again" },
        hits.map((h) =>
          el(
            "li",
            {},
            el(
              "a",
              { href: to("review", { video: h.video, at: String(h.start) }) },
              `${h.name}, ${moment(h.starts_at, h.start)} to ${clock(h.end)}`,
            ),
            ` ${h.kind}: ${Object.entries(h.colours)
              .map(([part, colour]) => (part === "vehicle" ? colour : `${colour} ${part}`))
              .join(", ")}, ${h.sure.toFixed(2)}`,
          ),
        ),
      ),
    );
  }
}

// What a reviewer decides: one verdict at a time, on what was seen, each with its own way back. Knows the review it belongs to.
import { post } from "./api.js";
import { button, say, sure, tried } from "./dom.js";
import { writing } from "./keys.js";
import { clock, plural } from "./times.js";

const SEEN = 200; // ms that a segment is on screen before a key decides on it
export const NEWS = 1500; // ms that another person's verdict is on screen before one's own counts

export class Verdicts {
  constructor(review) {
    Object.assign(this, { review, under: false, since: Infinity });
  }

  /** Another segment is on its way: nothing is decided until it is shown. */
  wait() {
    this.since = Infinity;
  }

  /** It is on screen, and may be decided on `wait` ms from now. */
  shown(wait = SEEN) {
    this.since = performance.now() + wait;
  }

  /** Whether a verdict may be given now. */
  ready() {
    const { found } = this.review;
    if (!found) say("Choose a segment first.");
    return found && !this.under && performance.now() >= this.since;
  }

  /** A verdict by its button: the second click of two is none. */
  press(event, act) {
    if (event.detail < 2) act();
  }

  /** version: of the segment as it was seen; else as it is on screen. */
  async decide(verdict, reason = "", version = this.review.found?.version) {
    const { review } = this;
    if (verdict === "confirmed" && review.queue.selected.size) {
      this.confirmSelected();
      return;
    }
    if (!this.ready()) return;
    const { id } = review.found;
    this.under = true;
    try {
      const found = await this.send(() => post(`/segments/${id}/verdict`, { verdict, reason, version }));
      if (found) await this.after(found, verdict);
    } finally {
      this.under = false;
    }
  }

  /** A verdict to the server; one that came too late is told, with who was first. */
  send(work) {
    return tried(async () => {
      try {
        return await work();
      } catch (error) {
        if (error.status === 409 && error.data.segment) {
          this.review.changed(error.data.segment);
          this.shown(NEWS);
        }
        throw error;
      }
    });
  }

  async after(found, verdict) {
    const { review } = this,
      next = review.queue.nextOpen(found.id);
    review.changed(found);
    const last = review.advance.checked && !next ? " Nothing open is left in this list." : "";
    say(`${clock(found.start)} of ${found.name} ${verdict}.${last}`, {
      undo: () => this.undo({ verdict: found.verdict_id }),
    });
    if (review.advance.checked && next && review.found?.id === found.id && !writing()) await review.choose(next.id);
  }

  /** Why is it dismissed? One key answers. */
  ask() {
    const { review } = this,
      { selected } = review.queue;
    if (selected.size) {
      this.dismissSelected();
      return;
    }
    if (!this.ready()) return;
    const { id, version } = review.found;
    review.reasons.open(id, "Why is it dismissed?", (reason) => {
      if (review.found?.id === id) this.decide("dismissed", reason, version);
      else say("Another segment is on screen by now; nothing was dismissed.");
    });
  }

  // many at once

  bulkButtons() {
    return [
      button("Confirm", () => this.confirmSelected(), { picture: "check" }),
      button("Dismiss", () => this.dismissSelected(), { picture: "x" }),
    ];
  }

  async confirmSelected() {
    const chosen = [...this.review.queue.selected];
    if (await sure(`Confirm ${plural(chosen.length, "segment")}?`, "Confirm")) await this.bulk(chosen, "confirmed", "");
  }

  dismissSelected() {
    const chosen = [...this.review.queue.selected];
    this.review.reasons.open("selected", `Why are these ${chosen.length} dismissed?`, (reason) =>
      this.bulk(chosen, "dismissed", reason),
    );
  }

  /** chosen: [id, version as it was selected]. */
  async bulk(chosen, verdict, reason) {
    const { review } = this;
    if (this.under) return;
    this.under = true;
    try {
      const segments = chosen.map(([id, version]) => ({ id, version }));
      const done = await tried(() => post("/verdicts", { segments, verdict, reason }), review.queue.place);
      if (!done) return;
      review.queue.select([]);
      const here = review.found?.id,
        next = chosen.some(([id]) => id === here)
          ? review.queue.nextOpen(here, new Set(chosen.map(([id]) => id)))
          : null;
      await review.anew();
      if (review.advance.checked && next && review.found?.id === here && !writing()) await review.choose(next.id);
      const left = done.refused.length
        ? ` ${plural(done.refused.length, "was", "were")} left: ${done.refused[0].detail}`
        : "";
      say(`${plural(done.decided.length, "segment")} ${verdict}.${left}`, {
        undo: () => this.undo({ batch: done.batch }),
      });
    } finally {
      this.under = false;
    }
  }

  /** Take back one verdict or one batch; without either, one's own newest. */
  async undo(which = {}) {
    const { review } = this;
    if (this.under) return;
    this.under = true;
    try {
      const done = await tried(() => post("/undo", which));
      if (!done) return;
      if (!done.segments.length) {
        say("There is no verdict of yours to undo.");
        return;
      }
      for (const fresh of done.segments) review.changed(fresh);
      const [first] = done.segments;
      if (!review.queue.get(first.id)) await review.queue.fetch(); // it had left the list with its verdict
      await review.choose(first.id);
      say(`Undone: ${done.said}.`);
    } finally {
      this.under = false;
    }
  }
}

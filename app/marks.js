// A span of the reviewer's own: I where it begins, O where it ends, M makes it a segment. Knows the review it belongs to.
import { post } from "./api.js";
import { button, say, tried } from "./dom.js";
import { clock } from "./times.js";

export class Marks {
  constructor(review) {
    Object.assign(this, { review, from: null, until: null, making: false });
  }

  buttons() {
    const mark = (words, key, act, tip) => button(words, act, { key, title: `${tip} (${key})` });
    return [
      mark("In", "I", () => this.in(), "mark where it begins"),
      mark("Out", "O", () => this.out(), "mark where it ends"),
      mark("Segment", "M", () => this.make(), "make it a segment"),
    ];
  }

  clear() {
    this.set(null, null);
  }

  set(from, until) {
    Object.assign(this, { from, until });
    this.review.timeline.mark(from, until);
  }

  in() {
    const now = this.review.player.time;
    this.set(now, this.until !== null && this.until <= now ? null : this.until);
    say(
      this.until === null
        ? `It begins at ${clock(now)}; O marks the end.`
        : `${clock(now)} to ${clock(this.until)}; M makes it a segment.`,
    );
  }

  out() {
    const now = this.review.player.time;
    this.set(this.from !== null && this.from >= now ? null : this.from, now);
    say(
      this.from === null
        ? `It ends at ${clock(now)}; I marks the beginning.`
        : `${clock(this.from)} to ${clock(now)}; M makes it a segment.`,
    );
  }

  async make() {
    const { review } = this;
    if (!review.clip?.analysed || this.making) return;
    if (this.from === null || this.until === null) {
      say("Mark where it begins (I) and where it ends (O) first.");
      return;
    }
    this.making = true;
    const { id } = review.clip;
    try {
      const made = await tried(() => post(`/videos/${id}/segments`, { start: this.from, end: this.until }));
      if (!made) return;
      this.clear();
      await review.open(id, { fresh: true });
      await review.queue.fetch();
      if (!review.queue.get(made.id)) await review.within({ status: "", by: "start" });
      await review.choose(made.id, { seek: false });
      say(
        `${clock(made.start)} to ${clock(made.end)} is a segment of yours now; give it a class under “Span and class”.`,
      );
    } finally {
      this.making = false;
    }
  }
}

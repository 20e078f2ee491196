// The clip; or single frames of it, where the browser cannot play it. Knows times in seconds and nothing of segments.
import { el } from "./common.js";

export class Player {
  // The clip; or single frames of it, where the browser cannot play it.
  constructor(ontime) {
    this.video = el("video", { controls: true, preload: "metadata", playsInline: true, "aria-label": "The clip" });
    this.still = el("img", { alt: "One frame of the clip", hidden: true });
    this.words = el(
      "p",
      { class: "small", hidden: true },
      "This browser cannot play this clip's codec; single frames are shown instead.",
    );
    this.element = el("div", { class: "player" }, this.video, this.still, this.words);
    this.ontime = ontime;
    this.video.addEventListener("timeupdate", () => this.ontime(this.time));
    this.video.addEventListener("seeked", () => this.ontime(this.time));
    this.video.addEventListener("error", () => {
      if (this.video.src) this._frames();
    });
  }

  load(id, fps) {
    Object.assign(this, { id, fps: fps || 25, frames: false, place: 0 });
    this.video.hidden = false;
    this.still.hidden = this.words.hidden = true;
    this.video.src = `/api/videos/${id}/media`;
  }

  unload() {
    this.id = null;
    this.video.removeAttribute("src");
    this.video.load();
  }

  _frames() {
    this.frames = true;
    this.video.hidden = true;
    this.still.hidden = this.words.hidden = false;
    this.seek(this.place);
  }

  get time() {
    return this.frames ? this.place : this.video.currentTime;
  }
  seek(time) {
    this.place = Math.max(0, time);
    if (!this.frames) {
      this.video.currentTime = this.place;
      return;
    }
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      this.still.src = `/api/videos/${this.id}/frame?t=${this.place.toFixed(3)}`;
    }, 120);
    this.ontime(this.place);
  }
  step(count) {
    this.video.pause();
    this.seek(this.time + count / this.fps);
  }
  toggle() {
    if (this.frames) return;
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }
  play() {
    if (!this.frames) this.video.play().catch(() => {});
  }
}

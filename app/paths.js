// Usual paths of a camera: learnt in Places, and who departs from them in a clip of Review. Nothing is shown before somebody had them learnt.
import { api, post, remove } from "./api.js";
import { button, el, fill, labelled, say, sure, tried } from "./dom.js";
import { clock, plural, when } from "./times.js";

const CLIPS = 50; // that paths are learnt of, unless somebody says otherwise

/** The section of Places. */
export class Usual {
  constructor() {
    this.camera = "";
    this.many = el("input", { type: "number", min: "2", max: "200", step: "1", value: String(CLIPS) });
    this.learn = button("Learn usual paths", () => this.ask(), { picture: "sparkles" });
    this.forget = button("Forget them", () => this.drop(), { picture: "trash-2" });
    this.told = el("p", { class: "small", role: "status" });
    this.map = el("img", {
      class: "pathmap",
      hidden: true,
      alt: "Where people (blue) and vehicles (green) are, with arrows which way most go",
    });
    this.element = el(
      "section",
      { "aria-label": "Usual paths" },
      el("h3", {}, "Usual paths"),
      el(
        "p",
        { class: "small" },
        "How this place is walked and driven is learnt from clips in which nobody confirmed anything, by what was followed in them: no clip is decoded. Review then shows who departs from it. Off until somebody learns it here.",
      ),
      el(
        "div",
        { class: "row tight" },
        labelled("From so many of the newest such clips", this.many),
        this.learn,
        this.forget,
      ),
      this.told,
      this.map,
    );
  }

  show(camera) {
    this.camera = camera;
    return this.look();
  }

  async look() {
    const { camera } = this;
    const found = await api("/movement?" + new URLSearchParams({ camera })).catch(() => null);
    if (!found || this.camera !== camera) return;
    const { learnt, normal, job } = found,
      busy = ["queued", "running"].includes(job?.status);
    this.learn.disabled = busy || normal < 2;
    this.forget.hidden = !learnt;
    this.told.textContent = [
      learnt
        ? `Learnt of ${plural(learnt.clips, "clip")}, ${clock(learnt.seconds, 0)} of footage, ${when(learnt.at)}.`
        : "Not learnt.",
      busy ? "Being learnt." : "",
      job?.status === "failed" ? job.error : "",
      normal < 2
        ? "Two analysed clips or more are needed in which nobody confirmed anything."
        : `${plural(normal, "clip")} could be learnt from.`,
    ]
      .filter(Boolean)
      .join(" ");
    this.map.hidden = !learnt;
    if (learnt) this.map.src = "/api/movement/map?" + new URLSearchParams({ camera, v: String(learnt.at) });
  }

  ask() {
    tried(async () => {
      const { clips } = await post("/movement", { camera: this.camera, clips: Number(this.many.value) || CLIPS });
      say(`The usual paths are learnt of ${plural(clips, "clip")}.`);
      await this.look();
    }, this.element);
  }

  drop() {
    tried(async () => {
      if (!(await sure("Forget the usual paths of this camera? They can be learnt anew.", "Forget"))) return;
      await remove("/movement?" + new URLSearchParams({ camera: this.camera }));
      await this.look();
    }, this.element);
  }
}

/** Of the clip in Review: a row on the timeline, a table, the map as a picture. Hidden where the camera has no usual paths. */
export class Departures {
  /** onfound(departures): for the timeline. onseek(s). */
  constructor(onfound, onseek) {
    Object.assign(this, { onfound, onseek, clip: null });
    this.place = el("div", { class: "departures" });
    this.element = el(
      "details",
      { class: "more", hidden: true, ontoggle: () => this.picture() },
      el("summary", {}, "Departures from usual paths"),
      this.place,
    );
  }

  show(clip) {
    this.clip = clip;
    this.element.hidden = true;
    fill(this.place);
    if (!clip?.analysed) return;
    tried(async () => {
      const { learnt, departures } = await api(`/videos/${clip.id}/movement`);
      if (this.clip !== clip) return;
      this.element.hidden = !learnt;
      this.onfound(departures);
      if (learnt) this.tell(departures);
    });
  }

  tell(found) {
    this.shown = el("div", {});
    fill(
      this.place,
      found.length
        ? el(
            "ul",
            {},
            found.map((d) =>
              el(
                "li",
                {},
                button(
                  `${clock(d.start)} to ${clock(d.end)}: ${d.kind} ${d.track}, ${d.why}, score ${d.score.toFixed(2)}`,
                  () => this.onseek(d.start),
                ),
              ),
            ),
          )
        : el("p", { class: "small" }, "Nobody departs from the usual paths of this camera."),
      this.shown,
    );
    this.picture();
  }

  /** Drawn once somebody opens it. */
  picture() {
    if (!this.element.open || !this.shown || this.shown.firstChild) return;
    fill(
      this.shown,
      el("img", {
        class: "pathmap",
        src: `/api/videos/${this.clip.id}/movement/map`,
        alt: "Departures in red with their numbers over the usual paths; other tracks grey",
      }),
    );
  }
}

// Review: queue, player, timeline, what was said, and what people decide. Every key has a button, every button a name.
import { api, me, patch, post, put } from "./api.js";
import { button, el, fill, say, shown, tried } from "./dom.js";
import { Again } from "./again.js";
import { Boxes } from "./boxes.js";
import { factsOf, segmentsOf } from "./clips.js";
import { Help, Reasons } from "./dialogs.js";
import { Keys } from "./keys.js";
import { calmly, facets, listen, look, people } from "./live.js";
import { Player } from "./player.js";
import { Queue } from "./queue.js";
import { go, to } from "./rooms.js";
import { build, shortcuts } from "./screen.js";
import { Said } from "./said.js";
import { Marks } from "./marks.js";
import { Original, closed } from "./originals.js";
import { forget, shownAs } from "./sprites.js";
import { FloorMap } from "./map.js";
import { Departures } from "./paths.js";
import { Tally } from "./tally.js";
import { Timeline } from "./timeline.js";
import { ago, clock } from "./times.js";
import { NEWS, Verdicts } from "./verdicts.js";

const NOT_FOR_SEGMENTS = new Set(["summarise", "chat", "judge"]);

export async function start(root) {
  const user = await me();
  const review = new Review(root, user);
  return { arrive: (params) => review.arrive(params), leave: () => review.leave() };
}

/** Which file of a clip the player asks for, see Player.load. */
function fileOf(clip) {
  if (!clip.covered) return "";
  return closed(clip) ? null : `v=${clip.covered.version}`;
}

class Review {
  constructor(root, user) {
    Object.assign(this, { root, user, clip: null, inClip: [], found: null, others: null });
    this.player = new Player((t) => this.timeline.moveTo(t));
    this.timeline = new Timeline({
      onseek: (t) => this.seek(t),
      onthreshold: (score) => this.showThreshold(score),
      onchoose: (id) => this.choose(id),
      onspan: (id, start, end) => this.moveSpan(id, start, end),
    });
    this.boxes = new Boxes(this.player, (counts) => {
      this.timeline.counts = counts;
      this.timeline.draw();
    });
    this.queue = new Queue({
      onchoose: (id) => this.choose(id),
      onselect: () => this.queue.showBulk(this.verdicts.bulkButtons()),
      clip: () => this.clip,
    });
    this.said = new Said({
      onseek: (t) => this.seek(t),
      onchange: (fresh) => this.changed(fresh),
      onspan: (id, a, b) => this.moveSpan(id, a, b),
    });
    this.said.own = user.name;
    this.verdicts = new Verdicts(this);
    this.marks = new Marks(this);
    this.reasons = new Reasons();
    this.help = new Help();
    this.tally = new Tally();
    this.map = new FloorMap(this.player.video);
    this.departures = new Departures(
      (departures) => Object.assign(this.timeline, { departures }).draw(),
      (t) => this.seek(t),
    );
    this.seeking = new Again(this.boxes);
    this.original = new Original((query) => this.look(query));
    this.layers = [
      ["boxes", "Boxes around people and things", "brackets", "B"],
      ["tails", "Tails: where they came from", "ellipsis", "V"],
      ["zones", "Zones and lines", "map-pin", "Z"],
    ];
    build(this);
    this.keys = new Keys(shortcuts(this), () => shown(this.root));
    this.refresh = calmly(() => this.anew());
    listen((change) => this.hear(change));
  }

  kept(name, usual) {
    const box = el("input", {
      type: "checkbox",
      checked: (localStorage.getItem(`vlad ${name}`) ?? String(usual)) === "true",
    });
    box.addEventListener("change", () => {
      localStorage.setItem(`vlad ${name}`, String(box.checked));
      box.blur(); // or the next key would be the box's
    });
    return box;
  }

  // what is on screen

  /** at: seconds of the clip; moment: seconds since 1970, of which the clip may know when they are in it. */
  async arrive({ video, segment, at, moment }) {
    if ([video, segment].some((id) => id !== undefined && !/^[0-9a-f]{32}$/.test(id))) {
      say("This link leads to nothing that is here.", { wrong: true });
      video = segment = undefined;
    }
    this.departures.show(this.clip); // what was learnt, and where the floor is, may be others since
    if (this.map.element.open) this.map.load();
    await tried(async () => {
      this.learn(); // choices come meanwhile
      if (segment) await this.toSegment(segment);
      else if (video) await this.toClip(video, at, moment);
      else {
        await this.queue.fetch();
        if (!this.found && this.queue.list.length) await this.choose(this.queue.list[0].id);
        else if (!this.found) await this.tell(null);
      }
    }, this.root);
  }

  learn() {
    tried(async () => {
      const prompts = await api("/prompts");
      this.said.explained.offer(prompts.filter((p) => p.version && !NOT_FOR_SEGMENTS.has(p.name)).map((p) => p.name));
    }, this.root);
    tried(async () => {
      const [found] = await Promise.all([facets(), this.queue.learn()]);
      this.said.labels = found.labels;
      if (this.found) this.said.showSpan(this.found);
    }, this.root);
  }

  leave() {
    this.player.video.pause();
    look({});
  }

  async toSegment(id) {
    if (this.found?.id === id) return;
    const found = await api(`/segments/${id}`);
    await this.open(found.video, { at: found.start });
    if (!this.queue.list.length) await this.queue.fetch();
    if (!this.queue.get(id)) await this.within({ status: "" });
    await this.choose(id);
  }

  /** The queue of this clip alone. */
  async within({ status, by }) {
    this.queue.scope.value = "clip";
    this.queue.state.value = status;
    if (by) this.queue.order.value = by;
    await this.others;
    if (this.queue.whole && this.clip.analysed) this.queue.take(this.inClip);
    else await this.queue.fetch({ anew: true });
  }

  async toClip(video, at, moment) {
    await this.open(video);
    await this.within({ status: "", by: "start" });
    if (moment && this.clip.recorded !== null) {
      at = Math.min(Math.max(0, Number(moment) - this.clip.recorded), this.timeline.duration);
      const met = this.queue.list.find((s) => s.end > at && s.start < at + 10); // what an alarm that began then is about
      if (met) return this.choose(met.id);
    }
    if (Number.isFinite(Number(at ?? NaN))) {
      await this.tell(null);
      this.timeline.zoom(Math.max(1, this.timeline.duration / 60), Number(at));
      this.seek(Number(at));
    } else if (this.queue.list.length) await this.choose(this.queue.list[0].id);
    else await this.tell(null);
  }

  /** A clip into player and timeline; fresh: also where it is there already, with zoom and place as they are. at (s): where a new one begins. */
  async open(id, { fresh = false, at = 0 } = {}) {
    if (!fresh && this.clip?.id === id && this.clip.analysed) return;
    const clip = await api(`/videos/${id}`),
      same = this.clip?.id === id && this.clip.analysed;
    this.clip = clip;
    this.describe();
    this.rest();
    if (!same) this.inClip = [];
    if (!clip.analysed) {
      this.player.unload();
      this.timeline.load(null);
      this.boxes.load(null);
      return;
    }
    this.original.show(clip);
    this.tally.show(clip);
    this.map.show(clip);
    if (this.player.id !== id || (!this.original.open && this.player.query !== fileOf(clip))) {
      shownAs(id, clip.covered?.version ?? "");
      const place = this.player.id === id ? this.player.time : at;
      this.player.load(id, clip.fps, fileOf(clip));
      this.player.seek(place);
    }
    const floats = new Float32Array(await api(`/videos/${id}/scores`)),
      count = (floats.length - 1) / 2;
    if (this.clip !== clip) return; // somebody went on meanwhile
    const kept = same ? { view: this.timeline.view, now: this.timeline.now, chosen: this.timeline.chosen } : {};
    this.timeline.load({
      id,
      scores: floats.subarray(0, count),
      edges: floats.subarray(count),
      duration: clip.duration,
      segments: this.inClip,
      gaps: clip.gaps,
      starts: clip.starts_at,
    });
    Object.assign(this.timeline, kept);
    this.boxes.load(id, clip.duration, clip.camera);
    this.departures.show(clip);
    this.seeking.show(clip);
    tried(async () => {
      const { held } = await api(`/videos/${id}/rules`);
      if (this.clip === clip) Object.assign(this.timeline, { held }).draw();
    });
    if (!same) {
      this.marks.clear();
      this.timeline.setThreshold(clip.threshold ?? 0.5);
    }
    this.others = tried(async () => {
      const segments = await segmentsOf(id);
      if (this.clip?.id !== id) return;
      this.inClip = this.timeline.segments = segments;
      this.timeline.draw();
      this.showThreshold(this.timeline.threshold);
    }, this.root);
  }

  describe() {
    this.title.textContent = this.clip.name;
    fill(this.facts, factsOf(this.clip));
  }

  /** Show a segment. What is pressed before it is on screen decides nothing. */
  async choose(id, { seek = true } = {}) {
    this.wanted = id;
    this.verdicts.wait();
    const found = await tried(() => api(`/segments/${id}`));
    if (!found || this.wanted !== id) return;
    await tried(() => this.open(found.video, { at: found.start }));
    if (this.wanted !== id) return;
    history.replaceState(null, "", to("review", { segment: id }));
    this.timeline.chosen = id;
    if (seek) this.seek(found.start);
    this.timeline.reveal(found.start, found.end);
    if (this.player.loop) this.player.loop = [found.start, found.end];
    if (this.plays.checked) this.player.play();
    await this.tell(found);
    this.queue.mark(id, true);
  }

  async tell(found) {
    if (!found) this.wanted = null;
    this.found = found;
    this.timeline.chosen = found?.id ?? null;
    this.timeline.draw();
    for (const one of this.verdictButtons) one.disabled = !found;
    this.rest();
    this.said.tell(
      found,
      !this.clip
        ? ""
        : this.clip.analysed
          ? "Choose a segment."
          : this.clip.job?.error || "This clip is not analysed yet.",
    );
    if (!found) this.queue.mark(null);
    look(found ? { segment: found.id, video: found.video } : {});
    this.verdicts.shown();
  }

  /** Nothing to play and nothing to decide: no tools that would do nothing. */
  rest() {
    const idle = !this.clip?.analysed;
    this.bench.hidden = idle;
    this.idle.hidden = !idle;
    fill(
      this.idle,
      el("p", {}, this.clip ? "This clip has no timeline yet." : "No clip is open."),
      button("To the clips", () => go("analyse")),
    );
  }

  step(by) {
    const next = this.queue.beside(this.wanted ?? this.found?.id, by);
    if (next) this.choose(next.id);
    else if (by > 0 && !this.queue.more.hidden)
      this.queue.append().then(() => this.queue.beside(this.found?.id, 1) && this.step(1));
    else say(by > 0 ? "This is the last one." : "This is the first one.");
  }

  extend(by) {
    const next = this.queue.beside(this.found?.id, by);
    if (!next || !this.found) return;
    this.queue.select([
      ...this.queue.selected,
      ...[this.queue.get(this.found.id), next].filter(Boolean).map((s) => [s.id, s.version]),
    ]);
    this.choose(next.id);
  }

  seek(time) {
    this.player.seek(time);
    this.timeline.moveTo(time);
  }

  pace(by) {
    this.speed.textContent = `${this.player.pace(by)}×`;
  }

  loop() {
    this.player.repeat(this.player.loop || !this.found ? null : [this.found.start, this.found.end]);
    this.loopButton.setAttribute("aria-pressed", String(Boolean(this.player.loop)));
  }

  showThreshold(score) {
    this.threshold.value = score.toFixed(2);
    const left = this.inClip.filter((s) => s.peak >= score).length;
    this.above.textContent = `${left} of ${this.inClip.length} segments reach it`;
    this.queue.faint(new Set(this.inClip.filter((s) => s.peak < score && s.origin !== "person").map((s) => s.id)));
  }

  again() {
    if (!this.clip) return;
    tried(async () => {
      await post(`/videos/${this.clip.id}/analyse`, { enter: this.timeline.threshold });
      say(
        `${this.clip.name} is in the queue again, with the threshold ${this.timeline.threshold.toFixed(2)}; what was decided stays.`,
      );
      this.refresh();
    });
  }

  // what happens meanwhile

  hear(change) {
    if (change.kind === "presence") {
      if (shown(this.root)) this.queue.eyes(people, this.user.name);
      return;
    }
    if (change.kind === "video" && change.video) forget(change.video);
    if (shown(this.root)) this.refresh();
  }

  /** Look again at what is on screen: the list, the clip, the segment. Place, zoom, focus, scroll and drafts stay. */
  async anew() {
    if (!shown(this.root)) return;
    await this.queue.fetch();
    const { clip, found } = this;
    if (clip) {
      const fresh = await api(`/videos/${clip.id}`).catch((error) => {
        if (error.status === 404) return null; // removed, or no longer this person's to see
        throw error;
      });
      if (this.clip !== clip) return;
      if (!fresh) {
        await this.empty();
        return;
      }
      const other = fresh.analysed_at !== clip.analysed_at || fresh.rules !== clip.rules;
      if (fresh.analysed && (other || JSON.stringify(fresh.covered) !== JSON.stringify(clip.covered)))
        await this.open(clip.id, { fresh: true });
      else {
        this.clip = fresh;
        this.describe();
        if (fresh.analysed)
          this.inClip = this.timeline.segments = this.queue.whole ? [...this.queue.list] : await segmentsOf(clip.id);
        this.timeline.draw();
      }
    }
    if (found && this.found === found) await this.freshen(found);
    else if (!this.clip && !this.wanted) await this.first(); // else somebody looks at a moment of a clip that is no segment
    this.queue.eyes(people, this.user.name);
  }

  /** The clip is gone: nothing of it stays on screen. */
  async empty() {
    Object.assign(this, { clip: null, inClip: [] });
    this.title.textContent = "";
    fill(this.facts);
    this.player.unload();
    this.timeline.load(null);
    this.boxes.load(null);
    await this.tell(null);
    await this.first();
  }

  /** The first of the queue, which nobody asked for: no key decides on it before it was there for a while. */
  async first() {
    if (!this.queue.list.length) return;
    await this.choose(this.queue.list[0].id);
    this.verdicts.shown(NEWS);
  }

  async freshen(found) {
    const fresh = await api(`/segments/${found.id}`).catch(() => null);
    if (this.found !== found) return;
    if (!fresh || fresh.gone) {
      await this.tell(null);
      return;
    }
    if (fresh.status !== found.status && fresh.decided_by && fresh.decided_by !== this.user.name) {
      say(`${fresh.decided_by} ${fresh.status} this segment ${ago(fresh.decided_at)}.`);
      this.verdicts.shown(NEWS); // whoever was about to press a key has to see it first
      this.reasons.dialog.close();
    }
    this.found = fresh;
    this.said.tell(fresh);
  }

  /** A segment is not what it was: in the list, on the timeline, and on screen where it is there. */
  changed(fresh) {
    if (fresh.gone) {
      this.queue.list = this.queue.list.filter((s) => s.id !== fresh.id);
      this.inClip = this.inClip.filter((s) => s.id !== fresh.id);
      this.queue.show();
      if (this.found?.id === fresh.id) this.tell(null);
    } else {
      const at = this.inClip.findIndex((s) => s.id === fresh.id);
      if (at >= 0) this.inClip[at] = fresh;
      this.queue.patch(fresh);
      if (this.found?.id === fresh.id && fresh.version >= this.found.version) {
        this.found = fresh.explanations ? fresh : { ...this.found, ...fresh };
        this.said.tell(this.found);
      }
    }
    this.timeline.segments = this.inClip;
    this.timeline.draw();
  }

  async moveSpan(id, start, end) {
    const own = this.found?.id === id ? this.found : this.inClip.find((s) => s.id === id);
    const fresh = await tried(() => patch(`/segments/${id}`, { start, end, version: own.version }));
    if (fresh) {
      this.changed(fresh);
      const whose = fresh.origin === "person" ? "" : "; the model's own stays in the history";
      say(`The span is ${clock(fresh.start)} to ${clock(fresh.end)} now${whose}.`, {
        undo: () => this.moveSpan(id, own.start, own.end),
      });
    } else await this.open(this.clip.id, { fresh: true });
  }

  showLayer(layer) {
    const on = this.boxes.toggle(layer);
    this.root.querySelector(`[data-layer=${layer}]`).setAttribute("aria-pressed", String(on));
    if (layer === "zones" && on && !this.boxes.shapes.length)
      say("This camera has no zones and no lines; draw some under Places.");
  }

  /** Another file of the clip that is open, at the same place: the original, or the covered one again. */
  look(query) {
    const at = this.player.time;
    this.player.load(this.clip.id, this.clip.fps, query || fileOf(this.clip));
    this.player.seek(at);
  }

  assign() {
    if (!this.found) return;
    const mine = this.found.assigned === this.user.name;
    tried(async () =>
      this.changed(await put(`/segments/${this.found.id}/assigned`, { to: mine ? "" : this.user.name })),
    );
  }
}

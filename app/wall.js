// A wall of cameras as they are watched: how each is, its newest picture, its scores of late, live view. Who may, adds and changes cameras.
import { api, me, post, remove } from "./api.js";
import { Form } from "./camera.js";
import { button, el, fill, say, sure, tried } from "./dom.js";
import { pictureOf } from "./frames.js";
import { listen } from "./live.js";
import { to } from "./rooms.js";
import { svg } from "./shapes.js";
import { bytes, when } from "./times.js";

const PACE = 2000, // milliseconds between two pictures
  SCORES = 5, // pictures to one look at scores and states
  MINUTES = 10, // of scores
  BACK = 30; // seconds that "Back" goes back
const [WIDE, TALL] = [300, 60];
const SIGNS = { on: "●", slow: "◐", connecting: "○", lost: "▲", refused: "■", off: "–" };

/** A camera's state in a word, and why. */
function stateOf({ on, state }) {
  if (!on) return { word: "off", why: "" };
  return { word: state?.state ?? "connecting", why: state?.why ?? "" };
}

/** How much of the last minutes is missing, and why lastly. */
function missed(gaps = []) {
  const since = Date.now() / 1000 - 60 * MINUTES,
    late = gaps.filter(([, end]) => end > since),
    lost = late.reduce((sum, [start, end]) => sum + end - Math.max(start, since), 0);
  return late.length ? `${lost.toFixed(0)} s of ${MINUTES} min are missing (${late.at(-1)[2]})` : "";
}

class Tile {
  constructor(wall, camera) {
    this.wall = wall;
    this.id = camera.id;
    this.image = el("img", { alt: `Newest picture of ${camera.name}`, hidden: true });
    this.none = el("p", { class: "small none" }, "no picture");
    this.state = el("p", { class: "small", role: "status" });
    this.curve = svg("svg", {
      viewBox: `0 0 ${WIDE} ${TALL}`,
      class: "spark",
      role: "img",
      preserveAspectRatio: "none",
    });
    this.alarm = el("a", { class: "going", hidden: true, href: to("alarms", { camera: camera.name }) }, "alarm");
    this.muted = button("Mute for 30 minutes", () => this.mute(), { picture: "bell-off", words: false });
    this.element = el(
      "li",
      { class: "tile" },
      el("div", { class: "shown" }, this.image, this.none),
      el("div", { class: "row tight" }, el("h3", {}, camera.name), this.alarm),
      this.state,
      this.curve,
      el(
        "div",
        { class: "row tight" },
        button("Live", () => wall.play(this.camera), { picture: "monitor-play" }),
        this.muted,
        wall.admin
          ? [
              button(`Change ${camera.name}`, () => wall.edit(this.camera), { picture: "pencil", words: false }),
              button(`Remove ${camera.name}`, () => wall.drop(this.camera), { picture: "trash-2", words: false }),
            ]
          : null,
      ),
    );
    this.tell(camera);
  }

  tell(camera) {
    this.camera = camera;
    const { word, why } = stateOf(camera),
      s = camera.state ?? {},
      muted = camera.muted_until ? `muted until ${when(camera.muted_until).slice(11, 16)}` : "";
    const facts = ["on", "slow"].includes(word)
      ? [
          s.what,
          word === "on" ? s.why : "",
          s.share < 1 ? `looked at ${Math.round(100 * s.share)} %` : "",
          s.delay ? `score after ${s.delay.toFixed(1)} s` : "",
          missed(s.gaps),
          s.drift ? `clock ${s.drift > 0 ? "+" : ""}${s.drift.toFixed(0)} ms an hour` : "",
          s.bytes ? bytes(s.bytes) : "",
        ]
      : [why, s.since && camera.on ? `since ${when(s.since).slice(11, 16)}` : ""];
    fill(
      this.state,
      el("span", { class: `state ${word}` }, el("span", { "aria-hidden": "true" }, `${SIGNS[word] ?? "•"} `), word),
      [...facts, muted].filter(Boolean).map((fact) => ` · ${fact}`),
    );
    this.muted.setAttribute("aria-pressed", String(Boolean(camera.muted_until)));
    const name = camera.muted_until ? `Hear ${camera.name} again` : `Mute ${camera.name} for 30 minutes`;
    this.muted.setAttribute("aria-label", name);
    this.muted.title = name;
  }

  /** The newest picture, once it is loaded; the one before stays until then. */
  async look() {
    if (!this.camera.on || this.loading) return;
    this.loading = true;
    try {
      const { data, covered } = await pictureOf(this.id);
      this.none.textContent = covered ? "people are covered: no live pictures" : "no picture";
      this.image.hidden = !data;
      this.none.hidden = Boolean(data);
      if (this.address) URL.revokeObjectURL(this.address);
      this.address = data ? URL.createObjectURL(data) : "";
      if (data) this.image.src = this.address;
    } catch {
      this.image.hidden = true; // the server is away, which the page says
    } finally {
      this.loading = false;
    }
  }

  async scores() {
    const found = await api(`/cameras/${this.id}/scores?minutes=${MINUTES}`).catch(() => null);
    if (!found) return;
    const now = Date.now() / 1000,
      x = (t) => (((t - now) / 60 + MINUTES) / MINUTES) * WIDE,
      y = (v) => (1 - v) * TALL,
      highest = Math.max(0, ...found.scores),
      held = this.camera.threshold ?? 0.5; // as alarms are where nobody set or calibrated one
    const line = found.times.map((t, i) => `${x(t).toFixed(1)},${y(found.scores[i]).toFixed(1)}`).join(" "),
      level = y(held);
    this.curve.setAttribute(
      "aria-label",
      found.scores.length
        ? `Scores of the last ${MINUTES} minutes: highest ${highest.toFixed(2)}, threshold ${held.toFixed(2)}`
        : "No scores yet",
    );
    const missing = (this.camera.state?.gaps ?? []).filter(([, end]) => end > now - 60 * MINUTES);
    this.curve.replaceChildren(
      ...missing.map(([start, end]) =>
        svg("rect", {
          x: Math.max(0, x(start)),
          y: 0,
          width: Math.max(1, x(end) - Math.max(0, x(start))),
          height: TALL,
          class: "gap",
        }),
      ),
      svg("line", { x1: 0, x2: WIDE, y1: level, y2: level, class: "threshold" }),
      svg("polyline", { points: line, class: "scores" }),
    );
  }

  mute() {
    tried(async () => {
      const minutes = this.camera.muted_until ? 0 : 30;
      this.tell(await post(`/cameras/${this.id}/mute`, { minutes }));
      say(
        minutes ? `${this.camera.name} raises no alarm for ${minutes} minutes.` : `${this.camera.name} is heard again.`,
      );
    }, this.element);
  }
}

class Wall {
  constructor(root, admin) {
    Object.assign(this, { root, admin, tiles: new Map(), turn: 0, timer: null });
    this.list = el("ul", { class: "wall", "aria-label": "Cameras" });
    this.none = el("p", { hidden: true });
    this.player = new Player();
    this.form = admin ? new Form(() => this.load()) : null;
    fill(root, el("div", { class: "vlad" }, this.none, this.list, this.player.element, this.form?.element));
    listen(({ kind }) => {
      if (this.timer && (kind === "camera" || kind === "alarm" || kind === "all")) this.load();
    });
  }

  async arrive() {
    await this.load();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.look(), PACE);
    this.form?.arrive();
    await this.look();
  }

  leave() {
    clearInterval(this.timer);
    this.timer = null;
    this.player.close();
    this.form?.leave();
  }

  async load() {
    const [cameras, { alarms }] = await Promise.all([api("/cameras"), api("/alarms?going=true&count=200")]);
    for (const id of [...this.tiles.keys()].filter((one) => !cameras.some((c) => c.id === one))) {
      this.tiles.get(id).element.remove();
      this.tiles.delete(id);
    }
    for (const camera of cameras) {
      if (this.tiles.has(camera.id)) this.tiles.get(camera.id).tell(camera);
      else {
        this.tiles.set(camera.id, new Tile(this, camera));
        this.list.append(this.tiles.get(camera.id).element);
      }
      this.tiles.get(camera.id).alarm.hidden = !alarms.some((a) => a.camera === camera.name);
    }
    this.none.hidden = cameras.length > 0;
    this.none.textContent = this.admin
      ? "No camera is watched yet. Add one below."
      : "No camera is watched yet; an admin adds them.";
  }

  /** What changes without anybody's doing: pictures, and now and then scores and states. */
  async look() {
    if (document.hidden) return;
    const tiles = [...this.tiles.values()];
    if (this.turn++ % SCORES === 0) {
      await tried(() => this.load());
      tiles.forEach((tile) => tile.scores());
    }
    tiles.forEach((tile) => tile.look());
  }

  play(camera) {
    this.player.open(camera);
  }

  edit(camera) {
    this.form.open(camera);
  }

  async drop(camera) {
    if (
      !(await sure(
        `Remove ${camera.name}? It is watched no more, and what it recorded is forgotten; its alarms and their clips stay.`,
        "Remove",
      ))
    )
      return;
    await tried(() => remove(`/cameras/${camera.id}`));
    await tried(() => this.load());
  }
}

/** Live view of one camera, by HLS; where its codec cannot be played, its pictures. */
class Player {
  constructor() {
    this.video = el("video", {
      controls: true,
      muted: true,
      autoplay: true,
      playsInline: true,
      "aria-label": "Live view",
    });
    this.title = el("h2", {});
    this.told = el("p", { class: "small", role: "status" });
    this.clock = el("p", { class: "small" });
    this.video.addEventListener("timeupdate", () => this.tell());
    this.element = el(
      "dialog",
      { class: "vlad live", "aria-label": "Live view", onclose: () => this.stop() },
      this.title,
      this.video,
      this.clock,
      this.told,
      el(
        "div",
        { class: "row tight" },
        button(`Back ${BACK} s`, () => this.back(), { picture: "rotate-ccw" }),
        button("Now", () => this.now(), { picture: "skip-forward" }),
        button("Close", () => this.close()),
      ),
    );
  }

  async open(camera) {
    this.camera = camera;
    this.title.textContent = camera.name;
    this.told.textContent = "";
    this.element.showModal();
    const since = Math.floor(Date.now() / 1000) - 120,
      address = `/api/cameras/${camera.id}/live.m3u8?since=${since}`;
    const answer = await fetch(address);
    if (!answer.ok) {
      this.told.textContent = (await answer.json().catch(() => ({}))).detail ?? "Nothing is recorded of it.";
      return;
    }
    const { default: Hls } = await import("./hls.js");
    if (this.camera !== camera || !this.element.open) return;
    if (!Hls.isSupported()) {
      this.video.src = address; // a browser that plays HLS by itself
      return;
    }
    this.hls = new Hls({ enableWorker: false, liveSyncDurationCount: 2, backBufferLength: 120 });
    this.hls.on(Hls.Events.ERROR, (_, { fatal, details }) => {
      if (!fatal) return;
      this.told.textContent = details.startsWith("level")
        ? "Nothing of it has been recorded in the last two minutes."
        : `This browser cannot play it (${details}).`;
      this.stop();
    });
    this.hls.loadSource(address);
    this.hls.attachMedia(this.video);
  }

  /** When what is shown was. */
  tell() {
    const shown = this.hls?.playingDate;
    this.clock.textContent = shown
      ? `As it was at ${when(shown / 1000).slice(11, 19)}, ${Math.max(0, Math.round((Date.now() - shown) / 1000))} s ago`
      : "";
  }

  back() {
    this.video.currentTime = Math.max(
      this.video.seekable.length ? this.video.seekable.start(0) : 0,
      this.video.currentTime - BACK,
    );
    this.video.play();
  }

  now() {
    const { seekable } = this.video;
    if (seekable.length) this.video.currentTime = this.hls?.liveSyncPosition ?? seekable.end(seekable.length - 1);
    this.video.play();
  }

  close() {
    this.camera = null;
    if (this.element.open) this.element.close();
  }

  stop() {
    this.hls?.destroy();
    this.hls = null;
    this.clock.textContent = "";
    this.video.removeAttribute("src");
    this.video.load();
  }
}

export async function start(root) {
  const user = await me();
  return new Wall(root, user.scopes.includes("admin"));
}

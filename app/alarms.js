// Alarms of cameras: a list that grows by itself, and what people do about one. Nothing goes on to the next by itself, and a key counts for what is on screen alone.
import { Refused, api, post } from "./api.js";
import { button, choice, el, fill, labelled, options, say, shown, tried } from "./dom.js";
import { Keys, leave } from "./keys.js";
import { listen } from "./live.js";
import { to } from "./rooms.js";
import { ago, clock, when } from "./times.js";

const PAGE = 100;
const STATES = [
  ["", "every state"],
  ["open", "open"],
  ["acknowledged", "acknowledged"],
  ["escalated", "escalated"],
];

/** What an alarm seems to be, in words that claim nothing. */
const called = (a) => (a.summary ? `${a.counted} more than an hour allows` : a.label ? `${a.label}?` : "flagged");

class Alarms {
  constructor(root) {
    Object.assign(this, { root, rows: [], next: null, chosen: null, here: false });
    const again = (event) => {
      leave(event.target);
      tried(() => this.load());
    };
    this.state = choice(STATES, { "aria-label": "State", onchange: again });
    this.camera = choice([["", "every camera"]], { "aria-label": "Camera", onchange: again });
    this.counts = el("p", { class: "small", role: "status" });
    this.list = el("ul", { class: "alarms", "aria-label": "Alarms" });
    this.more = button("Older ones", () => tried(() => this.load(this.next)), { hidden: true });
    this.detail = el("div", { class: "alarm" });
    fill(
      root,
      el(
        "div",
        { class: "vlad two" },
        el(
          "section",
          { "aria-label": "List" },
          el("div", { class: "row tight" }, labelled("Show", this.state), labelled("of", this.camera)),
          this.counts,
          this.list,
          this.more,
        ),
        el("section", { "aria-label": "Alarm" }, this.detail),
      ),
    );
    this.keys = new Keys(
      {
        k: { act: () => this.step(-1), held: true },
        j: { act: () => this.step(1), held: true },
        ArrowUp: { act: () => this.step(-1), held: true },
        ArrowDown: { act: () => this.step(1), held: true },
        a: () => this.answer("acknowledge"),
        e: () => this.answer("escalate"),
        c: () => this.judge("confirmed"),
        x: () => this.judge("dismissed"),
        u: () => this.judge(""),
      },
      () => shown(this.root),
    );
    listen(({ kind, id }) => {
      if (this.here && (kind === "alarm" || kind === "all")) tried(() => this.refresh(id));
    });
  }

  async arrive({ alarm, camera }) {
    this.here = true;
    const cameras = await tried(() => api("/cameras"));
    options(this.camera, [["", "every camera"], ...(cameras ?? []).map((c) => [c.name, c.name])]);
    if (camera !== undefined) this.camera.value = camera;
    await tried(() => this.load());
    if (/^[0-9a-f]{32}$/.test(alarm ?? "")) this.choose((await tried(() => api(`/alarms/${alarm}`))) ?? null);
    else if (!this.chosen && this.rows.length) this.choose(this.rows[0]);
  }

  leave() {
    this.here = false;
  }

  async load(before = "") {
    const query = new URLSearchParams({ state: this.state.value, count: String(PAGE), ...(before ? { before } : {}) });
    if (this.camera.value) query.set("camera", this.camera.value);
    const { alarms, next, counts } = await api(`/alarms?${query}`);
    this.rows = before ? [...this.rows, ...alarms] : alarms;
    this.next = next;
    this.more.hidden = !next;
    this.counts.textContent = `${counts.open} open, ${counts.acknowledged} acknowledged, ${counts.escalated} escalated; ${counts.going} going on.`;
    this.draw();
  }

  /** Something changed: the list anew, and the chosen one where it is what changed. What is chosen stays chosen. */
  async refresh(id) {
    await this.load();
    const { chosen } = this;
    if (!chosen || (id && id !== chosen.id)) return;
    const fresh = await api(`/alarms/${chosen.id}`);
    if (this.chosen?.id === chosen.id) this.show(fresh); // who went on to another meanwhile is not fetched back
  }

  draw() {
    fill(
      this.list,
      this.rows.map((a) =>
        el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              "aria-current": a.id === this.chosen?.id ? "true" : null,
              onclick: () => this.choose(a),
            },
            el("span", { class: `state ${a.state}` }, a.going ? "● " : "", a.verdict || a.state),
            el("strong", {}, a.camera),
            el("span", {}, called(a)),
            el("span", { class: "small" }, `${when(a.start)}, ${clock(a.end - a.start, 0)}`),
          ),
        ),
      ),
    );
    if (!this.rows.length) fill(this.list, el("li", { class: "small" }, "No alarm here."));
  }

  step(by) {
    const at = this.rows.findIndex((a) => a.id === this.chosen?.id),
      next = this.rows[at < 0 ? 0 : at + by];
    if (next) this.choose(next);
    this.list.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
  }

  choose(alarm) {
    this.show(alarm);
    this.draw();
    if (alarm) history.replaceState(null, "", to("alarms", { alarm: alarm.id }));
  }

  show(a) {
    const same = a && a.id === this.chosen?.id;
    this.chosen = a;
    if (!a) {
      fill(this.detail, "Choose an alarm.");
      return;
    }
    if (!same) this.picture = this.pictureOf(a);
    const act = (name, work, more) => button(name, work, more);
    fill(
      this.detail,
      el("h2", {}, `${a.camera}: ${called(a)}`),
      el(
        "p",
        { class: "small" },
        [
          `${when(a.start)} to ${when(a.end).slice(11)}${a.going ? ", going on" : ""}`,
          a.zone ? `in ${a.zone}` : "",
          a.summary
            ? ""
            : `score up to ${a.peak.toFixed(2)}${a.threshold ? `, threshold ${a.threshold.toFixed(2)}` : ""}`,
          a.counted > 1 && !a.summary ? `${a.counted} times` : "",
          a.by ? `${a.state} by ${a.by} ${ago(a.at)}` : a.state,
          a.verdict,
        ]
          .filter(Boolean)
          .join(" · "),
      ),
      this.picture,
      el(
        "div",
        { class: "acts", role: "group", "aria-label": "What is done about it" },
        act("Acknowledge", () => this.answer("acknowledge"), {
          picture: "user-check",
          key: "A",
          disabled: a.state === "acknowledged",
        }),
        act("Escalate", () => this.answer("escalate"), {
          picture: "siren",
          key: "E",
          disabled: a.state === "escalated",
        }),
        act("It was right", () => this.judge("confirmed"), { picture: "check", key: "C", class: "confirm" }),
        act("False alarm", () => this.judge("dismissed"), { picture: "x", key: "X", class: "dismiss" }),
        act("Take back", () => this.judge(""), { picture: "undo-2", key: "U", disabled: !a.verdict }),
      ),
      a.video
        ? el(
            "p",
            {},
            el("a", { href: to("review", { video: a.video, moment: String(a.start) }) }, "The clip, in Review"),
          )
        : el("p", { class: "small" }, a.going ? "Its clip is kept once it is over." : "No clip of it is here yet."),
    );
  }

  /** The picture of when it was raised; where there is none, or people are covered, a line that says so. */
  pictureOf(a) {
    const place = el("div", { class: "shown" });
    tried(async () => {
      const answer = await fetch(`/api/alarms/${a.id}/picture`);
      if (answer.ok) {
        const address = URL.createObjectURL(await answer.blob()),
          image = el("img", {
            alt: `${a.camera} when it was raised`,
            src: address,
            onload: () => URL.revokeObjectURL(address),
          });
        fill(place, image);
      } else
        fill(
          place,
          el(
            "p",
            { class: "small" },
            answer.status === 409 ? "People are covered: look at its clip." : "There is no picture of it.",
          ),
        );
    });
    return place;
  }

  answer(what) {
    return this.act(
      (a) => post(`/alarms/${a.id}/${what}`, { version: a.version }),
      what === "escalate" ? "Others are told." : "It is yours.",
    );
  }

  judge(verdict) {
    return this.act(
      (a) => (a.verdict === verdict ? a : post(`/alarms/${a.id}/verdict`, { verdict, version: a.version })),
      verdict ? `Noted: ${verdict === "confirmed" ? "it was right" : "a false alarm"}.` : "Taken back.",
    );
  }

  /** Something about the alarm on screen; where somebody was quicker, what they did is shown. */
  async act(work, words) {
    const a = this.chosen;
    if (!a || this.busy) return;
    this.busy = true;
    try {
      const fresh = await work(a);
      say(words);
      if (this.chosen?.id === a.id) this.show(fresh);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      say(error.message, { wrong: true });
    } finally {
      this.busy = false;
    }
    await tried(() => this.refresh(a.id));
  }
}

export async function start(root) {
  return new Alarms(root);
}

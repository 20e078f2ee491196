// What stands where in Review, and which key does what. Every key has a button, every button a name.
import { button, el, fill, labelled } from "./dom.js";

/** The room's elements, in review.root. */
export function build(review) {
  review.title = el("h2", {}, "");
  review.facts = el("p", { class: "small facts" });
  review.advance = review.kept("advance", true);
  review.plays = review.kept("plays", false);
  review.speed = el("span", { class: "small", role: "status" }, "1×");
  review.threshold = el("input", {
    type: "number",
    min: "0.01",
    max: "0.99",
    step: "0.01",
    "aria-label": "Threshold",
    onchange: () => review.timeline.setThreshold(Number(review.threshold.value) || 0.5),
  });
  review.above = el("span", { class: "small", role: "status" });
  const small = (name, picture, act, key) => button(name, act, { picture, words: false, key });
  review.verdictButtons = [
    button("Confirm", (event) => review.verdicts.press(event, () => review.verdicts.decide("confirmed")), {
      picture: "check",
      key: "C",
      class: "confirm",
    }),
    button("Dismiss", (event) => review.verdicts.press(event, () => review.verdicts.ask()), {
      picture: "x",
      key: "X",
      class: "dismiss",
    }),
  ];
  const acts = el(
    "div",
    { class: "acts", role: "group", "aria-label": "Verdict" },
    ...review.verdictButtons,
    button("Undo", (event) => review.verdicts.press(event, () => review.verdicts.undo()), {
      picture: "undo-2",
      key: "U",
    }),
    small("Previous segment", "chevron-up", () => review.step(-1), "P"),
    small("Next segment", "chevron-down", () => review.step(1), "N"),
    button("Mine", () => review.assign(), { picture: "user-check", key: "A" }),
    small("All keys", "circle-help", () => review.help.open(), "?"),
  );
  const tools = el(
    "div",
    { class: "tools", role: "group", "aria-label": "Player and timeline" },
    small(
      "Two seconds before the segment",
      "skip-back",
      () => review.found && review.player.from(review.found.start),
      "F",
    ),
    small("One frame back", "step-back", () => review.player.step(-1), ","),
    small("One frame on", "step-forward", () => review.player.step(1), "."),
    (review.loopButton = small("Repeat the segment", "repeat", () => review.loop(), "R")),
    small("Slower", "chevron-left", () => review.pace(-1), "<"),
    review.speed,
    small("Faster", "chevron-right", () => review.pace(1), ">"),
    el("span", { class: "gap" }),
    ...review.marks.buttons(),
    el("span", { class: "gap" }),
    ...review.layers.map(([layer, words, picture, key]) => {
      const one = small(words, picture, () => review.showLayer(layer), key);
      one.setAttribute("aria-pressed", String(review.boxes.on[layer]));
      one.dataset.layer = layer;
      return one;
    }),
    small("Zoom in", "zoom-in", () => review.timeline.zoom(1.6), "+"),
    small("Zoom out", "zoom-out", () => review.timeline.zoom(1 / 1.6), "-"),
    small("Whole clip", "maximize-2", () => review.timeline.whole(), "0"),
  );
  review.idle = el("div", { class: "idle", hidden: true });
  const more = el(
    "details",
    { class: "more" },
    el("summary", {}, "Threshold and playing"),
    el(
      "div",
      { class: "row tight" },
      labelled("Threshold", review.threshold),
      review.above,
      el("button", { type: "button", onclick: () => review.again() }, "Analyse again with it"),
    ),
    el(
      "div",
      { class: "row tight" },
      el("label", { class: "check" }, review.advance, " to the next segment after a verdict"),
      el("label", { class: "check" }, review.plays, " play a segment when it is chosen"),
    ),
  );
  fill(
    review.root,
    el(
      "div",
      { class: "vlad review" },
      review.queue.element,
      el(
        "section",
        { class: "watch", "aria-label": "Clip" },
        el("div", { class: "titles" }, review.title, review.facts),
        review.idle,
        (review.bench = el(
          "div",
          { class: "bench" },
          review.original.element,
          review.player.element,
          review.timeline.element,
          acts,
          tools,
          more,
          review.tally.element,
          review.map.element,
          review.departures.element,
          review.seeking.element,
        )),
      ),
      review.said.element,
    ),
  );
}

/** Key to act, see Keys. */
export function shortcuts(review) {
  const held = (act) => ({ act, held: true });
  return {
    " ": () => review.player.toggle(),
    k: () => review.player.toggle(),
    j: held(() => review.seek(Math.max(0, review.player.time - 10))),
    l: held(() => review.seek(Math.min(review.timeline.duration, review.player.time + 10))),
    ",": held(() => review.player.step(-1)),
    ".": held(() => review.player.step(1)),
    "<": () => review.pace(-1),
    ">": () => review.pace(1),
    r: () => review.loop(),
    f: () => review.found && review.player.from(review.found.start),
    b: () => review.showLayer("boxes"),
    v: () => review.showLayer("tails"),
    z: () => review.showLayer("zones"),
    n: () => review.step(1),
    p: () => review.step(-1),
    ArrowDown: held(() => review.step(1)),
    ArrowUp: held(() => review.step(-1)),
    c: () => review.verdicts.decide("confirmed"),
    x: () => review.verdicts.ask(),
    u: () => review.verdicts.undo(),
    i: () => review.marks.in(),
    o: () => review.marks.out(),
    m: () => review.marks.make(),
    "[": () => review.found && review.moveSpan(review.found.id, review.player.time, review.found.end),
    "]": () => review.found && review.moveSpan(review.found.id, review.found.start, review.player.time),
    e: () => review.said.element.focus(),
    t: () => review.found && review.said.remarks.note.focus(),
    w: () => review.said.explained.wrong(),
    y: () => review.said.explained.adopt(),
    a: () => review.assign(),
    s: () => review.found && review.queue.pick(review.found.id, false),
    "Shift+ArrowDown": () => review.extend(1),
    "Shift+ArrowUp": () => review.extend(-1),
    Escape: () => review.queue.select([]),
    "+": held(() => review.timeline.zoom(1.6)),
    "=": held(() => review.timeline.zoom(1.6)),
    "-": held(() => review.timeline.zoom(1 / 1.6)),
    0: () => review.timeline.whole(),
    "?": () => review.help.open(),
  };
}

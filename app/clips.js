// What is told of a clip: its facts in a line, all its segments, and the cells of its row: its state, what was found in it, and what can be done with it.
import { api, post, remove } from "./api.js";
import { button, el, icon, status, sure } from "./dom.js";
import { edit } from "./editor.js";
import { go, to } from "./rooms.js";
import { clock, wall } from "./times.js";

const SIGNS = { queued: "ellipsis", running: "play", done: "check", failed: "circle-alert", cancelled: "ban" };

/** How far a clip is, and what went wrong with it. */
export function stateOf({ job, name, warnings, unseen, covered }) {
  if (!job) return "";
  return [
    el(
      "span",
      { class: "line" },
      icon(SIGNS[job.status]),
      ` ${job.status === "running" ? job.stage : job.status}`,
      job.stage === "explaining" && job.total && job.status === "running" ? ` ${job.done + 1} of ${job.total}` : "",
      job.status === "running"
        ? el("progress", {
            "aria-label": `${name}: ${job.stage}`,
            ...(job.share === null ? {} : { max: 1, value: job.share }),
          })
        : null,
      typeof job.seconds_left === "number"
        ? el("span", { class: "small" }, ` ${clock(job.seconds_left, 0)} left`)
        : null,
    ),
    job.error ? el("div", { class: "why" }, job.error) : null,
    job.status === "done" && covered && covered.state !== "ready"
      ? el(
          "div",
          { class: covered.state === "failed" ? "why" : "small" },
          covered.state === "failed" ? `not covered: ${covered.why}` : "being covered",
        )
      : null,
    unseen >= 0.01 ? el("div", { class: "warn" }, `${Math.round(unseen * 100)} % could not be seen`) : null,
    warnings.length ? el("div", { class: "warn small", title: warnings.join("\n") }, warnings[0]) : null,
  ];
}

/** What was found in a clip, and the way to it. */
export function foundIn({ id, found }) {
  if (!found) return "";
  if (!found.count) return el("span", { class: "small" }, "nothing flagged");
  const link = el(
    "a",
    { href: found.first ? to("review", { segment: found.first }) : to("review", { video: id }) },
    `${found.count} flagged, ${found.peak.toFixed(2)}${found.label ? ` ${found.label}?` : ""}`,
  );
  return [
    link,
    " ",
    found.open ? el("span", { class: "small" }, `${found.open} open`) : status("confirmed", { words: false }),
    found.open ? null : el("span", { class: "small" }, " all decided"),
  ];
}

/** What can be done with a clip of the room `analyse`. */
export function actsOf(clip, analyse) {
  const busy = ["queued", "running"].includes(clip.job?.status),
    small = (name, sign, act) => button(`${name} ${clip.name}`, act, { picture: sign, words: false });
  return el(
    "span",
    { class: "line" },
    clip.found ? small("Review", "play", () => go("review", { video: clip.id })) : null,
    small("Change camera and time of", "pencil", () => edit(clip, analyse.refresh)),
    busy
      ? small("Cancel", "ban", () => analyse.act(() => post(`/jobs/${clip.job.id}/cancel`)))
      : small("Analyse again", "refresh-cw", () =>
          analyse.act(() => post(`/videos/${clip.id}/analyse`, analyse.wish())),
        ),
    analyse.admin && !busy
      ? small("Remove", "trash-2", async () => {
          if (await sure(`Remove ${clip.name}? Its file goes; what was decided of it stays in the log.`, "Remove"))
            analyse.act(() => remove(`/videos/${clip.id}`));
        })
      : null,
  );
}

/** Camera, time, size and length of a clip, how far it is, and what could not be seen of it. */
export function factsOf(clip) {
  const { job } = clip,
    there = wall(clip.starts_at);
  return [
    [
      clip.camera,
      there ? `${there.day} ${there.time}` : "",
      clip.width ? `${clip.width} × ${clip.height}` : "",
      clip.duration ? clock(clip.duration, 0) : "",
      ["queued", "running"].includes(job?.status)
        ? `${job.stage || job.status}${job.stage === "explaining" && job.total ? ` ${job.done + 1} of ${job.total}` : ""}`
        : "",
      job?.status === "failed" ? job.error : "",
      clip.summary,
    ]
      .filter(Boolean)
      .join(" · "),
    clip.warnings.length ? el("span", { class: "warn" }, ` ${clip.warnings.join("; ")}`) : null,
  ];
}

/** Every segment of a clip, by start. */
export async function segmentsOf(video) {
  const found = [];
  for (;;) {
    const page = await api(
      "/segments?" + new URLSearchParams({ video, by: "start", first: String(found.length), count: "500" }),
    );
    found.push(...page.segments);
    if (found.length >= page.total || !page.segments.length) return found;
  }
}

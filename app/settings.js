// Settings and health: what runs here, thresholds by what they gave so far, storage; people, keys and the log have scripts of their own.
import { api, me, put } from "./api.js";
import { choice, el, fill, labelled, say, sends, sure, tried } from "./dom.js";
import { Log } from "./log.js";
import { Groups } from "./groups.js";
import { forgetPrivacy } from "./originals.js";
import { People } from "./people.js";
import { to } from "./rooms.js";
import { Targets } from "./targets.js";
import { bytes, plural } from "./times.js";

export async function start(root) {
  const user = await me(),
    admin = user.scopes.includes("admin");
  const health = el("dl", { class: "fields" }),
    thresholds = el("tbody", {}),
    about = el("p", { class: "small" });
  const people = new People(user, admin),
    groups = admin && !user.local ? new Groups() : null,
    log = admin ? new Log() : null,
    targets = new Targets(admin);
  const number = (props) => el("input", { type: "number", step: "any", disabled: !admin, ...props });
  const enter = number({ min: "0", max: "1", step: "0.01", placeholder: "as calibrated" }),
    days = number({ min: "1", max: "3660", step: "1", placeholder: "never" }),
    quota = number({ min: "0.001", placeholder: "the disk's" }),
    seek = number({ min: "1", max: "7", step: "1", placeholder: "off" });
  const cover = choice(
      [
        ["none", "nobody"],
        ["faces", "faces"],
        ["people", "whole people"],
      ],
      { disabled: !admin },
    ),
    how = choice(
      [
        ["mosaic", "by a mosaic"],
        ["blur", "blurred"],
        ["silhouette", "by a silhouette"],
      ],
      { disabled: !admin },
    );
  const covering = el(
    "form",
    {
      class: "row tight",
      onsubmit: (event) => {
        event.preventDefault();
        tried(async () => {
          const stop = cover.value === "none";
          const asks = stop
            ? "Show people uncovered from now on, to everybody who may see the clips?"
            : "Cover people from now on? Nothing of a clip is shown until it is covered, which takes about as long as the clip, and up to twice that.";
          if (!(await sure(asks, stop ? "Uncover" : "Cover"))) return;
          const { clips } = await put("/privacy", { cover: cover.value, how: how.value });
          forgetPrivacy();
          say(stop ? "Nobody is covered any more." : `Saved; ${plural(clips, "clip")} will be covered first.`);
        });
      },
    },
    labelled("Cover", cover),
    labelled("how", how),
    admin ? el("button", {}, "Save") : null,
  );
  /** A form for one option; empty: its default. ask(value): what to ask before a value is kept. */
  const option = (words, name, input, ask) =>
    el(
      "form",
      {
        class: "row tight",
        onsubmit: sends(input, async () => {
          const value = input.value === "" ? null : Number(input.value);
          if (value !== null && ask && !(await sure(ask(value)))) return;
          await put("/options", { [name]: value });
          say("Saved.");
          await load();
        }),
      },
      labelled(words, input),
      admin ? el("button", {}, "Save") : null,
    );
  fill(
    root,
    el(
      "div",
      { class: "vlad settings loading" },
      el("section", {}, el("h2", {}, "Health"), health),
      el(
        "section",
        {},
        el("h2", {}, "Threshold"),
        about,
        el(
          "table",
          { tabIndex: 0 },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["Threshold", "Confirmed", "Dismissed", "Missed", "False alarms an hour"].map((h) =>
                el("th", { scope: "col" }, h),
              ),
            ),
          ),
          thresholds,
        ),
        option("Threshold of new analyses", "enter", enter),
      ),
      el(
        "section",
        {},
        el("h2", {}, "Storage"),
        el(
          "p",
          { class: "small" },
          "Clips older than this are removed every hour, but for those of which something was exported. What was decided stays in the log.",
        ),
        option(
          "Remove clips after days",
          "retention_days",
          days,
          (value) => `Remove every clip older than ${value} days, from now on?`,
        ),
        option("Hold at most GiB of clips", "quota_gib", quota),
      ),
      el(
        "section",
        {},
        el("h2", {}, "Privacy"),
        el(
          "p",
          { class: "small" },
          "Who is covered in whatever leaves: pictures and clips of this page, evidence, and what a language model on another machine gets. Originals stay, and are open to those who have the right, each time with a reason that goes into the log. What no look finds is not covered: ",
          el("a", { href: to("covers") }, "somebody has to look at what is doubtful"),
          ".",
        ),
        covering,
        el(
          "p",
          { class: "small" },
          "Finding again: who has the right may look for an outfit or a vehicle's colour within so many days of one camera, with a reason that goes into the log; what was found is forgotten after as many days. By colours, never by faces.",
        ),
        option(
          "Days of finding again",
          "seek_days",
          seek,
          (value) => `Open finding again, over ${plural(value, "day")}, to those who have the right?`,
        ),
      ),
      targets.element,
      people.element,
      groups?.element ?? null,
      log?.element ?? null,
    ),
  );

  async function load() {
    const [now, table, wish] = await Promise.all([api("/health"), api("/thresholds"), api("/privacy")]);
    cover.value = wish.cover;
    how.value = wish.how;
    const jobs = Object.entries(now.jobs).map(([name, n]) => `${n} ${name}`);
    fill(
      health,
      [
        ["Preset", now.preset],
        ["Device", now.device],
        ["Encoder", now.encoder],
        ["Scorer", now.scorer],
        ["Language model", now.explainer],
        ["Jobs", jobs.join(", ") || "none"],
        ["Clips", `${now.clips}, ${bytes(now.bytes)}`],
        ["Disk", `${bytes(now.free)} free, ${bytes(now.kept_free)} of them are never used`],
        [
          "Versions",
          Object.entries(now.versions)
            .map(([k, v]) => `${k} ${v}`)
            .join(", "),
        ],
      ].flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]),
    );
    enter.value = now.options.enter ?? "";
    days.value = now.options.retention_days ?? "";
    quota.value = now.options.quota_gib ?? "";
    seek.value = now.options.seek_days ?? "";
    showThresholds(table);
    await Promise.all([targets.load(), people.load(), groups?.load(), log?.load(0)]);
  }

  function showThresholds(table) {
    about.textContent = table.segments
      ? `From ${table.segments} decided segments of clips of ${table.hours.toFixed(2)} hours in which everything was decided. Below the threshold that a clip was analysed with nothing was flagged, so what is known there is only what people marked themselves (missed).`
      : "Once every segment of a clip is decided, this table says what each threshold would have given.";
    fill(
      thresholds,
      table.thresholds
        .filter((r) => r.confirmed || r.dismissed || r.missed)
        .map((r) =>
          el(
            "tr",
            {},
            [
              r.threshold.toFixed(2),
              r.confirmed,
              r.dismissed,
              r.missed ?? 0,
              r.false_alarms_per_hour?.toFixed(1) ?? "",
            ].map((v) => el("td", {}, v)),
          ),
        ),
    );
  }
  const begin = async () => {
    await tried(load, root);
    root.firstElementChild.classList.remove("loading"); // shown in one piece: nothing jumps
  };
  return { arrive: begin };
}

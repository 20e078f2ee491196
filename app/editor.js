// Camera, time and zone of a clip, or of several at once: a window that asks.
import { patch } from "./api.js";
import { button, el, fault, labelled, tried, zoned } from "./dom.js";
import { HERE, plural, wall } from "./times.js";

const FROM = {
  typed: "typed by somebody",
  name: "read from the file's name",
  metadata: "read from the file's metadata",
};

/** clip: null for several `ids`. done(): it was changed. */
export function edit(clip, done, ids = [clip.id]) {
  const there = clip && wall(clip.starts_at);
  const name = el("input", { maxLength: 500, value: clip?.name ?? "" }),
    camera = el("input", { maxLength: 200, value: clip?.camera ?? "", placeholder: clip ? "front door" : "as it is" }),
    time = el("input", { type: "datetime-local", step: "1", value: there ? `${there.day}T${there.time}` : "" }),
    zone = zoned({ value: clip?.zone || /[+-]\d\d:\d\d$/.exec(clip?.starts_at ?? "")?.[0] || HERE });
  const [taken, before] = [time.value, zone.value]; // as the browser shows them

  /** Only what was changed. */
  function changes() {
    const moved = time.value !== taken || (clip?.starts_at && zone.value !== before);
    return {
      ...(clip && name.value !== clip.name ? { name: name.value } : {}),
      ...(camera.value !== (clip?.camera ?? "") ? { camera: camera.value } : {}),
      ...(moved ? { local: time.value || null, zone: zone.value } : {}),
    };
  }

  async function save() {
    fault(zone);
    try {
      for (const id of ids) await patch(`/videos/${id}`, changes());
    } catch (error) {
      if (/zone/.test(error.message)) fault(zone, error.message);
      throw error;
    }
    dialog.close();
    done();
  }

  const dialog = el(
    "dialog",
    { class: "vlad", "aria-label": "Clip", onclose: () => dialog.remove() },
    el("h2", {}, clip?.name ?? plural(ids.length, "clip")),
    el(
      "form",
      {
        class: "row",
        onsubmit: (event) => {
          event.preventDefault();
          tried(save, dialog);
        },
      },
      clip ? labelled("Name", name) : null,
      labelled("Camera", camera),
      labelled("First frame taken at", time),
      labelled("Time zone of the camera", zone),
      FROM[clip?.recorded_by] ? el("p", { class: "small" }, `The time was ${FROM[clip.recorded_by]}.`) : null,
      el("button", { class: "main" }, "Save"),
      button("Cancel", () => dialog.close()),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

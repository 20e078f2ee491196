// A camera is added, or changed: a window with its address, what opens it, and when and where it raises alarms.
import { patch, post } from "./api.js";
import { Board } from "./board.js";
import { button, choice, el, fault, labelled, say, sure, tried, uppermost, zoned } from "./dom.js";
import { clipsOf, frameOf, pictureOf } from "./frames.js";
import { Hours } from "./hours.js";

const DRAW = "you can draw all the same.";
const DEVICE = /^(v4l2:|\/dev\/(video\d|v4l\/))/;

/** Whether an address is a file or a folder of the machine that watches; what may still become a URL is none. */
const isPath = (text) =>
  /[/\\]/.test(text) && !/^[a-z0-9]*:\/?\/?$/i.test(text) && !text.includes("://") && !DEVICE.test(text);

export class Form {
  constructor(onsaved) {
    Object.assign(this, { onsaved, camera: null, before: "", kept: false, over: true, shown: "" });
    const text = (props) => el("input", { maxLength: 2000, autocomplete: "off", ...props }),
      number = (props) => el("input", { type: "number", step: "any", ...props });
    this.fields = {
      name: text({ required: true, maxLength: 200 }),
      url: text({ required: true, placeholder: "rtsp://192.168.1.20/stream", oninput: () => this.hint() }),
      sub_url: text({ placeholder: "the same" }),
      user: text({ maxLength: 500 }),
      password: text({ type: "password", maxLength: 500, autocomplete: "new-password" }),
      on: choice([
        ["true", "watched"],
        ["false", "off"],
      ]),
    };
    this.numbers = {
      threshold: number({ min: "0.01", max: "1", placeholder: "as calibrated, or 0.5" }),
      hold: number({ min: "0", max: "120", placeholder: "1" }),
      merge: number({ min: "0", max: "300", placeholder: "10" }),
      cool: number({ min: "0", max: "86400", placeholder: "60" }),
      most_an_hour: number({ min: "1", max: "3600", step: "1", placeholder: "12" }),
      before: number({ min: "0", max: "600", placeholder: "10" }),
      after: number({ min: "0", max: "600", placeholder: "10" }),
      hours: number({ min: "0", max: "8760", placeholder: "24" }),
      gib: number({ min: "0", placeholder: "10" }),
    };
    this.clock = zoned();
    this.hours = new Hours();
    this.board = new Board({ kinds: ["zone"], more: (shape) => this.gate(shape) });
    this.board.sketch.picture.addEventListener("error", () => (this.looks.textContent = ""));
    this.build();
  }

  build() {
    const words = {
      name: "Name", url: "Address", sub_url: "Smaller stream to look at", user: "User", password: "Password", on: "It is",
      threshold: "Threshold of alarms", hold: "Held for so many seconds", merge: "Seconds of a pause that ends none", cool: "Seconds after one without another",
      most_an_hour: "Alarms an hour at most", before: "Seconds of a clip before it", after: "and after it", hours: "Hours that are recorded", gib: "GiB at most",
    }; // prettier-ignore
    const controls = { ...this.fields, ...this.numbers },
      row = (...keys) =>
        el(
          "div",
          { class: "row" },
          keys.map((key) => labelled(words[key], controls[key])),
        ),
      [stage, ...beside] = this.board.parts,
      small = (text, props = {}) => el("p", { class: "small", ...props }, text);
    this.path = small(
      "A path on the machine that watches. A recorder's folder is read: each file in it, and in folders within it, becomes a clip once it is whole; what lies there already is left alone. A single file is read as it grows.",
      { role: "status", hidden: true },
    );
    this.looks = small("", { role: "status" });
    this.wrong = el("p", { class: "fault" });
    this.title = el("h2", {});
    this.dialog = el(
      "dialog",
      {
        class: "vlad camera",
        "aria-label": "Camera",
        closedBy: "none", // but by what stands below; a browser that does not know it may close it with the question above it, so that it is opened again
        onclose: () => this.over || !this.fresh() || this.dialog.showModal(),
      },
      this.title,
      el(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            tried(() => this.save(), this.dialog);
          },
        },
        row("name", "url", "sub_url"),
        this.path,
        row("user", "password", "on"),
        small(
          "User and password are kept apart from the address, encrypted, and shown to nobody; they are forgotten when the host changes.",
        ),
        el("h3", {}, "Alarms"),
        row("threshold", "hold", "merge", "cool", "most_an_hour"),
        el("h3", {}, "Alarms only in these hours"),
        el("div", { class: "row" }, labelled("Time zone of the camera", this.clock)),
        small(
          "It counts for these hours, and for times in the names of a recorder's files. Without one it is the zone of the machine that watches.",
        ),
        this.hours.element,
        el("h3", {}, "Alarms only in these zones"),
        small(
          "Somebody's feet have to be in one of them; without any it is the whole picture. A zone goes by the threshold and the seconds above unless it has its own.",
        ),
        stage,
        this.looks,
        beside,
        el("h3", {}, "What is kept"),
        row("before", "after", "hours", "gib"),
        el(
          "div",
          { class: "row tight end" },
          this.wrong,
          el("button", { class: "main" }, "Save"),
          button("Cancel", () => this.close()),
        ),
      ),
    );
    this.element = el(
      "div",
      {},
      button("Add a camera", () => this.open(null), { picture: "plus" }),
      this.dialog,
    );
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || uppermost() !== this.dialog || event.isComposing) return;
      event.preventDefault();
      this.close();
    });
    addEventListener(
      "beforeunload",
      (event) => (this.dialog.open || this.kept) && this.fresh() && event.preventDefault(),
    );
  }

  /** What a zone may have of its own. */
  gate(shape) {
    const number = (key, words, props) => {
      const input = el("input", {
        type: "number",
        step: "any",
        value: shape[key] ?? "",
        placeholder: "as above",
        oninput: () => (shape[key] = input.value === "" ? null : Number(input.value)),
        ...props,
      });
      return [labelled(words, input), () => `${words} of ${shape.name}`, input];
    };
    return [
      number("threshold", "Threshold", { min: "0.01", max: "1" }),
      number("hold", "Seconds", { min: "0", max: "120" }),
    ];
  }

  open(camera) {
    const settings = camera?.settings ?? {};
    this.camera = camera;
    this.title.textContent = camera ? camera.name : "A new camera";
    for (const [key, one] of Object.entries(this.fields))
      one.value = String(camera?.[key] ?? (key === "on" ? "true" : ""));
    for (const [key, one] of Object.entries(this.numbers)) one.value = settings[key] ?? "";
    this.fields.name.disabled = Boolean(camera);
    for (const key of ["user", "password"]) this.fields[key].placeholder = camera?.opened ? "as kept" : "";
    this.clock.value = settings.clock ?? "";
    this.hours.load(settings.schedule ?? []);
    this.board.load((settings.zones ?? []).map((zone) => ({ ...structuredClone(zone), kind: "zone" })));
    this.faults();
    this.hint();
    this.before = this.typed();
    this.over = false;
    this.dialog.showModal();
    tried(() => this.look());
  }

  /** Everything that was typed, chosen and drawn, to compare. */
  typed() {
    const controls = [...this.dialog.querySelectorAll("input, select")];
    return JSON.stringify([
      controls.map((one) => (one.type === "checkbox" ? one.checked : one.value)),
      this.board.shapes.map((shape) => shape.points),
    ]);
  }

  fresh() {
    return this.typed() !== this.before;
  }

  hint() {
    this.path.hidden = !isPath(this.fields.url.value.trim());
  }

  /** The newest picture below the zones: as it is watched, else of its newest clip. */
  async look() {
    const { camera } = this,
      { sketch } = this.board,
      tell = (url, words) => {
        this.looks.textContent = url ? words : "";
        sketch.show(url, words);
      };
    tell("", camera ? "Looking for a picture." : `There is no picture of it yet; ${DRAW}`);
    if (!camera) return;
    const { data, covered } = await pictureOf(camera.id).catch(() => ({})), // a server that is away is told of elsewhere
      [clip] = data || covered ? [] : await clipsOf(camera.name, 20);
    if (this.camera !== camera || !this.dialog.open) return;
    URL.revokeObjectURL(this.shown);
    this.shown = data ? URL.createObjectURL(data) : "";
    if (covered) tell("", `People are covered here, so that its picture is not shown; ${DRAW}`);
    else if (data) tell(this.shown, "This is its newest picture.");
    else if (clip)
      tell(
        frameOf(clip, (clip.duration / 2).toFixed(2)),
        "It sends no picture just now; this one is of its newest clip.",
      );
    else tell("", `There is no picture of it yet; ${DRAW}`);
  }

  /** Cancel and Escape. */
  async close() {
    if (!this.fresh() || (await sure("Drop what you changed of this camera?", "Drop"))) this.shut();
  }

  shut() {
    this.over = true;
    this.dialog.close();
  }

  /** To another room: what was not saved waits for whoever comes back. */
  leave() {
    if (!this.dialog.open) return;
    this.kept = this.fresh();
    this.shut();
  }

  arrive() {
    if (!this.kept) return;
    this.kept = this.over = false;
    this.dialog.showModal();
  }

  faults() {
    for (const one of [...Object.values(this.fields), ...Object.values(this.numbers), this.clock]) fault(one);
    this.wrong.textContent = "";
  }

  /** The field that a line of the server's is about, if it is about one. */
  about({ message, data }) {
    const [, part, key] = data?.detail?.[0]?.loc ?? [];
    if (part in this.fields) return this.fields[part];
    if (part === "settings" && (key === "clock" || key in this.numbers)) return this.numbers[key] ?? this.clock;
    if (/^zone /.test(message)) return this.clock;
    if (/^camera.* name/.test(message)) return this.fields.name;
    return /address|^user/.test(message) ? this.fields.url : this.board.about(message);
  }

  async save() {
    if (!this.board.ready()) return;
    this.faults();
    const { name, url, sub_url, user, password, on } = this.fields,
      settings = { ...this.camera?.settings };
    for (const [key, one] of Object.entries(this.numbers)) {
      if (one.value === "") delete settings[key];
      else settings[key] = Number(one.value);
    }
    settings.clock = this.clock.value.trim();
    settings.schedule = this.hours.value;
    settings.zones = this.board.shapes.map(({ name, points, threshold, hold }) => ({ name, points, threshold, hold }));
    const told = { url: url.value, sub_url: sub_url.value, on: on.value === "true", settings };
    if (user.value) told.user = user.value;
    if (password.value) told.password = password.value;
    try {
      if (this.camera) await patch(`/cameras/${this.camera.id}`, { ...told, version: this.camera.version });
      else await post("/cameras", { ...told, name: name.value });
    } catch (error) {
      const field = this.about(error);
      if (field) fault(field, error.message);
      else this.wrong.textContent = error.message;
      field?.focus();
      throw error;
    }
    password.value = "";
    this.shut();
    say("Saved.");
    await this.onsaved();
  }
}

// Groups: which reviewers see the clips of which cameras. Without any group everybody sees all.
import { api, put, remove } from "./api.js";
import { button, el, fault, fill, labelled, say, sure, tried } from "./dom.js";
import { facets } from "./live.js";

const NONE = "clips without a camera";

export class Groups {
  constructor() {
    this.list = el("ul", {});
    this.name = el("input", { required: true, maxLength: 200, autocomplete: "off", placeholder: "front desk" });
    this.cameras = el("fieldset", { class: "picks" });
    this.members = el("fieldset", { class: "picks" });
    this.element = el(
      "section",
      {},
      el("h2", {}, "Who sees which cameras"),
      el(
        "p",
        { class: "small" },
        "Without a group everybody sees every clip. From the first one on a reviewer sees the cameras of the groups he is in, everywhere; an admin sees all.",
      ),
      this.list,
      el(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            this.save();
          },
        },
        el("div", { class: "row tight" }, labelled("Group", this.name), el("button", {}, "Save group")),
        this.cameras,
        this.members,
      ),
    );
  }

  async load() {
    const [groups, known, users] = await Promise.all([api("/groups"), facets(), api("/users")]);
    this.show(groups);
    const cameras = new Set([...known.cameras, ...groups.flatMap((g) => g.cameras)]);
    cameras.delete("");
    picks(this.cameras, "Cameras", ["", ...cameras]);
    picks(
      this.members,
      "Reviewers",
      users.filter((u) => u.role === "reviewer").map((u) => u.name),
    );
  }

  show(groups) {
    fill(
      this.list,
      groups.map((g) =>
        el(
          "li",
          {},
          el("strong", {}, g.name),
          `: ${g.cameras.map((c) => c || NONE).join(", ") || "no camera"}; ${g.members.join(", ") || "nobody"} `,
          button(`Change the group ${g.name}`, () => this.edit(g), { picture: "pencil", words: false }),
          button(`Remove the group ${g.name}`, () => this.drop(g, groups.length), { picture: "trash-2", words: false }),
        ),
      ),
    );
  }

  edit({ name, cameras, members }) {
    this.name.value = name;
    for (const box of this.cameras.querySelectorAll("input")) box.checked = cameras.includes(box.value);
    for (const box of this.members.querySelectorAll("input")) box.checked = members.includes(box.value);
    this.name.focus();
  }

  save() {
    const chosen = (set) => [...set.querySelectorAll("input:checked")].map((box) => box.value);
    return tried(async () => {
      fault(this.name);
      try {
        const name = this.name.value.trim();
        this.show(await put("/groups", { name, cameras: chosen(this.cameras), members: chosen(this.members) }));
        say(`The group ${name} is saved.`);
        this.edit({ name: "", cameras: [], members: [] });
      } catch (error) {
        fault(this.name, error.message);
        throw error;
      }
    });
  }

  async drop({ name }, count) {
    const last = count === 1 ? " With it gone everybody sees every clip again." : "";
    if (!(await sure(`Remove the group ${name}?${last}`, "Remove"))) return;
    await tried(async () => this.show(await remove("/groups?" + new URLSearchParams({ name }))));
  }
}

function picks(place, words, values) {
  fill(
    place,
    el("legend", { class: "small" }, words),
    values.map((value) => el("label", { class: "check" }, el("input", { type: "checkbox", value }), value || NONE)),
  );
}

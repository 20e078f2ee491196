// Hours of the week in which something holds: rows of days and times, none for always. Knows no server.
import { arrange, button, check, el, labelled } from "./dom.js";

const DAYS = { mon: "Mon", tue: "Tue", wed: "Wed", thu: "Thu", fri: "Fri", sat: "Sat", sun: "Sun" };

export class Hours {
  constructor() {
    this.rows = [];
    this.none = el("p", {}, "Always.");
    this.list = el("ul", { class: "schedule" });
    this.more = button("Add hours", () => this.add(), { picture: "plus" });
    this.element = el("div", {}, this.none, this.list, this.more);
  }

  /** As the server has them: [{days, since, until}]; days: [] for every one; times that are left out are midnight. */
  load(found) {
    this.rows = found.map(({ days = [], since = "00:00", until = "00:00" }) => this.row(days, since, until));
    this.tell();
  }

  get value() {
    return this.rows.map(({ boxes, since, until }) => {
      const days = boxes.filter((b) => b.checked).map((b) => b.value);
      return { days: days.length === boxes.length ? [] : days, since: since.value, until: until.value };
    });
  }

  add() {
    const row = this.row([], "22:00", "06:00");
    this.rows.push(row);
    this.tell();
    row.boxes[0].focus();
  }

  drop(row) {
    this.rows.splice(this.rows.indexOf(row), 1);
    this.tell();
    this.more.focus();
  }

  row(days, since, until) {
    const tell = () => row.tell(),
      time = (value) => el("input", { type: "time", required: true, value, oninput: tell }),
      note = el("span", { class: "small" });
    const row = {
      boxes: Object.keys(DAYS).map((value) =>
        el("input", { type: "checkbox", value, checked: !days.length || days.includes(value), onchange: tell }),
      ),
      since: time(since),
      until: time(until),
      remove: button("Remove", () => this.drop(row), { picture: "trash-2", words: false }),
    };
    row.element = el(
      "li",
      {},
      (row.group = el(
        "div",
        { role: "group" },
        el(
          "div",
          { class: "row tight" },
          row.boxes.map((box) => check(DAYS[box.value], box)),
        ),
        el("div", { class: "row tight" }, labelled("from", row.since), labelled("until", row.until), note, row.remove),
      )),
    );
    row.tell = () => {
      const [from, to] = [row.since.value, row.until.value];
      note.textContent = !from || !to || from < to ? "" : from === to ? "for 24 hours" : "of the next day";
      row.boxes[0].setCustomValidity(row.boxes.some((b) => b.checked) ? "" : "Choose a day, or remove these hours.");
    };
    return row;
  }

  tell() {
    this.rows.forEach((row, i) => {
      row.group.setAttribute("aria-label", `Hours ${i + 1}`);
      row.remove.setAttribute("aria-label", `Remove hours ${i + 1}`);
      row.remove.title = `Remove hours ${i + 1}`;
      row.tell();
    });
    this.none.hidden = this.rows.length > 0;
    arrange(
      this.list,
      this.rows.map((row) => row.element),
    );
  }
}

// The mosaic's days, months or years on a slider.

import { by, calm, colour, count, drawing, make } from "./dom.js";

const UNITS = { day: 10, month: 7, year: 4 };

/** The slider; `choose` is told of a time such as 2025-06-01, or of an empty one for all. */
export class Timeline {
  constructor(legend, choose) {
    this.days = legend.days;
    this.choose = calm(choose, 200);
    const kinds = Object.entries(UNITS).filter(
      ([, length], place) => !place || new Set(this.days.map(([day]) => day.slice(0, length))).size > 1,
    );
    by("unit").replaceChildren(...kinds.map(([name]) => make("option", { value: name, textContent: name })));
    by("unit").parentElement.hidden = kinds.length < 2;
    by("unit").onchange = () => {
      this.group(by("unit").value, this.periods[this.place]?.[0] ?? "");
      this.pick(this.place);
    };
    by("time").oninput = () => this.pick(Number(by("time").value));
    by("before").onclick = () => this.step(-1);
    by("after").onclick = () => this.step(1);
    by("all").onclick = () => this.pick(-1);
    addEventListener("resize", () => this.draw());
  }

  /** Show a time without telling anybody. */
  show(time, unit) {
    const fits = Object.entries(UNITS).find(([, length]) => length === time.length)?.[0];
    this.group(fits ?? unit, time);
  }

  group(unit, time) {
    by("unit").value = unit;
    if (!by("unit").value) by("unit").selectedIndex = 0;
    this.unit = by("unit").value || "day";
    const found = new Map();
    for (const [day, items] of this.days) {
      const name = day.slice(0, UNITS[this.unit]);
      found.set(name, (found.get(name) ?? 0) + items);
    }
    this.periods = [...found];
    by("time").max = this.periods.length - 1;
    // the period that a coarser or finer time is, or begins with
    this.place = this.periods.findIndex(([name]) => time && (name.startsWith(time) || time.startsWith(name)));
    this.told();
  }

  step(by_) {
    const from = this.place < 0 && by_ < 0 ? this.periods.length : this.place;
    this.pick(Math.min(this.periods.length - 1, Math.max(0, from + by_)));
  }

  pick(place) {
    this.place = place;
    this.told();
    this.choose(this.periods[place]?.[0] ?? "", this.unit);
  }

  told() {
    const [name, items] = this.periods[this.place] ?? ["all dates", 0];
    by("when").textContent = name;
    by("all").ariaPressed = String(this.place < 0);
    by("time").value = this.place; // all dates are left of the first
    const many = `${count(items)} item${items === 1 ? "" : "s"}`;
    by("time").setAttribute("aria-valuetext", this.place < 0 ? "all dates" : `${name}, ${many}`);
    this.draw();
  }

  draw() {
    const { context: pen, width, height } = drawing(by("histogram"));
    const most = Math.max(1, ...this.periods.map(([, items]) => items));
    const plain = colour("edge");
    const chosen = colour("accent");
    const inset = 8; // half of the slider's thumb
    const room = (width - 2 * inset) / Math.max(1, this.periods.length);
    const bar = Math.max(1, Math.min(14, room - 1));
    this.periods.forEach(([, items], place) => {
      const tall = Math.max(2, (items / most) * height);
      pen.fillStyle = place === this.place || this.place < 0 ? chosen : plain;
      pen.fillRect(inset + (place + 1) * room - bar / 2, height - tall, bar, tall);
    });
  }
}

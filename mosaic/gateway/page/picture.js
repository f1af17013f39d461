// Which bands are shown, and in which colours.

import { by, calm, choices } from "./dom.js";
import { example } from "./state.js";

const SELECTS = ["red", "green", "blue", "band", "colormap"];

/** The picker; `choose` is told what changed, `fit` asked for other ends of the scale. */
export class Picture {
  constructor(legend, choose, fit) {
    this.legend = legend;
    this.choose = choose;
    const names = legend.bands.map((band) => band.name);
    for (const id of ["red", "green", "blue", "band"]) choices(by(id), names, "");
    choices(by("colormap"), Object.keys(legend.colormaps), "");
    this.example = example(names);
    for (const id of SELECTS) by(id).onchange = () => this.changed(id !== "colormap");
    for (const one of this.radios()) one.onchange = () => this.changed(true);
    by("expression").onchange = () => this.changed(true);
    const range = calm(() => this.changed(false), 400);
    by("low").oninput = by("high").oninput = range;
    by("fit").onclick = fit;
    by("picture").onsubmit = (event) => event.preventDefault();
  }

  radios() {
    return document.querySelectorAll("#picture input[name=mode]");
  }

  /** Show choices without telling anybody. */
  show(state) {
    for (const one of this.radios()) one.checked = one.value === state.mode;
    for (const part of document.querySelectorAll("[data-mode]")) {
      part.hidden = !part.dataset.mode.split(" ").includes(state.mode);
    }
    ["red", "green", "blue"].forEach((id, place) => (by(id).value = state.rgb[place]));
    by("band").value = state.band;
    by("expression").value = state.expression;
    by("colormap").value = state.colormap;
    const stops = this.legend.colormaps[state.colormap];
    by("ramp").style.background = `linear-gradient(to right, ${stops.join(",")})`;
    [by("low").value, by("high").value] = state.rescale ?? ["", ""];
  }

  /** `other`: other numbers are shown, whose ends aren't known. */
  changed(other) {
    const low = by("low").valueAsNumber;
    const high = by("high").valueAsNumber;
    if (!other && !(low < high)) {
      if (low >= high) by("refused").textContent = "From must be less than To.";
      return;
    }
    by("refused").textContent = "";
    this.choose({
      mode: [...this.radios()].find((one) => one.checked).value,
      rgb: ["red", "green", "blue"].map((id) => by(id).value),
      band: by("band").value,
      expression: by("expression").value.trim() || this.example,
      colormap: by("colormap").value,
      rescale: other ? null : [low, high],
    });
  }
}

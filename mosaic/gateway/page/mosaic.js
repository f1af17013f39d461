// The mosaic on the map: its tiles, their scale, and what is said of them.

import { json, of, ROOT } from "./api.js";
import { by } from "./dom.js";
import { content, style } from "./state.js";
import { Tiles } from "./tiles.js";

const HALVES = [-0.5, 0.5];

/** Shows a mosaic; `scaled` is told of ends of the scale where nobody chose any. */
export class Mosaic {
  constructor(map, legend, scaled) {
    this.map = map;
    this.legend = legend;
    this.scaled = scaled;
    this.turn = 0; // of looking for a scale: who is overtaken says nothing
    this.layers = new Set(); // more than one while new tiles come
    map.on("zoomend moveend", () => this.tell());
    by("approach").onclick = () => {
      const [lon, lat] = legend.start;
      map.setView([lat, lon], Math.min(legend.levels[0] + 2, legend.levels[1]));
    };
  }

  /** Show what was chosen: nothing is asked for again that is shown already. */
  async show(state) {
    const asked = JSON.stringify(style(state));
    if (asked === this.asked) return;
    this.asked = asked;
    this.time = state.time;
    this.turn++;
    this.pending = true; // until its tiles are asked for
    this.wrong = "";
    this.tell();
    if (!state.rescale) {
      await this.fit(state);
      return;
    }
    try {
      const told = await json(of("tiles", "tilejson.json"), JSON.parse(asked));
      if (asked !== this.asked) return;
      by("refused").textContent = "";
      this.pending = false;
      this.put(told);
    } catch (error) {
      if (asked === this.asked) this.refuse(error, state);
    }
  }

  /** Ends of the scale by what is in view, else by the scene on top; what can't be read is left out. */
  async fit(state) {
    const turn = ++this.turn;
    const [coarsest, finest] = this.legend.levels;
    const { lat, lng } = this.map.getCenter();
    const zoom = Math.min(finest, Math.max(coarsest, this.map.getZoom() - 1));
    const [lon, top] = this.legend.start;
    const wanted = content(state);
    let wrong;
    for (const [places, query] of [
      [zoom > coarsest ? around(lng, lat, zoom) : [tile(lng, lat, zoom)], wanted], // many scenes lie in those
      [[tile(lon, top, zoom)], wanted],
      [[tile(lon, top, zoom)], { ...wanted, datetime: "" }], // another day's numbers are like these
    ]) {
      const answers = await Promise.allSettled(
        places.map(({ z, x, y }) => json(of("tiles", `${z}/${x}/${y}.json`), query)),
      );
      if (turn !== this.turn) return;
      wrong = answers.find((one) => one.reason)?.reason ?? wrong;
      const seen = answers.flatMap(({ value }) => (value?.valid ? [value] : []));
      if (!seen.length) continue;
      const [low, high] = ends(seen, state.mode === "rgb");
      this.scaled(high > low ? [nice(low, high - low), nice(high, high - low)] : [low, low + 1]);
      return;
    }
    if (wrong) this.refuse(wrong, state);
    else this.scaled([0, 1]);
  }

  /** Says why there is no picture: beside what was written, or else on the map. */
  refuse(error, { mode }) {
    if (mode === "expression" && error.status === 400) by("refused").textContent = error.message;
    else this.wrong = error.message;
    this.pending = false;
    this.tell();
  }

  /** Tiles in place of those before, which stay until the new ones are there. */
  put({ tiles: [template], bounds, minzoom, maxzoom }) {
    const [west, south, east, north] = bounds;
    // under whichever name the gateway was reached
    const path = template.slice(template.indexOf("/tiles/") + 1);
    const layer = new Tiles(ROOT + path, {
      minZoom: minzoom,
      maxNativeZoom: maxzoom,
      maxZoom: this.map.getMaxZoom(),
      bounds: [[south, west], [north, east < west ? east + 360 : east]],
      keepBuffer: 1,
    });
    const drop = (some) => {
      for (const one of some) if (this.layers.delete(one)) one.remove();
    };
    drop([...this.layers].filter((one) => !one.whole)); // who steps on waits for none of these
    const before = [...this.layers];
    this.layer = layer;
    this.layers.add(layer);
    layer.on("load", () => {
      layer.whole = true;
      drop(before);
    });
    layer.on("loading load tileerror tileunload", () => this.tell());
    layer.addTo(this.map);
    if (!layer.isLoading()) drop(before);
    this.tell();
  }

  /** How many items lie in view. */
  lies(items) {
    this.empty = !items;
    this.tell();
  }

  tell() {
    const far = this.map.getZoom() < this.legend.levels[0];
    by("approach").hidden = !far || !!this.wrong;
    const layer = this.layer;
    const busy = this.pending || (!far && !!layer?.isLoading());
    this.map.getContainer().ariaBusy = String(busy);
    const failures = [...(layer?.failures.values() ?? [])];
    if (this.wrong) this.say(this.wrong, true);
    else if (far) this.say("From here only footprints are shown.");
    else if (failures.length) {
      const many = failures.length === 1 ? "A tile" : `${failures.length} tiles`;
      this.say(`${many} can't be read: ${failures[0]}`, true);
    } else if (busy) this.say("Reading …");
    else if (this.empty) this.say(`Nothing lies here${this.time && ` in ${this.time}`}.`);
    else this.say("");
  }

  say(text, wrong = false) {
    const notice = by("notice");
    if (notice.textContent !== text) notice.textContent = text;
    notice.className = wrong ? "wrong" : "";
  }
}

/** The tile that holds a place, or one so many tiles beside it. */
function tile(lon, lat, z, right = 0, down = 0) {
  const side = 2 ** z;
  const clamped = (Math.max(-85.05, Math.min(85.05, lat)) * Math.PI) / 180;
  const x = ((lon + 180) / 360) * side + right;
  const y = ((1 - Math.asinh(Math.tan(clamped)) / Math.PI) / 2) * side + down;
  const last = side - 1;
  return { z, x: ((Math.floor(x) % side) + side) % side, y: Math.max(0, Math.min(last, Math.floor(y))) };
}

/** The four tiles whose common corner lies nearest to a place. */
const around = (lon, lat, z) => HALVES.flatMap((down) => HALVES.map((right) => tile(lon, lat, z, right, down)));

/** Ends of the scale for some tiles; in `colours`, one with clouds or snow doesn't darken the others. */
function ends(tiles, colours) {
  const all = tiles.reduce((sum, { valid }) => sum + valid, 0);
  const found = tiles.map(({ valid, bands }) => ({
    share: valid / all,
    low: Math.min(...bands.map((band) => band.p2)),
    high: Math.max(...bands.map((band) => band.p98)),
  }));
  if (colours) return ["low", "high"].map((end) => found.reduce((sum, one) => sum + one.share * one[end], 0));
  const most = found.filter(({ share }) => share > 0.1); // of hardly any pixels, percentiles mean little
  return [Math.min(...most.map((one) => one.low)), Math.max(...most.map((one) => one.high))];
}

/** A number rounded to a hundredth of a range. */
function nice(value, range) {
  const step = 10 ** (Math.floor(Math.log10(range)) - 2);
  return Number((Math.round(value / step) * step).toPrecision(12));
}

// Footprints in view, coloured by CRS; where they are many, cells that tell how many.

import { canvas, circleMarker, geoJSON, layerGroup } from "./leaflet/leaflet-src.esm.js";
import { json, of } from "./api.js";
import { by, calm, count, dot, make } from "./dom.js";

const LEAST = 6; // pixels: what is smaller is a dot

/** Keeps the footprints of what is in view on a map; `lies` is told how many items that are. */
export class Footprints {
  constructor(map, legend, lies, say) {
    this.map = map;
    this.colours = legend.colours;
    this.lies = lies;
    this.say = say;
    this.drawn = layerGroup().addTo(map);
    map.createPane("ground").style.zIndex = 150; // under the tiles
    map.createPane("edges").style.zIndex = 450;
    this.ground = canvas({ pane: "ground", padding: 0.3 });
    this.edges = canvas({ pane: "edges", padding: 0.3 });
    this.later = calm(() => this.load(), 150);
    map.on("moveend", this.later);
    zones(legend);
  }

  /** Show those of a time, or none. */
  show(on, time) {
    if (on === this.on && time === this.time) return;
    Object.assign(this, { on, time });
    this.later();
  }

  async load() {
    this.stop?.abort();
    this.stop = new AbortController();
    const bounds = this.map.getBounds();
    const box = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
    const query = { bbox: box.map((side) => side.toFixed(6)).join(","), datetime: this.time };
    try {
      const found = await json(of("map", "footprints.json"), query, this.stop.signal);
      this.draw(found, bounds);
      const shown = found.kind === "cells" ? ", counted in cells" : "";
      by("inview").textContent = `${count(found.items)} in view${shown}`;
      this.lies(found.items);
    } catch (error) {
      if (error.name !== "AbortError") this.say(`Footprints: ${error.message}`);
    }
  }

  draw(found, bounds) {
    this.drawn.clearLayers();
    if (!this.on) return;
    const features = found.features.flatMap((one) => turned(one, bounds));
    const cells = found.kind === "cells";
    const most = Math.max(1, ...features.map((one) => one.properties.items));
    const weight = (items) => (cells ? 0.15 + (0.5 * Math.log(1 + items)) / Math.log(1 + most) : 0.22);
    const tint = ({ properties: { crs, colour, items } }) => ({
      color: this.colours[(colour ?? crs) % this.colours.length],
      fillOpacity: weight(items),
    });
    const common = { interactive: false };
    const ground = { ...common, renderer: this.ground, style: (one) => ({ ...tint(one), stroke: false }) };
    this.drawn.addLayer(geoJSON(features, ground));
    if (cells) return;
    const edge = (one) => ({ ...tint(one), weight: 1.5, opacity: 0.9 });
    this.drawn.addLayer(geoJSON(features.map((one) => uncut(one, bounds)), { ...common, renderer: this.edges, style: edge }));
    const dotted = { ...common, renderer: this.edges, radius: LEAST / 2, weight: 1.5 };
    for (const one of features) {
      const [northwest, southeast] = corners(one);
      const size = this.map.latLngToContainerPoint(southeast).subtract(this.map.latLngToContainerPoint(northwest));
      if (Math.max(size.x, size.y) >= LEAST) continue;
      const place = [(northwest[0] + southeast[0]) / 2, (northwest[1] + southeast[1]) / 2];
      this.drawn.addLayer(circleMarker(place, { ...dotted, ...tint(one), fillOpacity: 0.9 }));
    }
  }
}

/** A feature on each round of the world that is in view. */
function turned(feature, bounds) {
  const [[, west], [, east]] = corners(feature);
  const rounds = new Set([Math.round((bounds.getCenter().lng - west) / 360)]);
  const last = (bounds.getEast() - west) / 360;
  for (let one = Math.ceil((bounds.getWest() - east) / 360); one <= last; one++) rounds.add(one);
  return [...rounds].map((one) => {
    const coordinates = feature.geometry.coordinates.map((ring) => ring.map(([x, y]) => [x + 360 * one, y]));
    return { ...feature, geometry: { ...feature.geometry, coordinates } };
  });
}

/** A feature's edges, without those along 180 degrees, at which it is cut. */
function uncut(feature, bounds) {
  const least = (bounds.getEast() - bounds.getWest()) / 1000; // they come as exact as a pixel
  const lines = [];
  for (const ring of feature.geometry.coordinates) {
    lines.push([ring[0]]);
    for (let place = 1; place < ring.length; place++) {
      const [[before], [x]] = ring.slice(place - 1, place + 1);
      const along = Math.abs(x - before) < least && Math.abs(Math.abs(x % 360) - 180) < least;
      if (along) lines.push([ring[place]]);
      else lines.at(-1).push(ring[place]);
    }
  }
  return { ...feature, geometry: { type: "MultiLineString", coordinates: lines } };
}

/** Latitude and longitude of a feature's corners in the north-west and south-east. */
function corners({ geometry: { coordinates: [ring] } }) {
  const lon = ring.map(([x]) => x);
  const lat = ring.map(([, y]) => y);
  return [[Math.max(...lat), Math.min(...lon)], [Math.min(...lat), Math.max(...lon)]];
}

function zones(legend) {
  const line = ({ name, items, colour }) =>
    make("li", {}, dot(colour), make("span", { textContent: name }), make("span", { textContent: count(items) }));
  by("zones").replaceChildren(...legend.source_crs.map(line));
}

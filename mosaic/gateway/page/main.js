// The page: choices in the hash, and whatever shows them.

import { control, DomEvent, map as newMap } from "./leaflet/leaflet-src.esm.js";
import { json, NAME, of } from "./api.js";
import { by, choices, count, make } from "./dom.js";
import { Footprints } from "./footprints.js";
import { graticule } from "./graticule.js";
import { Items } from "./items.js";
import { Mosaic } from "./mosaic.js";
import { Picture } from "./picture.js";
import { read, written } from "./state.js";
import { storage } from "./storage.js";
import { Timeline } from "./timeline.js";

const DEEPER = 4; // levels below the finest tiles, whose pixels are then seen as squares

function titled(legend) {
  document.title = `${legend.title} · mosaic`;
  by("title").textContent = legend.title;
  const { items, crs, days } = legend;
  const ends = [...new Set([days[0]?.[0], days.at(-1)?.[0]])].filter(Boolean);
  by("facts").replaceChildren(
    `${count(items)} item${items === 1 ? "" : "s"} in ${crs}`,
    ...ends.flatMap((day, place) => [place ? " to " : " · ", make("span", { textContent: day })]),
  );
  choices(by("mosaics"), legend.mosaics, NAME);
  by("choice").hidden = legend.mosaics.length < 2;
  by("mosaics").onchange = () => location.assign(encodeURIComponent(by("mosaics").value));
}

function bounds([west, south, east, north]) {
  return [
    [Math.max(-85, south), west],
    [Math.min(85, north), east < west ? east + 360 : east],
  ];
}

/** A button beside those that zoom, which leads back to the whole mosaic. */
function whole(map, legend) {
  const told = "Show the whole mosaic";
  const link = make("a", { href: "#", role: "button", id: "whole", title: told, ariaLabel: told, textContent: "⌂" });
  link.onclick = (event) => {
    event.preventDefault(); // the hash keeps what was chosen
    map.fitBounds(bounds(legend.bbox));
  };
  const bar = control({ position: "topleft" });
  bar.onAdd = () => make("div", { className: "leaflet-bar" }, link);
  bar.addTo(map);
  DomEvent.disableClickPropagation(bar.getContainer());
}

async function start() {
  const legend = await json(of("map", "legend.json"));
  titled(legend);
  let state = read(location.hash, legend);
  by("timeline").hidden = legend.days.length < 2; // before the map, which takes the room that is left
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const map = newMap("map", {
    minZoom: 0,
    maxZoom: legend.levels[1] + DEEPER,
    worldCopyJump: true,
    fadeAnimation: !still,
    zoomAnimation: !still,
  });
  new ResizeObserver(() => map.invalidateSize({ pan: false })).observe(by("map"));
  map.attributionControl.setPrefix(false);
  control.scale({ imperial: false }).addTo(map);
  whole(map, legend);
  map.fitBounds(bounds(legend.bbox));
  if (state.view) map.setView([state.view[1], state.view[2]], state.view[0]);

  const mosaic = new Mosaic(map, legend, (range) => change({ rescale: range }));
  const footprints = new Footprints(map, legend, (items) => mosaic.lies(items), (text) => mosaic.say(text, true));
  const items = new Items(map, legend);
  const picture = new Picture(legend, (more) => change(more), () => mosaic.fit(state));
  const timeline = new Timeline(legend, (time, unit) => change({ time, unit }));
  const redraw = graticule(map, by("graticule"));

  function show() {
    document.documentElement.dataset.theme = state.theme;
    picture.show(state);
    mosaic.show(state);
    footprints.show(state.footprints, state.time);
    items.show(state.time);
    by("footprints").checked = state.footprints;
  }

  function change(more) {
    state = { ...state, ...more };
    history.replaceState(null, "", written(state));
    show();
  }

  by("footprints").onchange = () => change({ footprints: by("footprints").checked });
  by("theme").onclick = () => {
    const dark = getComputedStyle(by("panel")).colorScheme.includes("light dark")
      ? matchMedia("(prefers-color-scheme: dark)").matches
      : state.theme === "dark";
    change({ theme: dark ? "light" : "dark" });
    redraw();
    timeline.draw();
  };
  function moved() {
    const { lat, lng } = map.getCenter();
    state.view = [map.getZoom(), lat.toFixed(5), lng.toFixed(5)];
    history.replaceState(null, "", written(state));
  }

  map.on("moveend", moved);
  addEventListener("hashchange", () => {
    state = read(location.hash, legend);
    if (state.view) map.setView([state.view[1], state.view[2]], state.view[0]);
    timeline.show(state.time, state.unit);
    show();
  });
  timeline.show(state.time, state.unit);
  moved();
  show();
  storage();
}

start().catch((error) => {
  by("notice").textContent = error.message;
  by("notice").className = "wrong";
  by("map").ariaBusy = "false";
  throw error;
});

// The items below a place, the topmost first.

import { circleMarker } from "./leaflet/leaflet-src.esm.js";
import { json, of } from "./api.js";
import { by, count, dot, make } from "./dom.js";

/** Lists items where a map is clicked, or at its middle when Enter is pressed. */
export class Items {
  constructor(map, legend) {
    this.map = map;
    this.colours = legend.colours;
    this.time = "";
    map.on("click", ({ latlng }) => this.at(latlng));
    const container = map.getContainer();
    // browsers take Leaflet's focus for a keyboard's
    container.addEventListener("pointerdown", () => container.classList.add("pointed"), true);
    container.addEventListener("blur", () => container.classList.remove("pointed"));
    container.addEventListener("keydown", (event) => {
      container.classList.remove("pointed");
      if (event.key === "Enter" && event.target === container) this.at(map.getCenter());
    });
  }

  /** Those of a time; what is listed is listed anew. */
  show(time) {
    if (time === this.time) return;
    this.time = time;
    if (this.mark) this.at(this.mark.getLatLng(), false);
  }

  async at(place, look = true) {
    this.mark ??= circleMarker(place, { radius: 6, color: "#fff", weight: 3, fillOpacity: 1 });
    this.mark.setLatLng(place).setStyle({ fillColor: "#d55e00" }).addTo(this.map);
    this.stop?.abort();
    this.stop = new AbortController();
    const query = { at: `${place.lng.toFixed(7)},${place.lat.toFixed(7)}`, datetime: this.time };
    try {
      this.list(await json(of("map", "items.json"), query, this.stop.signal), place);
    } catch (error) {
      if (error.name === "AbortError") return;
      by("items").replaceChildren(make("p", { className: "wrong", textContent: error.message }));
    }
    if (!look) return;
    by("below").open = true;
    by("below").scrollIntoView({ block: "nearest" });
  }

  list({ count: all, items }, { lat, lng }) {
    const more = all > items.length ? `; the topmost ${items.length} are listed` : "";
    const where = `${lat.toFixed(4)}, ${lng.toFixed(4)}`;
    const head = `${count(all)} item${all === 1 ? "" : "s"} at ${where}${more}`;
    by("items").replaceChildren(
      make("p", { className: "quiet", textContent: head }),
      ...items.map((item, place) => this.line(item, place === 0)),
    );
  }

  line(item, open) {
    const when = item.datetime?.replace("T", " ") ?? "no time";
    const links = Object.entries(item.assets).map(([name, href]) =>
      make("li", {}, make("a", { href, textContent: name, download: "" })),
    );
    return make(
      "details",
      { open, className: "item" },
      make("summary", {}, dot(this.colours[item.crs_index % this.colours.length]), ` ${item.id}`),
      make("p", { className: "quiet", textContent: `${when} · ${item.crs}` }),
      make("ul", {}, ...links),
    );
  }
}

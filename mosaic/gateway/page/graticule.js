// Meridians and parallels with their degrees: where one is, without anybody else's map.

import { colour, drawing } from "./dom.js";

const STEPS = [90, 60, 30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

/** Draws them over a map whenever it has moved. */
export function graticule(map, canvas) {
  const draw = () => {
    const { context: pen, width, height } = drawing(canvas);
    const bounds = map.getBounds();
    const step = STEPS.findLast((one) => (one / (bounds.getEast() - bounds.getWest())) * width > 110);
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    pen.strokeStyle = colour("grid");
    pen.font = "11px system-ui, sans-serif";
    pen.beginPath();
    const texts = [];
    for (let lon = first(bounds.getWest(), step); lon <= bounds.getEast(); lon += step) {
      const { x } = map.latLngToContainerPoint([0, lon]);
      pen.moveTo(x, 0);
      pen.lineTo(x, height);
      const turned = ((((lon + 180) % 360) + 360) % 360) - 180;
      texts.push([degrees(turned, digits, "E", "W"), x + 3, 13]);
    }
    const south = Math.max(-85, bounds.getSouth());
    for (let lat = first(south, step); lat <= Math.min(85, bounds.getNorth()); lat += step) {
      const { y } = map.latLngToContainerPoint([lat, bounds.getWest()]);
      pen.moveTo(0, y);
      pen.lineTo(width, y);
      const text = degrees(lat, digits, "N", "S");
      // below the meridians' own
      if (y > 30) texts.push([text, width - pen.measureText(text).width - 4, y - 3]);
    }
    pen.stroke();
    pen.lineWidth = 3; // round letters, which lie on any picture
    pen.lineJoin = "round";
    pen.strokeStyle = colour("sea");
    pen.fillStyle = colour("quiet");
    for (const text of texts) pen.strokeText(...text);
    for (const text of texts) pen.fillText(...text);
  };
  map.on("move resize zoomend", draw);
  map.on("zoomstart", () => (canvas.hidden = true));
  map.on("zoomend", () => (canvas.hidden = false));
  draw();
  return draw;
}

const first = (edge, step) => Math.ceil(edge / step) * step;

function degrees(value, digits, positive, negative) {
  const text = Math.abs(value).toFixed(digits);
  return `${text}°${Number(text) === 0 ? "" : value > 0 ? positive : negative}`;
}

// The mosaic's tiles: one that can't be read is shown as such, never as empty.

import { GridLayer } from "./leaflet/leaflet-src.esm.js";
import { ask } from "./api.js";

const AT_ONCE = 4; // as many as the gateway draws at once: figures and footprints pass between

/** A layer of tiles; `failures` are messages of those that can't be read, by tile. */
export const Tiles = GridLayer.extend({
  initialize(template, options) {
    GridLayer.prototype.initialize.call(this, options);
    this.template = template;
    this.failures = new Map();
    this.waiting = [];
    this.busy = 0;
    this.on("tileunload", ({ tile }) => {
      tile.stop.abort();
      this.failures.delete(tile);
    });
  },

  createTile(coords, done) {
    const canvas = document.createElement("canvas");
    canvas.className = "tile";
    canvas.stop = new AbortController();
    this.waiting.push({ canvas, coords, done });
    this.next();
    return canvas;
  },

  next() {
    while (this.busy < AT_ONCE && this.waiting.length) {
      const { canvas, coords, done } = this.waiting.shift();
      if (canvas.stop.signal.aborted) continue;
      this.busy++;
      this.draw(canvas, coords)
        .then(
          () => done(null, canvas),
          (error) => {
            if (canvas.stop.signal.aborted) return;
            this.failures.set(canvas, error.message);
            failed(canvas, error.message);
            done(error, canvas);
          },
        )
        .finally(() => {
          this.busy--;
          this.next();
        });
    }
  },

  async draw(canvas, coords) {
    const url = this.template.replace(/\{([zxy])\}/g, (_, axis) => coords[axis]);
    const response = await ask(url, canvas.stop.signal);
    const image = await createImageBitmap(await response.blob());
    canvas.width = image.width;
    canvas.height = image.height;
    canvas.getContext("2d").drawImage(image, 0, 0);
    image.close();
  },
});

function failed(canvas, message) {
  canvas.width = canvas.height = 256;
  canvas.title = message;
  canvas.dataset.failed = "true";
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#b3261e22";
  pen.fillRect(0, 0, 256, 256);
  pen.strokeStyle = "#b3261e88";
  pen.lineWidth = 3;
  for (let start = -256; start < 256; start += 32) {
    pen.moveTo(start, 256);
    pen.lineTo(start + 256, 0);
  }
  pen.stroke();
  pen.fillStyle = "#b3261e";
  pen.fillRect(78, 112, 100, 30);
  pen.fillStyle = "#fff";
  pen.font = "600 15px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.fillText("can't be read", 128, 132);
}

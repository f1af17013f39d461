// What the gateway asked of storage, live.

import { json } from "./api.js";
import { by, count, make, size } from "./dom.js";

const PAUSE = 2000;

/** Asks for the figures while somebody can see them. */
export function storage() {
  const section = by("storage");
  const look = async () => {
    if (!section.open || document.hidden) return;
    try {
      show(await json("metrics.json"));
    } catch (error) {
      by("origins").replaceChildren(make("p", { className: "wrong", textContent: error.message }));
    }
  };
  section.addEventListener("toggle", look);
  document.addEventListener("visibilitychange", look);
  setInterval(look, PAUSE);
  look();
}

const named = (origin) => (origin.startsWith("file:") ? "files of this machine" : origin);

function show({ origins, memory_bytes: memory, disk_bytes: disk, gateway }) {
  const sum = (name) => origins.reduce((total, one) => total + one[name], 0);
  const hits = sum("hits") + sum("disk_hits");
  const limit = origins.map((one) => one.limit).filter(Boolean);
  const figures = {
    Requests: count(sum("requests")),
    "Read from storage": size(sum("bytes")),
    "Cache hits": count(hits),
    "In the cache": size(memory + disk),
    "In flight": `${sum("in_flight")}${limit.length ? ` of ${limit.reduce((a, b) => a + b)}` : ""}`,
    "In the queue": count(gateway.waiting),
    Retries: count(sum("retries")),
    "Refused, failed": `${count(sum("throttled"))}, ${count(sum("failed"))}`,
  };
  by("figures").replaceChildren(
    ...Object.entries(figures).map(([name, value]) =>
      make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })),
    ),
  );
  by("origins").replaceChildren(
    ...origins.slice(0, 8).map((one) =>
      make("p", { className: "quiet", textContent: `${named(one.origin)}: ${count(one.requests)} requests, ${size(one.bytes)}` }),
    ),
  );
}

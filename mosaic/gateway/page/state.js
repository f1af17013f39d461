// What is shown, as the URL's hash holds it.

const MODES = ["rgb", "band", "expression"];
const THEMES = ["", "light", "dark"];

/** The choices that a hash tells; what it leaves out, or tells wrongly, is as the mosaic suggests. */
export function read(hash, legend) {
  const told = new URLSearchParams(hash.replace(/^#/, ""));
  const names = legend.bands.map((band) => band.name);
  const rgb = (told.get("rgb") ?? "").split(",");
  const range = (told.get("rescale") ?? "").split(",").map(parseFloat);
  const view = (told.get("map") ?? "").split("/").map(parseFloat);
  const suggested = legend.rgb ?? [0, 1, 2].map((place) => names[place % names.length]);
  return {
    mode: MODES.includes(told.get("show")) ? told.get("show") : legend.rgb ? "rgb" : "band",
    rgb: rgb.length === 3 && rgb.every((name) => names.includes(name)) ? rgb : suggested,
    band: names.includes(told.get("band")) ? told.get("band") : names[0],
    expression: told.get("expression") || example(names),
    colormap: Object.hasOwn(legend.colormaps, told.get("colormap")) ? told.get("colormap") : "viridis",
    rescale: range.length === 2 && range[0] < range[1] ? range : null,
    time: legend.days.some(([day]) => of(day).includes(told.get("time"))) ? told.get("time") : "",
    unit: told.get("by") ?? "",
    footprints: told.get("footprints") !== "0",
    view: view.length === 3 && view.every(Number.isFinite) ? view : null,
    theme: THEMES.includes(told.get("theme")) ? told.get("theme") : "",
  };
}

/** A day, its month, its year. */
const of = (day) => [day, day.slice(0, 7), day.slice(0, 4)];

/** The hash of choices, legible. */
export function written(state) {
  const told = { map: state.view?.join("/"), show: state.mode };
  if (state.mode === "rgb") told.rgb = state.rgb.join(",");
  if (state.mode === "band") told.band = state.band;
  if (state.mode === "expression") told.expression = state.expression;
  if (state.mode !== "rgb") told.colormap = state.colormap;
  told.rescale = state.rescale?.join(",");
  told.time = state.time;
  told.by = state.unit;
  told.footprints = state.footprints ? "" : "0";
  told.theme = state.theme;
  const pairs = Object.entries(told).filter(([, value]) => value);
  const plain = (text) => encodeURIComponent(text).replace(/%2C/g, ",").replace(/%2F/g, "/");
  return "#" + pairs.map(([name, value]) => `${name}=${plain(value)}`).join("&");
}

/** What tiles are asked for, without how they are coloured. */
export function content(state) {
  const asked =
    state.mode === "expression"
      ? { expression: state.expression }
      : { bands: state.mode === "rgb" ? state.rgb.join(",") : state.band };
  return { ...asked, datetime: state.time };
}

/** What tiles are asked for. */
export function style(state) {
  return {
    ...content(state),
    rescale: state.rescale?.join(","),
    colormap: state.mode !== "rgb" && state.colormap !== "gray" ? state.colormap : "",
    size: devicePixelRatio > 1 ? "512" : "",
  };
}

/** Some arithmetic on the first bands. */
export function example(names) {
  const plain = names.filter((name) => /^[A-Za-z_]\w*(\.[1-9]\d*)?$/.test(name));
  if (plain.length < 2) return plain[0] ?? "";
  return `(${plain[1]} - ${plain[0]}) / (${plain[1]} + ${plain[0]})`;
}

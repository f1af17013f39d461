// Elements, made and found; text is text, never HTML.

export const by = (id) => document.getElementById(id);

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A select's choices. */
export function choices(select, names, value) {
  select.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
  select.value = value;
}

/** A square of a colour. */
export function dot(colour) {
  const square = make("span", { className: "dot" });
  square.style.background = colour;
  return square;
}

/** A canvas with one pixel of its own for each of the screen's, cleared. */
export function drawing(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  return { context, width, height };
}

/** A colour of the theme, as it is now. */
export const colour = (name) => {
  const probe = make("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

/** A call that waits until nobody has called for some milliseconds. */
export function calm(work, wait) {
  let timer;
  return (...words) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...words), wait);
  };
}

/** A number for people. */
export const count = (number) => number.toLocaleString("en");

/** Bytes for people. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  for (; bytes >= 1024 && place < units.length - 1; place++) bytes /= 1024;
  return `${place ? bytes.toFixed(1) : bytes} ${units[place]}`;
}

// What the page asks of the gateway; all paths lead from /map/<mosaic>.

/** The gateway's root, wherever a proxy put it; what was shown in its URL, browsers don't take again. */
export const ROOT = bare(new URL("..", document.baseURI));

/** The mosaic of this page. */
export const NAME = decodeURIComponent(location.pathname.split("/").pop());

function bare(url) {
  url.username = url.password = "";
  return url.href;
}

/** An answer that isn't what was asked for. */
export class Refused extends Error {
  constructor(status, text) {
    super(text.trim() || `the gateway answers ${status}`);
    this.status = status;
  }
}

/** A response with status 200; a full queue (503) is asked again, up to five times. */
export async function ask(url, signal) {
  for (let tries = 1; ; tries++) {
    let response;
    try {
      response = await fetch(url, { signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refused(0, "the gateway can't be reached");
    }
    if (response.ok) return response;
    const wait = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || !wait || tries > 5) {
      throw new Refused(response.status, await response.text());
    }
    await new Promise((done) => setTimeout(done, wait * 1000));
    signal?.throwIfAborted();
  }
}

/** JSON at a path below the root. */
export async function json(path, query = {}, signal) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
  return (await ask(url, signal)).json();
}

/** Path of this mosaic's answers: `of("map", "items.json")`. */
export const of = (kind, file) => `${kind}/${encodeURIComponent(NAME)}/${file}`;

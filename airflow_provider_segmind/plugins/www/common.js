// What both pages share: calls of Airflow's API, safe elements, links, numbers as text.

export const BASE = location.pathname.replace(/\/segmind\/[^/]*$/, ""); // [api] base_url may have a path
const framed = window.parent !== window;

/** Return the ids in the address. Not URLSearchParams: a "+" in a run id is a plus, and Airflow may send it unescaped. */
export function query() {
  const found = {};
  for (const pair of location.search.slice(1).split("&")) {
    const at = pair.indexOf("=");
    if (at < 0) continue;
    let value = pair.slice(at + 1);
    try { value = decodeURIComponent(value); } catch { /* the value is unescaped */ }
    if (!/^\{[A-Z_]+\}$/.test(value)) found[pair.slice(0, at)] = value; // not mapped: the value is "{MAP_INDEX}"
  }
  return found;
}

// --- calls --------------------------------------------------------------------------------------------------

const AT_ONCE = 6;
const waiting = [];
let running = 0;

/** Run a call when fewer than AT_ONCE others are running. */
async function inTurn(call) {
  if (running >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  else running += 1;
  try { return await call(); } finally {
    const next = waiting.shift(); // the next one takes its place
    if (next) next(); else running -= 1;
  }
}

/** Fetch from this Airflow: with its cookie, and with the token only if the cookie is refused. */
async function request(path, values, read) {
  const url = new URL(location.origin + BASE + path);
  for (const [name, value] of Object.entries(values ?? {})) {
    for (const one of [value].flat()) url.searchParams.append(name, one);
  }
  return inTurn(async () => {
    let response = await fetch(url, { credentials: "same-origin" });
    const token = response.status === 401 && localStorage.getItem("token");
    if (token) response = await fetch(url, { headers: { Authorization: `Bearer ${token}` } });
    if (!response.ok) throw Object.assign(new Error(await reason(response)), { status: response.status });
    return read(response); // read the body before the next call starts
  });
}

async function reason(response) {
  const body = await response.text();
  try {
    const { detail } = JSON.parse(body);
    return typeof detail === "string" ? detail : response.statusText;
  } catch { return response.statusText || `HTTP ${response.status}`; }
}

/** Read JSON of Airflow's REST API. */
export const api = (path, values) => request(`/api/v2${path}`, values, (response) => response.json());

/** Return a local address of a stored preview. */
export async function previewUrl(ids, which, n) {
  return URL.createObjectURL(await request("/segmind/preview", { ...ids, which, n }, (response) => response.blob()));
}

const part = encodeURIComponent;
export const instancePath = (ids) => `/dags/${part(ids.dag_id)}/dagRuns/${part(ids.run_id)}/taskInstances/${part(ids.task_id)}`;

/** Return what a task pushed under a key; undefined if it pushed nothing. */
export async function xcom(ids, key = "return_value") {
  try {
    const { value } = await api(`${instancePath(ids)}/xcomEntries/${part(key)}`, { map_index: ids.map_index });
    if (typeof value !== "string") return value ?? undefined;
    try { return JSON.parse(value); } catch { return value; }
  } catch (error) {
    if (error.status === 404) return undefined;
    throw error;
  }
}

export const idsOf = (ti) => ({
  dag_id: ti.dag_id, run_id: ti.dag_run_id, task_id: ti.task_id, map_index: ti.map_index,
});

// --- elements: text by textContent only, addresses only after a check of their scheme --------------------------------

/** Return the address if it may be opened or shown, else null. */
export function webUrl(value, schemes = ["http:", "https:"]) {
  try {
    const url = new URL(value);
    return schemes.includes(url.protocol) ? url.href : null;
  } catch { return null; }
}

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = new Set(["svg", "g", "rect", "line", "path", "circle", "text", "title"]);

/** Make an element. Children are nodes, or anything else as text; null is skipped. */
export function el(tag, attributes = {}, ...children) {
  const made = SHAPES.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "href" || name === "src") {
      const url = webUrl(value, name === "src" ? ["http:", "https:", "blob:"] : undefined);
      if (url) made.setAttribute(name, url);
    } else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined)
    .map((child) => (child instanceof Node ? child : text(child))));
  return made;
}

const MAX_TEXT = 4000; // characters; longer text is cut

/** Return anything as text. */
export function text(value) {
  const shown = typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value, null, 1) : String(value);
  return shown.length > MAX_TEXT ? `${shown.slice(0, MAX_TEXT)} …` : shown;
}

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
export const list = (value) => (Array.isArray(value) ? value.filter(isObject) : []);

export function show(page, ...children) {
  page.replaceChildren(...children.flat().filter(Boolean));
  page.removeAttribute("aria-busy");
}

// --- links -----------------------------------------------------------------------------------------------------

const DAG = (ids) => `/dags/${part(ids.dag_id)}`;
const RUN = (ids) => `${DAG(ids)}/runs/${part(ids.run_id)}`;
const TASK = (ids) => `${RUN(ids)}/tasks/${part(ids.task_id)}${ids.map_index >= 0 ? `/mapped/${ids.map_index}` : ""}`;
export const PLACES = { dag: DAG, run: RUN, task: TASK, tab: (ids) => `${TASK(ids)}/plugin/segmind-upscaled` };

/** A link that stays in Airflow's UI: inside its frame the UI itself navigates, without loading the page again. */
export function appLink(place, ids, attributes, ...children) {
  const path = BASE + PLACES[place](ids);
  const go = (event) => {
    if (!framed || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    parent.history.pushState({}, "", path);
    parent.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
  };
  return el("a", { ...attributes, href: location.origin + path, onclick: go }, ...children);
}

/** A link to another site, which the UI around the frame opens: the frame may not. Plain text if it is not a web address. */
export function webLink(url, ...children) {
  if (!webUrl(url)) return el("span", {}, ...children);
  const open = (event) => {
    if (!framed) return;
    event.preventDefault();
    const link = parent.document.createElement("a");
    Object.assign(link, { href: webUrl(url), target: "_blank", rel: "noopener noreferrer" });
    parent.document.body.append(link);
    link.click();
    link.remove();
  };
  return el("a", { href: url, target: "_blank", rel: "noopener noreferrer", class: "web", onclick: open }, ...children);
}

// --- numbers as text --------------------------------------------------------------------------------------------

export const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const digits = (max) => new Intl.NumberFormat("en", { maximumFractionDigits: max });
export const count = (value) => digits(0).format(value);
export const credits = (value) => digits(4).format(value);

export function seconds(value) {
  if (value < 100) return `${digits(1).format(value)} s`;
  const whole = Math.round(value);
  const two = (part) => String(part).padStart(2, "0");
  return whole < 3600
    ? `${Math.floor(whole / 60)}:${two(whole % 60)} min`
    : `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)} h`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  for (; value >= 1000 && unit < 3; unit += 1) value /= 1000;
  return `${digits(value < 10 && unit ? 1 : 0).format(value)} ${units[unit]}`;
}

export function median(values) {
  const sorted = values.filter((value) => number(value) !== null).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

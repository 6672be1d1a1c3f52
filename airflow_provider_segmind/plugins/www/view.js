// The tab "Upscaled" on a task instance: the output, or why there is none yet.

import { api, bytes, count, credits, el, instancePath, isObject, number, previewUrl, query,
  seconds, show, text, webLink, xcom } from "./common.js";
import { compare, load, single, size } from "./compare.js";
import { inputOf, isBatch, isOurs, isImage, isRequestId, isResult, modelOf, outputsOf, parametersOf, stage } from "./requests.js";
import { batch, card, facts, heading, notice, siblings, tiles } from "./parts.js";
import { failed, waiting } from "./progress.js";

const page = document.getElementById("page");
const given = query();
const ids = { ...given, map_index: /^\d+$/.test(given.map_index ?? "") ? Number(given.map_index) : -1 };

start();

async function start() {
  try {
    await draw(await instance());
  } catch (error) {
    const why = { 401: "Your session has expired. Log in again.", 403: "You do not have permission to read this task instance.",
      404: "This task instance does not exist, or was deleted." }[error.status];
    show(page, notice(why ?? "Airflow's API could not be read.", why ? "" : `${text(error.message)}. Reload the page to try again.`));
  }
}

let siblingCount; // of a mapped task

async function instance() {
  try {
    const ti = await api(ids.map_index < 0 ? instancePath(ids) : `${instancePath(ids)}/${ids.map_index}`);
    if (ids.map_index >= 0) siblingCount ??= (await api(`${instancePath(ids)}/listMapped`, { limit: 1 })).total_entries;
    return { ...ti, siblings: siblingCount };
  } catch (error) {
    if (error.status !== 404 || ids.map_index >= 0) throw error;
    const { task_instances: mapped } = await api(`${instancePath(ids)}/listMapped`, { limit: 100 });
    if (!mapped.length) throw error;
    show(page, notice("This task is mapped.", "Select one of its instances:"), siblings(mapped));
    return null;
  }
}

async function draw(ti) {
  if (!ti) return;
  const where = stage(ti);
  if (where === "waiting" && isOurs(ti)) return watch(ti);
  const value = where === "done" || !isOurs(ti) ? await xcom(ids) : undefined;
  if (isBatch(value)) return show(page, ...batch(ti, value));
  if (isResult(value)) return done(ti, value);
  if (!isOurs(ti)) return show(page, notice("Nothing to show.", "This tab is for tasks that run a Segmind model."));
  if (where === "failed" || where === "retry") {
    show(page, ...failed(ti, await xcom(ids, "segmind_error")), await onlyBefore(ti));
    return where === "retry" ? draw(await next(ti)) : undefined;
  }
  if (where === "skipped") return show(page, heading(ti), notice("This task did not run.", "Airflow skipped it."));
  if (isRequestId(value)) {
    return show(page, heading(ti), notice("Submitted.", "This task does not wait for its request. A sensor or another task does."),
      card(facts([["Request id", value], ["Model", modelOf(ti)]])));
  }
  const why = value === undefined ? "The task pushed no result to XCom (do_xcom_push)."
    : "A custom XCom backend stores the result, and this page cannot read it.";
  return show(page, heading(ti), notice("Nothing to show.", why));
}

// --- waiting ------------------------------------------------------------------------------------------------------

async function watch(first) {
  const view = await waiting(first);
  show(page, ...view.nodes, await onlyBefore(first));
  view.tick();
  return draw(await next(first, view.update));
}

/** Poll Airflow until the task instance reaches another stage; each poll updates the page. */
async function next(first, update = () => {}) {
  for (let polls = 0; ; polls += 1) {
    await new Promise((resolve) => setTimeout(resolve, polls < 30 ? 2000 : 5000));
    if (document.hidden) continue; // the page is not visible
    let ti;
    try { ti = await instance(); } catch (error) {
      if (error.status) throw error;
      continue; // no network: try again
    }
    if (stage(ti) !== stage(first)) return ti;
    await update(ti);
  }
}

async function onlyBefore(ti) {
  const { url } = inputOf(ti);
  if (!url) return null;
  try { return card(single(side("Before", await load(url, "The image before")))); } catch { return null; }
}

// --- done ----------------------------------------------------------------------------------------------------------

function side(name, img, known, preview) {
  const [width, height] = known ?? (preview ? [] : [img.naturalWidth, img.naturalHeight]);
  return { name, img, small: Boolean(preview), pixels: width ? size(width, height) : "", dims: width ? [width, height] : null };
}

/** Return an image, from its stored preview, else from its public address; else the reason why there is none. */
async function fetched(name, preview, url, n, known) {
  const alt = `The image ${name.toLowerCase()}`;
  let denied = "";
  if (isObject(preview)) {
    try { return side(name, await load(await previewUrl(ids, name.toLowerCase(), n), alt), known, true); } catch (error) {
      denied = ` The preview cannot be shown: ${text(error.message)}`;
    }
  }
  if (!url) return { missing: `${name}: the image is in private storage and has no preview. Tasks write previews if [segmind] serve_previews is on.${denied}` };
  try { return side(name, await load(url, alt), known); } catch {
    return { missing: `${name}: the browser cannot load the image. Segmind keeps outputs for 7 days, and a page over https shows no image over http.${denied}` };
  }
}

async function done(ti, result) {
  const outputs = outputsOf(result);
  const stageBox = el("div", { class: "show" });
  const numbers = el("div");
  const detailBox = el("div", { class: "columns" });
  const choices = outputs.length > 1 ? el("div", { class: "choices", role: "group", "aria-label": "Outputs" },
    outputs.map((output) => el("button", { type: "button", class: "toggle", onclick: () => choose(output) },
      text(output.stored?.name ?? `Output ${output.n + 1}`)))) : null;
  async function choose(output) {
    choices?.childNodes.forEach((button, n) => button.setAttribute("aria-pressed", n === output.n));
    const { width, height } = output.stored ?? {};
    const known = number(width) && number(height) ? [width, height] : null;
    if (!isImage(output)) {
      stageBox.replaceChildren(notice(`The output is ${text(output.type)}, not an image.`, "Its address is below."));
    }
    const input = inputOf(ti);
    const [before, after] = isImage(output) ? await Promise.all([
      fetched("Before", output.preview.before, input.url, output.n, null),
      fetched("After", output.preview.after, output.url, output.n, known),
    ]) : [{}, { dims: known }];
    const sides = [before, after].filter((one) => one.img);
    if (isImage(output)) {
      const missing = [before, after].filter((one) => one.missing).map((one) => el("p", { class: "missing" }, one.missing));
      stageBox.replaceChildren(...(sides.length === 2 ? [compare(before, after)] : sides.map(single)), ...missing);
    }
    numbers.replaceChildren(tiles(pixels(before, after), ...measures(result, output)));
    detailBox.replaceChildren(...details(ti, result, output));
  }
  if (outputs.length) await choose(outputs[0]);
  else detailBox.replaceChildren(...details(ti, result, null));
  show(page, heading(ti, result), choices, outputs.length ? el("div", { class: "split" }, card(stageBox), numbers) : null, detailBox);
}

function pixels(before, after) {
  if (!after.dims) return ["Pixels", null];
  const shown = size(...after.dims);
  if (!before.dims) return ["Pixels", shown];
  return ["Pixels", shown, `from ${size(...before.dims)}, × ${credits(Math.round((after.dims[0] / before.dims[0]) * 100) / 100)}`];
}

function measures(result, output) {
  const found = isObject(result.metrics) ? result.metrics : {};
  const formatted = (name, format) => (number(found[name]) === null ? null : format(found[name]));
  const balance = formatted("remaining_credits", credits);
  return [
    ["File", output.bytes === null ? null : bytes(output.bytes), output.type ? text(output.type).replace(/^image\//, "").toUpperCase() : ""],
    ["Cost", formatted("cost", credits), result.skipped === true ? "skipped: stored before" : "USD"],
    ["Run", formatted("inference_time", seconds), "at Segmind"],
    ["Queue", formatted("queue_time", seconds), formatted("total_time", (total) => `${seconds(total)} in total`) ?? ""],
    ["Balance after", balance, "credits"],
  ];
}

function details(ti, result, output) {
  const model = modelOf(ti, result);
  const parameters = Object.entries(parametersOf(ti)).map(([name, value]) => [name, text(value)]);
  const named = isObject(result.named) ? Object.entries(result.named).map(([name, value]) => [name, text(value)]) : [];
  const url = output?.url;
  return [
    card(el("h2", {}, "Request"), facts([
      ["Model", model && webLink(`https://www.segmind.com/models/${encodeURIComponent(model)}`, model)],
      ["Request id", result.request_id],
      ["Status", result.status],
      ["Input", inputOf(ti).url ? webLink(inputOf(ti).url, inputOf(ti).name) : inputOf(ti).name],
      ["Output", url && webLink(url, url)],
      ...named,
    ])),
    parameters.length ? card(el("h2", {}, "Parameters"), facts(parameters)) : null,
    output?.stored ? card(el("h2", {}, "Stored"), facts([
      ["URI", output.stored.uri], ["Type", output.stored.content_type],
      ["Bytes", number(output.stored.bytes) === null ? null : count(output.stored.bytes)],
      ["SHA-256", output.stored.sha256],
      ["Similarity to the input", number(output.stored.similarity) === null ? null : `${output.stored.similarity} (1 is the same image)`],
      ["Metadata kept", Array.isArray(output.stored.metadata) ? output.stored.metadata.join(", ") : null],
    ])) : null,
  ].filter(Boolean);
}

// Before and after in one frame: a divider to drag or to move by keys, the natural size, and a lens.

import { el } from "./common.js";

/** Load an image. Resolves to the element with its natural size; rejects if the browser cannot show it. */
export function load(src, alt) {
  return new Promise((resolve, reject) => {
    const img = el("img", { alt, decoding: "async", referrerpolicy: "no-referrer", draggable: "false",
      onload: () => resolve(img), onerror: () => reject(new Error("the browser cannot show it")) });
    img.src = src; // the caller has checked it: webUrl() or a blob of ours
  });
}

export const size = (width, height) => `${width} × ${height}`;

/** Show a single image in a frame. */
export function single(side) {
  const stage = el("div", { class: "stage" }, side.img, tag(side));
  fit(stage, side.img);
  return el("div", { class: "compare" }, el("div", { class: "viewport" }, stage));
}

const tag = (side) => el("span", { class: `tag ${side.name.toLowerCase()}` },
  el("b", {}, side.name), side.pixels ? [" ", el("span", { class: "pixels" }, side.pixels)] : null);

function fit(stage, img) {
  const { naturalWidth: width, naturalHeight: height } = img;
  stage.style.setProperty("--ratio", width / height);
  stage.style.setProperty("--natural", `${width / devicePixelRatio}px`);
}

/**
 * Show two images, before and after, in one frame.
 * @param before, after: {name, img, pixels, small}: "Before", the loaded element, its size as text, whether it is a preview.
 */
export function compare(before, after) {
  before.img.classList.add("before");
  const divider = el("div", { class: "divider", role: "slider", tabindex: "0", "aria-orientation": "horizontal",
    "aria-label": "Divider between before and after", "aria-valuemin": "0", "aria-valuemax": "100" },
  el("span", { class: "knob", "aria-hidden": "true" }));
  const lens = lensOf(before.img, after.img);
  const stage = el("div", { class: "stage" }, after.img, before.img, tag(before), tag(after), divider, lens.element);
  const viewport = el("div", { class: "viewport" }, stage);
  fit(stage, after.img);

  let at = 50;
  function move(to) {
    at = Math.min(100, Math.max(0, to));
    stage.style.setProperty("--at", `${at}%`);
    divider.setAttribute("aria-valuenow", Math.round(at));
    divider.setAttribute("aria-valuetext", `${Math.round(at)} % before, ${Math.round(100 - at)} % after`);
    stage.classList.toggle("no-before", at < 14);
    stage.classList.toggle("no-after", at > 86);
  }
  move(at);

  divider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 2;
    const to = { ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step,
      PageDown: at - 10, PageUp: at + 10, Home: 0, End: 100 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });

  const under = (event) => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  let drags = false;
  stage.addEventListener("pointerdown", (event) => {
    const onDivider = divider.contains(event.target);
    if (event.button || (!onDivider && (lens.on || viewport.classList.contains("real")))) return;
    drags = true;
    stage.setPointerCapture(event.pointerId);
    divider.focus({ preventScroll: true });
    move(under(event)[0] * 100);
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => {
    if (drags) move(under(event)[0] * 100);
    else if (lens.on) lens.pointAt(...under(event));
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { drags = false; });

  const real = toggle("1:1", "One pixel of the image for one pixel of the screen", (on) => {
    viewport.classList.toggle("real", on);
    viewport.tabIndex = on ? 0 : -1; // to be scrolled by keys
    if (on) viewport.scrollTo((stage.offsetWidth * at) / 100 - viewport.clientWidth / 2, (stage.offsetHeight - viewport.clientHeight) / 2);
  });
  const glass = toggle("Lens", "Lens: the same detail before and after", (on) => lens.turn(on));
  const small = before.small || after.small ? " The images are small previews." : "";
  const hint = el("p", { class: "hint" }, `Drag the divider, or use the arrow keys.${small}`);
  return el("div", { class: "compare" }, viewport, el("div", { class: "tools" }, hint, real, glass));
}

function toggle(label, title, act) {
  const button = el("button", { type: "button", class: "toggle", title, "aria-pressed": "false" }, label);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    act(on);
  });
  return button;
}

/** Make the lens: two halves with the same detail, at 1:1 or at the first power of two that is larger than the frame shows. */
function lensOf(before, after) {
  const halves = [before, after].map((img) => {
    const copy = img.cloneNode();
    copy.className = "";
    copy.alt = "";
    return el("span", { class: "half" }, copy);
  });
  halves[0].classList.add("before");
  const scale = el("span", { class: "scale" });
  const element = el("div", { class: "lens", role: "img", tabindex: "0", hidden: true,
    "aria-label": "Lens: the same detail before (left) and after (right). Arrow keys move it." }, ...halves, scale);
  const lens = { element, on: false, pointAt, turn };
  let [x, y] = [0.5, 0.4];

  function pointAt(toX, toY) {
    [x, y] = [toX, toY].map((part) => Math.min(1, Math.max(0, part)));
    const stage = element.parentElement;
    const shown = stage.offsetWidth / (after.naturalWidth / devicePixelRatio);
    let times = 1;
    while (times < 1.6 * shown && times < 16) times *= 2;
    scale.textContent = `${times}:1`;
    const width = (after.naturalWidth * times) / devicePixelRatio;
    const height = (after.naturalHeight * times) / devicePixelRatio;
    const place = (part, room, own) => Math.min(Math.max(part * room - own / 2, 4), Math.max(4, room - own - 4));
    element.style.transform = `translate(${place(x, stage.offsetWidth, element.offsetWidth)}px, `
      + `${place(y, stage.offsetHeight, element.offsetHeight)}px)`;
    for (const half of halves) {
      const img = half.firstChild;
      img.style.width = `${width}px`;
      img.style.height = `${height}px`;
      img.style.transform = `translate(${half.offsetWidth / 2 - x * width}px, ${half.offsetHeight / 2 - y * height}px)`;
    }
  }
  function turn(on) {
    lens.on = on;
    element.hidden = !on;
    element.parentElement.classList.toggle("lensed", on);
    if (on) pointAt(x, y);
  }
  element.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    pointAt(x + dx * 0.02, y + dy * 0.02);
  });
  return lens;
}

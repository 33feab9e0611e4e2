// The page's own script: the 3D views with their linked cameras, and the wipes from photograph to render to difference.
// It builds nothing from text: names reach it as attributes and leave it as attributes.
"use strict";

// -- wipes ------------------------------------------------------------------------------------------------------------

const STOPS = ["photograph", "render", "difference"];

/** What a position 0..200 shows, in words for people who do not see it. */
function spoken(at) {
  const left = Math.floor(at / 100), share = at % 100;
  if (share === 0) return STOPS[left];
  return `${share} % ${STOPS[left + 1]}, the rest ${STOPS[left]}`;
}

function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** One wipe over the three pictures of a view and a model, and the slider below that moves it. */
function wipe(place, images) {
  const frame = element("div", "frame");
  for (const [layer, image] of images.entries()) {
    const copy = element("img", `layer${layer}`);
    copy.src = image.src;
    copy.alt = layer ? "" : image.alt;
    copy.draggable = false;
    frame.append(copy);
  }
  const range = element("input");
  Object.assign(range, { type: "range", min: 0, max: 200, step: 5 });
  range.setAttribute("aria-label", place.dataset.label);
  const stops = element("div", "stops");
  const buttons = STOPS.map((name, index) => {
    const button = element("button", "", name);
    button.type = "button";
    button.addEventListener("click", () => { range.value = 100 * index; show(); });
    stops.append(button);
    return button;
  });
  function show() {
    const at = Number(range.value);
    frame.style.setProperty("--render", `${100 - Math.min(at, 100)}%`);
    frame.style.setProperty("--difference", `${100 - Math.max(at - 100, 0)}%`);
    frame.style.setProperty("--edge", `${at === 200 ? 100 : at % 100}%`);
    frame.classList.toggle("whole", at % 100 === 0);
    range.setAttribute("aria-valuetext", spoken(at));
    for (const [index, button] of buttons.entries()) button.setAttribute("aria-pressed", String(at === 100 * index));
  }
  range.addEventListener("input", show);
  range.value = 50;
  show();
  frame.append(element("span", "edge"));
  place.append(frame, range, stops);
}

for (const place of document.querySelectorAll("[data-wipe]")) {
  const images = place.dataset.wipe.split(" ").map(id => document.getElementById(id));
  if (images.every(image => image instanceof HTMLImageElement)) wipe(place, images);
}

// -- 3D ---------------------------------------------------------------------------------------------------------------

/** Sides of the object as angles of the camera: around +Y from +Z, and down from +Y, in degrees. */
const SIDES = {
  front: [0, 90], right: [90, 90], back: [180, 90], left: [-90, 90], top: [0, 0], bottom: [0, 180], start: [30, 70],
};
const stages = [...document.querySelectorAll("[data-mesh]")];
const views = [];
/** The view whose camera the others have; the one that was moved last. */
let leader = null, touched = false;

function hasWebGL() {
  try {
    return document.createElement("canvas").getContext("webgl2") !== null;
  } catch {
    return false;
  }
}

/** The mesh that travels in the page, as an address; its text is dropped, it would double the memory. */
function address(id) {
  const data = document.getElementById(id);
  const text = data.textContent;
  data.remove();
  const parts = [];
  const step = 4 << 18;
  for (let start = 0; start < text.length; start += step) {
    const binary = atob(text.slice(start, start + step));
    const bytes = new Uint8Array(binary.length);
    for (let k = 0; k < binary.length; k++) bytes[k] = binary.charCodeAt(k);
    parts.push(bytes);
  }
  return URL.createObjectURL(new Blob(parts, { type: "model/gltf-binary" }));
}

/** A sentence of the page in place of a 3D view that cannot be. */
function give_up(stage, id) {
  const sentence = document.getElementById(id).cloneNode(true);
  sentence.removeAttribute("id");
  sentence.hidden = false;
  stage.replaceChildren(sentence);
  stage.dataset.state = id;
}

function metres(place) {
  return `${place.x}m ${place.y}m ${place.z}m`;
}

/** The field of view to ask a viewer for so that it shows this one: narrow stages make it wider by themselves. */
function asked(viewer, field) {
  const { width, height } = viewer.getBoundingClientRect();
  const wider = Math.max(1, viewer.getIdealAspect() * height / width);
  return `${2 * Math.atan(Math.tan(field * Math.PI / 360) / wider)}rad`;
}

/** Views of the capture's frame see the same place from the same camera; others turn along, at their own scale. */
function follow() {
  const orbit = leader.viewer.getCameraOrbit(), target = leader.viewer.getCameraTarget();
  const field = leader.viewer.getFieldOfView();
  for (const view of views) {
    if (view === leader || !view.home) continue;
    const { viewer, home } = view;
    const scale = home.radius / leader.home.radius;
    const moved = axis => home.target[axis] + (target[axis] - leader.home.target[axis]) * scale;
    viewer.cameraTarget = metres({ x: moved("x"), y: moved("y"), z: moved("z") });
    viewer.cameraOrbit = `${orbit.theta}rad ${orbit.phi}rad ${orbit.radius * scale}m`;
    viewer.fieldOfView = asked(viewer, field);
    viewer.jumpCameraToGoal();
  }
}

/** All views to one side, at the distance they began with. */
function turn_to(side) {
  const [theta, phi] = SIDES[side], { viewer, home } = leader;
  viewer.cameraTarget = metres(home.target);
  viewer.cameraOrbit = `${theta}deg ${phi}deg ${home.radius}m`;
  viewer.fieldOfView = "auto";
}

/** Once more when a mesh has come or gone: all in the capture's frame begin at the camera of the first on the page. */
function link() {
  const there = views.filter(view => view.own);
  for (const view of there) {
    const { viewer } = view;
    const home = view.home = there.find(other => other.frame === view.frame).own;
    // the viewer's own bounds depend on the mesh, and linked cameras need the same
    viewer.minCameraOrbit = `auto 0deg ${0.1 * home.radius}m`;
    viewer.maxCameraOrbit = `auto 180deg ${2.5 * home.radius}m`;
    viewer.minFieldOfView = "5deg";
    viewer.maxFieldOfView = "45deg";
  }
  if (!touched || !leader.own) leader = there[0] ?? null;
  if (leader) follow();
}

function open(stage) {
  const viewer = document.createElement("model-viewer");
  // own: where its camera stood when it had loaded; home: where it begins, by which it is linked
  const view = { stage, viewer, frame: stage.dataset.frame, own: null, home: null };
  const [theta, phi] = SIDES.start;
  const attributes = {
    "camera-controls": "", "disable-tap": "", "interaction-prompt": "none", "touch-action": "pan-y",
    "camera-orbit": `${theta}deg ${phi}deg auto`, "shadow-intensity": "0", loading: "eager", alt: stage.dataset.alt,
  };
  for (const [name, value] of Object.entries(attributes)) viewer.setAttribute(name, value);
  viewer.addEventListener("load", () => {
    view.own = { radius: viewer.getCameraOrbit().radius, target: viewer.getCameraTarget() };
    link();
    stage.querySelector("p")?.remove();
    stage.dataset.state = "loaded";
  }, { once: true });
  viewer.addEventListener("error", () => {
    view.own = view.home = null;
    link();
    give_up(stage, "mesh-unreadable");
  });
  viewer.addEventListener("camera-change", event => {
    if (!view.home) return;
    if (event.detail.source === "user-interaction") [leader, touched] = [view, true];
    if (view === leader) follow();
  });
  views.push(view);
  const bar = element("div");
  bar.slot = "progress-bar";  // takes the place of the viewer's own, which stays on some machines
  viewer.append(bar);
  stage.append(viewer);
  viewer.src = address(stage.dataset.mesh);
}

if (stages.length && !hasWebGL()) {
  for (const stage of stages) give_up(stage, "no-webgl");
} else if (stages.length) {
  customElements.whenDefined("model-viewer").then(() => {
    for (const stage of stages) open(stage);
    for (const button of document.querySelectorAll("[data-side]")) {
      button.addEventListener("click", () => { if (leader) turn_to(button.dataset.side); });
    }
    for (const id of ["sides", "how-to-turn"]) document.getElementById(id).hidden = false;
  });
}

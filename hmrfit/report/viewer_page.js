// The page: one view is open at a time, for a browser keeps few WebGL contexts.

const STYLE = `
.v3d{margin:.6rem 0 1rem;outline:none}
.v3d-stage{position:relative;overflow:hidden;width:100%;height:min(74vh,86vw);min-height:300px;border-radius:6px;
  border:1px solid var(--line,#ccc);background:var(--stage,#f2f4f6);touch-action:none;user-select:none;cursor:grab}
.v3d:focus-visible .v3d-stage{outline:2px solid #0072b2;outline-offset:2px}
.v3d-stage img,.v3d-stage video{position:absolute;left:0;top:0;max-width:none;border-radius:0;transform-origin:0 0;
  pointer-events:none}
.v3d-stage canvas{position:absolute;left:0;top:0;width:100%;height:100%;display:block}
.v3d-bar{display:flex;flex-wrap:wrap;gap:.35rem .5rem;margin:.45rem 0;align-items:center;font-size:14px}
.v3d-bar button,.view3d>button{font:inherit;padding:.32rem .7rem;min-height:36px;border:1px solid var(--line,#bbb);
  border-radius:6px;background:var(--button,#fff);color:inherit;cursor:pointer}
.v3d-bar button[aria-pressed=true]{background:#0072b2;border-color:#0072b2;color:#fff}
.v3d-bar label{display:inline-flex;gap:.35rem;align-items:center;min-height:36px;margin-right:.4rem}
.v3d-bar i{width:.8em;height:.8em;border-radius:50%;display:inline-block}
.v3d-bar .v3d-time{flex:1 1 12rem;min-width:8rem}
.v3d-note{font-size:13px;color:var(--soft,#666);margin:.2rem 0}`;


let open = null;
const bodies = {};

function script(src) {
  return new Promise((resolve, reject) => {
    document.head.append(made("script", {src, onload: resolve,
      onerror: () => reject(new Error(`'${src}' is missing beside this page.`))}));
  });
}

// Whether the browser has WebGL, asked once: a context that is only asked for counts among the few that there are.
let drawn = null;
function drawsInThreeDimensions() {
  if (drawn === null) {
    const canvas = made("canvas"), context = canvas.getContext("webgl2") || canvas.getContext("webgl");
    drawn = Boolean(context);
    if (context) context.getExtension("WEBGL_lose_context")?.loseContext();
  }
  return drawn;
}

const NO_WEBGL = "this browser has no WebGL here. Turn on graphics (hardware) acceleration in its settings, or open the " +
  "page in another browser.";

async function show(element) {
  const button = element.querySelector(":scope > button");
  try {
    if (!window.THREE || !THREE.WebGLRenderer) throw new Error(window.hmrfitNoViewer || "three.js is missing.");
    if (!drawsInThreeDimensions()) throw new Error(NO_WEBGL);
    let scene = element.scene;
    const inside = element.querySelector(":scope > script[type='application/json']");
    if (!scene && inside) scene = JSON.parse(inside.textContent);
    if (!scene) {
      await script(element.dataset.src);
      scene = window.hmrfitScene;
    }
    element.scene = scene;
    const file = element.dataset.body || scene.body;
    if (!bodies[scene.body]) {
      await script(file);
      bodies[scene.body] = new Body(window.hmrfitBody);
    }
    if (open) shut();
    const view = new View(element, scene, bodies[scene.body]);
    open = {element, view};
    element.view = view;
    element.querySelector(":scope > p").hidden = true;
    if (button) button.textContent = "Close the 3D view";
    view.canvas.addEventListener("webglcontextlost", () => {
      if (!open || open.view !== view) return;
      shut();
      say(element, "the browser gave it up. Load the page again.");
    });
  } catch (error) {
    element.querySelector(":scope > .v3d")?.remove(); // what was begun
    say(element, error.message);
    if (button) button.hidden = true;
  }
}

function say(element, why) {
  const said = element.querySelector(":scope > p");
  said.hidden = false;
  said.textContent = `There is no 3D view: ${why} The pictures show the same bodies.`;
}

function shut() {
  open.view.close();
  const button = open.element.querySelector(":scope > button");
  if (button) button.textContent = "Turn it in 3D";
  open.element.view = null;
  open = null;
}

function start() {
  document.head.append(made("style", {textContent: STYLE}));
  const places = [...document.querySelectorAll(".view3d")];
  for (const element of places) {
    const first = places.length === 1 && !element.dataset.src;
    if (first) {
      show(element);
      continue;
    }
    element.querySelector(":scope > p").hidden = true;
    const onclick = () => open && open.element === element ? shut() : show(element);
    element.prepend(made("button", {type: "button", textContent: "Turn it in 3D", onclick}));
  }
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();

// The view: surfaces, floor, camera and photograph in one scene, and the place from where they are seen.

const GHOSTS = ["#d55e00", "#009e73", "#cc79a7", "#e69f00"]; // other answers: Okabe and Ito
const SAMPLE = "#56b4e9";

// A surface in the scene. A translucent one is drawn after a pass of its depth alone, so that one sees no inside of it.
class Figure {
  constructor(body, color, opacity, ghost) {
    this.geometry = new THREE.BufferGeometry();
    this.positions = new Float32Array(3 * body.count);
    this.geometry.setAttribute("position", new THREE.BufferAttribute(this.positions, 3));
    this.geometry.setIndex(new THREE.BufferAttribute(body.faces, 1));
    this.material = new THREE.MeshLambertMaterial({
      color: new THREE.Color(color).convertSRGBToLinear(), transparent: true, opacity, depthWrite: !ghost});
    this.object = new THREE.Group();
    const surface = new THREE.Mesh(this.geometry, this.material);
    surface.renderOrder = ghost ? 3 : 2;
    if (!ghost) {
      const depth = new THREE.Mesh(this.geometry, new THREE.MeshBasicMaterial({colorWrite: false}));
      depth.renderOrder = 1;
      this.object.add(depth);
    }
    this.object.add(surface);
    this.object.traverse(one => { one.frustumCulled = false; });
  }

  changed() {
    this.geometry.attributes.position.needsUpdate = true;
    this.geometry.computeVertexNormals();
  }
}

class Stage {
  constructor(element, scene, body) {
    this.scene = scene;
    this.body = body;
    this.moment = -1;
    this.wants = {photograph: true, floor: true, camera: true, together: true};
    this.world = new THREE.Group();
    const L = scene.level.flat(); // scene -> level frame; then y and z are turned about: y up, z towards the viewer
    this.world.matrix.set(L[0], L[1], L[2], 0, -L[3], -L[4], -L[5], 0, -L[6], -L[7], -L[8], 0, 0, 0, 0, 1);
    this.world.matrixAutoUpdate = false;
    this.three = new THREE.Scene();
    this.three.add(this.world);
    this.camera = new THREE.Camera();
    this.build(element);
    this.light();
    this.people = scene.people.map(person => this.person(person));
    this.seek(0);
    this.furnish();
    this.lookThrough();
    this.listen();
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(this.stage);
    this.resize();
  }

  build(element) {
    this.stage = made("div", {className: "v3d-stage"});
    this.canvas = made("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "3D view of " + this.scene.people.map(p => p.name).join(", "));
    if (this.scene.backdrop) {
      this.backdrop = made(this.scene.video ? "video" : "img", {src: this.scene.backdrop, muted: true, alt: ""});
      this.backdrop.style.width = this.scene.camera.size[0] + "px";
      this.backdrop.style.height = this.scene.camera.size[1] + "px";
      this.stage.append(this.backdrop);
    }
    this.stage.append(this.canvas);
    this.root = made("div", {className: "v3d", tabIndex: 0}, this.stage);
    element.append(this.root);
    this.renderer = new THREE.WebGLRenderer({canvas: this.canvas, antialias: true, alpha: true});
    this.renderer.outputEncoding = THREE.sRGBEncoding;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
  }

  light() {
    this.lamp = new THREE.DirectionalLight(0xffffff, 0.75);
    this.three.add(new THREE.HemisphereLight(0xffffff, 0x9a8f84, 0.62), this.lamp, this.lamp.target);
  }

  person(data) {
    const poses = new Poses(this.body, data.answer), figure = new Figure(this.body, data.color, 1, false);
    const rows = new Map((data.frames || [0]).map((frame, row) => [frame, row]));
    const exact = data.surface ? dequantised(data.surface) : null;
    const others = data.others.map((other, i) => {
      const shown = new Figure(this.body, GHOSTS[i % GHOSTS.length], 0.8, false);
      const pose = new Poses(this.body, other.pose);
      pose.vertices(0, shown.positions);
      shown.changed();
      shown.shift = poses.pelvis(0).sub(pose.pelvis(0));
      shown.object.visible = false;
      return {label: other.label, color: GHOSTS[i % GHOSTS.length], figure: shown};
    });
    this.world.add(figure.object, ...others.map(other => other.figure.object));
    return {data, poses, rows, exact, figure, others, samples: null, hidden: false};
  }

  // Made when they are first asked for
  samplesOf(person) {
    const poses = new Poses(this.body, person.data.samples);
    person.samples = Array.from({length: poses.count}, (_, row) => {
      const figure = new Figure(this.body, SAMPLE, Math.max(0.1, 0.9 / poses.count), true);
      poses.vertices(row, figure.positions);
      figure.changed();
      figure.shift = person.poses.pelvis(0).sub(poses.pelvis(row));
      this.world.add(figure.object);
      return figure;
    });
    return person.samples;
  }

  // The bodies of one moment
  seek(moment) {
    if (moment === this.moment) return;
    this.moment = moment;
    for (const person of this.people) {
      const row = person.rows.get(moment);
      person.figure.object.visible = row !== undefined && !person.hidden;
      if (row === undefined) continue;
      if (person.exact) person.figure.positions.set(person.exact);
      else person.poses.vertices(row, person.figure.positions);
      person.figure.changed();
    }
    if (this.through) this.stand();
  }

  // ---- what stands beside the bodies: the floor, the camera

  furnish() {
    const box = this.bounds(), middle = box.getCenter(new THREE.Vector3()), size = box.getSize(new THREE.Vector3());
    let floor = box.min.y;
    const now = this.moment, step = Math.max(1, Math.floor(this.scene.moments / 12));
    for (let m = step; m < this.scene.moments; m += step) {
      this.seek(m);
      const other = this.bounds();
      if (!other.isEmpty()) floor = Math.min(floor, other.min.y);
    }
    this.seek(now);
    const side = 2 * Math.ceil(Math.max(size.x, size.z) / 2 + 1.5);
    this.floor = new THREE.Group();
    for (const [parts, opacity] of [[4 * side, 0.25], [side, 0.7]]) {
      const grid = new THREE.GridHelper(side, parts, 0x888888, 0x888888);
      Object.assign(grid.material, {transparent: true, opacity, depthWrite: false});
      this.floor.add(grid);
    }
    this.floor.position.set(Math.round(middle.x), floor, Math.round(middle.z));
    this.three.add(this.floor);
    this.far = 0.4;
    for (const person of this.people) {
      const xyz = person.figure.positions, {rotation: R, translation: t} = this.extrinsics();
      for (let i = 0; i < xyz.length; i += 3) {
        this.far = Math.max(this.far, R[6] * xyz[i] + R[7] * xyz[i + 1] + R[8] * xyz[i + 2] + t[2] + 0.4);
      }
    }
    const {focal, center, size: pixels} = this.scene.camera, corners = [], lines = [];
    for (const [u, v] of [[0, 0], [pixels[0], 0], [pixels[0], pixels[1]], [0, pixels[1]]]) {
      corners.push(new THREE.Vector3((u - center[0]) / focal[0], (v - center[1]) / focal[1], 1));
    }
    corners.forEach((corner, i) => {
      const near = corner.clone().multiplyScalar(0.25), next = corners[(i + 1) % 4];
      lines.push(new THREE.Vector3(), corner.clone().multiplyScalar(this.far), near, next.clone().multiplyScalar(0.25),
        corner.clone().multiplyScalar(this.far), next.clone().multiplyScalar(this.far));
    });
    this.frustum = new THREE.LineSegments(new THREE.BufferGeometry().setFromPoints(lines),
      new THREE.LineBasicMaterial({color: 0x888888, transparent: true, opacity: 0.55}));
    this.frustum.matrixAutoUpdate = false;
    this.world.add(this.frustum);
  }

  // The box of the answers that are seen, in the upright world
  bounds() {
    const box = new THREE.Box3(), point = new THREE.Vector3();
    for (const {figure} of this.people.filter(one => one.figure.object.visible)) {
      for (let i = 0; i < figure.positions.length; i += 3) {
        box.expandByPoint(point.fromArray(figure.positions, i).applyMatrix4(this.world.matrix));
      }
    }
    return box;
  }

  // ---- where one looks from: a place, a direction, and the photograph's own lens with a zoom and a shift in pixels

  extrinsics() { // scene -> camera
    const all = this.scene.extrinsics, at = all ? all[Math.min(Math.max(this.moment, 0), all.length - 1)] : null;
    return at ? {rotation: at.slice(0, 9), translation: at.slice(9)}
      : {rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0, 0, 0]};
  }

  cameraMatrix() { // camera (OpenCV) -> upright world
    const {rotation: R, translation: t} = this.extrinsics();
    const inverse = new THREE.Matrix4().set(R[0], R[1], R[2], t[0], R[3], R[4], R[5], t[1], R[6], R[7], R[8], t[2],
      0, 0, 0, 1).invert();
    return inverse.premultiply(this.world.matrix);
  }

  stand() { // in the place of the camera
    const pose = this.cameraMatrix();
    this.camera.position.setFromMatrixPosition(pose);
    this.camera.quaternion.setFromRotationMatrix(
      new THREE.Matrix4().extractRotation(pose).multiply(new THREE.Matrix4().makeScale(1, -1, -1)));
    this.placeFrustum();
  }

  placeFrustum() {
    const {rotation: R, translation: t} = this.extrinsics();
    this.frustum.matrix.set(R[0], R[1], R[2], t[0], R[3], R[4], R[5], t[1], R[6], R[7], R[8], t[2], 0, 0, 0, 1).invert();
    this.frustum.matrixWorldNeedsUpdate = true;
  }

  lookThrough() {
    this.through = true;
    this.zoom = 1;
    this.shift = [0, 0];
    this.stand();
    const box = this.bounds();
    if (!box.isEmpty()) this.pivot = box.getCenter(new THREE.Vector3());
    this.pivot = this.pivot || new THREE.Vector3(0, 0, -3);
    this.draw();
  }

  // From a direction ("front": of the first person who is there), so that everybody is seen
  lookFrom(side) {
    const person = this.people.find(one => one.figure.object.visible) || this.people[0];
    const root = person.poses.root(person.rows.get(this.moment) || 0);
    const front = new THREE.Vector3(root[2], root[5], root[8]).transformDirection(this.world.matrix);
    front.y = 0;
    if (front.length() < 0.2) front.set(0, 0, 1).applyQuaternion(this.camera.quaternion).setY(0);
    front.normalize();
    const up = new THREE.Vector3(0, 1, 0), left = new THREE.Vector3().crossVectors(up, front);
    const from = {front, side: left, top: up, back: front.clone().negate()}[side];
    const box = this.bounds(), radius = box.isEmpty() ? 1 : 0.52 * box.getSize(new THREE.Vector3()).length();
    if (!box.isEmpty()) this.pivot = box.getCenter(new THREE.Vector3());
    this.through = false;
    this.zoom = 1;
    const {width, height, scale, left: x, top: y} = this.frame(), {focal, center} = this.scene.camera;
    this.shift = [width / 2 - x - scale * center[0], height / 2 - y - scale * center[1]];
    const distance = radius / Math.sin(Math.atan(Math.min(width, height) / 2 / (scale * focal[0])));
    this.camera.position.copy(this.pivot).addScaledVector(from, distance);
    const turned = new THREE.Matrix4().lookAt(this.camera.position, this.pivot, side === "top" ? front.negate() : up);
    this.camera.quaternion.setFromRotationMatrix(turned);
    this.draw();
  }

  turn(yaw, pitch) {
    this.through = false;
    const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(this.camera.quaternion);
    const height = Math.asin(Math.min(1, Math.max(-1, ahead.y)));
    pitch = Math.min(1.5, Math.max(-1.5, height + pitch)) - height;
    const right = new THREE.Vector3(1, 0, 0).applyQuaternion(this.camera.quaternion);
    const both = new THREE.Quaternion().setFromAxisAngle(new THREE.Vector3(0, 1, 0), yaw)
      .multiply(new THREE.Quaternion().setFromAxisAngle(right, pitch));
    this.camera.position.sub(this.pivot).applyQuaternion(both).add(this.pivot);
    this.camera.quaternion.premultiply(both);
    this.draw();
  }

  // The photograph is enlarged about the cursor; elsewhere one walks nearer
  approach(factor, x, y) {
    if (this.through) {
      factor = Math.min(20, Math.max(0.5, this.zoom * factor)) / this.zoom;
      const {left, top} = this.frame();
      this.shift = [x - left - factor * (x - left - this.shift[0]), y - top - factor * (y - top - this.shift[1])];
      this.zoom *= factor;
    } else {
      const way = this.camera.position.clone().sub(this.pivot);
      way.setLength(Math.min(60, Math.max(0.2, way.length() / factor)));
      this.camera.position.copy(this.pivot).add(way);
    }
    this.draw();
  }

  pan(dx, dy) {
    this.shift = [this.shift[0] + dx, this.shift[1] + dy];
    this.draw();
  }

  // The whole photograph inside the canvas: its scale and its upper left corner, pixels of the canvas
  frame() {
    const width = this.stage.clientWidth, height = this.stage.clientHeight, [W, H] = this.scene.camera.size;
    const scale = Math.min(width / W, height / H);
    return {width, height, scale, left: (width - scale * W) / 2, top: (height - scale * H) / 2};
  }

  project() {
    const {width, height, scale, left, top} = this.frame(), {focal, center} = this.scene.camera;
    const s = scale * this.zoom, near = 0.05, far = 300;
    const x = left + this.shift[0] + s * center[0], y = top + this.shift[1] + s * center[1];
    this.camera.projectionMatrix.set(2 * s * focal[0] / width, 0, 1 - 2 * x / width, 0,
      0, 2 * s * focal[1] / height, 2 * y / height - 1, 0,
      0, 0, -(far + near) / (far - near), -2 * far * near / (far - near), 0, 0, -1, 0);
    this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
  }

  // The photograph stands behind the bodies, as a picture of CSS: a canvas may not read files beside the page
  placeBackdrop() {
    if (!this.backdrop) return;
    const pose = this.cameraMatrix(), {focal, center, size} = this.scene.camera, far = this.far;
    const plane = new THREE.Matrix4().set(far / focal[0], 0, 0, -far * center[0] / focal[0],
      0, far / focal[1], 0, -far * center[1] / focal[1], 0, 0, 1, far, 0, 0, 0, 1).premultiply(pose);
    const eye = this.camera.position.clone().applyMatrix4(pose.clone().invert());
    const shown = this.wants.photograph && eye.z < far - 0.02;
    this.backdrop.style.display = shown ? "" : "none";
    if (!shown) return;
    const M = plane.premultiply(this.camera.matrixWorldInverse).premultiply(this.camera.projectionMatrix).elements;
    const {width, height} = this.frame(), columns = [];
    for (const c of [0, 4, 12]) {
      columns.push([(M[c] + M[c + 3]) * width / 2, (M[c + 3] - M[c + 1]) * height / 2, 0, M[c + 3]]);
    }
    const [a, b, d] = columns, w = d[3] || 1;
    this.backdrop.style.transform = `matrix3d(${[a, b, [0, 0, 1, 0], d].flat().map(n => (n / w).toPrecision(9))})`;
    this.backdrop.style.opacity = this.through ? 1 : 0.85;
  }

  resize() {
    const {width, height} = this.frame();
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.draw();
  }

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => this.render());
  }

  render() {
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    this.camera.updateMatrixWorld();
    this.project();
    this.floor.visible = this.wants.floor && !this.through;
    this.frustum.visible = this.wants.camera && !this.through;
    if (this.scene.extrinsics) this.placeFrustum();
    // others stand where the picture puts them; beside the answer, pelvis on pelvis, one sees how the poses differ
    for (const {others, samples} of this.people) {
      for (const figure of [...others.map(other => other.figure), ...(samples || [])]) {
        if (this.wants.together && !this.through) figure.object.position.copy(figure.shift);
        else figure.object.position.set(0, 0, 0);
      }
    }
    const aside = new THREE.Vector3(-0.5, 0.8, 1).applyQuaternion(this.camera.quaternion);
    this.lamp.position.copy(this.pivot).add(aside);
    this.lamp.target.position.copy(this.pivot);
    this.lamp.target.updateMatrixWorld();
    this.placeBackdrop();
    this.renderer.render(this.three, this.camera);
    for (const [name, button] of Object.entries(this.buttons || {})) {
      button.setAttribute("aria-pressed", name === "camera" && this.through);
    }
  }
}

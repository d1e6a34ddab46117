// The 3D view of hmrfit's pages. three.js stands above this text in viewer.js (global THREE); nothing else is loaded
// but a scene's own files, by script tags, so that it works from file:// without a network.
//
//   shape     t = T + sum_s beta_s S_s            j = J + sum_s beta_s J_s
//   skeleton  G_b = G_parent R_b                  x_b = x_parent + G_parent (j_b - j_parent)
//   vertex    v = sum_b w_b (G_b (t - j_b) + x_b) + transl
//
// Pose correctives are left out; the answer of a photograph comes with its exact surface instead. Everything stands in
// the scene's frame (OpenCV: x right, y down, z forward, metres) inside a group that turns it upright, y up.

"use strict";

const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const floats = text => new Float32Array(bytes(text).buffer);
const dequantised = q => {
  const raw = new Uint16Array(bytes(q.data).buffer), out = new Float32Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = q.low[i % 3] + q.step[i % 3] * raw[i];
  return out;
};
const made = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
};

class Body {
  constructor(data) {
    this.template = dequantised(data.template);
    this.count = this.template.length / 3;
    const Index = data.wide ? Uint32Array : Uint16Array;
    this.faces = new Uint32Array(new Index(bytes(data.faces).buffer));
    this.parents = data.parents;
    this.joints = floats(data.joints);
    this.jointShapes = floats(data.joint_shapes); // (S, 3J)
    this.shapes = new Int8Array(bytes(data.shapes).buffer); // (S, 3V), times shape_steps
    this.shapeSteps = data.shape_steps;
    this.bones = bytes(data.weights.count); // how many of each vertex
    this.bone = bytes(data.weights.joint);
    this.weight = new Uint16Array(bytes(data.weights.value).buffer);
  }

  shaped(betas) {
    const rest = this.template.slice(), joints = this.joints.slice();
    this.shapeSteps.forEach((step, s) => {
      const size = (betas[s] || 0) * step;
      if (size) for (let i = 0, at = s * rest.length; i < rest.length; i++) rest[i] += size * this.shapes[at + i];
      for (let i = 0, at = s * joints.length; i < joints.length; i++) {
        joints[i] += (betas[s] || 0) * this.jointShapes[at + i];
      }
    });
    return {rest, joints};
  }

  // vectors: 3J rotation vectors, the root first; transl: 3; out: 3V
  pose({rest, joints}, vectors, transl, out) {
    const J = this.parents.length, turn = [], move = new Float32Array(3 * J);
    for (let b = 0; b < J; b++) {
      const own = rotation(vectors[3 * b], vectors[3 * b + 1], vectors[3 * b + 2]), p = this.parents[b];
      turn[b] = p < 0 ? own : product(turn[p], own);
      for (let k = 0; k < 3; k++) { // where the joint comes to stand
        move[3 * b + k] = p < 0 ? joints[k] : move[3 * p + k]
          + turn[p][3 * k] * (joints[3 * b] - joints[3 * p])
          + turn[p][3 * k + 1] * (joints[3 * b + 1] - joints[3 * p + 1])
          + turn[p][3 * k + 2] * (joints[3 * b + 2] - joints[3 * p + 2]);
      }
    }
    for (let v = 0, w = 0; v < this.count; v++) {
      let x = transl[0], y = transl[1], z = transl[2];
      for (const end = w + this.bones[v]; w < end; w++) {
        const b = this.bone[w], share = this.weight[w] / 65535, G = turn[b];
        const dx = rest[3 * v] - joints[3 * b], dy = rest[3 * v + 1] - joints[3 * b + 1];
        const dz = rest[3 * v + 2] - joints[3 * b + 2];
        x += share * (G[0] * dx + G[1] * dy + G[2] * dz + move[3 * b]);
        y += share * (G[3] * dx + G[4] * dy + G[5] * dz + move[3 * b + 1]);
        z += share * (G[6] * dx + G[7] * dy + G[8] * dz + move[3 * b + 2]);
      }
      out[3 * v] = x; out[3 * v + 1] = y; out[3 * v + 2] = z;
    }
    return out;
  }
}

// Rodrigues: R = I + sin(a) K + (1 - cos(a)) K K, K the cross product with the unit axis
function rotation(x, y, z) {
  const a = Math.hypot(x, y, z);
  if (a < 1e-9) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
  x /= a; y /= a; z /= a;
  const s = Math.sin(a), c = 1 - Math.cos(a);
  return [1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y,
    c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x,
    c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y)];
}

function product(A, B) {
  const C = [];
  for (let i = 0; i < 9; i += 3) for (let k = 0; k < 3; k++) C.push(A[i] * B[k] + A[i + 1] * B[k + 3] + A[i + 2] * B[k + 6]);
  return C;
}

// T moments of one body, or T samples of it
class Poses {
  constructor(body, data) {
    this.body = body;
    this.transl = floats(data.transl);
    this.count = this.transl.length / 3;
    this.vectors = floats(data.poses);
    this.betas = floats(data.betas);
    this.known = null; // the shape of the row asked for last
  }

  shape(row) {
    const S = this.body.shapeSteps.length, at = this.betas.length > S ? row * S : 0;
    if (!this.known || this.known.at !== at) {
      this.known = {at, shape: this.body.shaped(this.betas.subarray(at, at + S))};
    }
    return this.known.shape;
  }

  vertices(row, out) {
    const J3 = 3 * this.body.parents.length;
    return this.body.pose(this.shape(row), this.vectors.subarray(row * J3, (row + 1) * J3),
      this.transl.subarray(3 * row, 3 * row + 3), out);
  }

  // Where the root joint stands
  pelvis(row) {
    const {joints} = this.shape(row);
    return new THREE.Vector3(joints[0], joints[1], joints[2]).add(
      new THREE.Vector3().fromArray(this.transl, 3 * row));
  }

  root(row) {
    const at = 3 * row * this.body.parents.length;
    return rotation(...this.vectors.subarray(at, at + 3));
  }
}

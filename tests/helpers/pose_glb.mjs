// node pose_glb.mjs FILE.glb SECONDS: three.js loads the file, plays its first clip to that time, and skins the meshes.
import { readFileSync } from 'node:fs';
import * as THREE from 'three';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';

globalThis.self = globalThis;
const bytes = readFileSync(process.argv[2]);
const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
new GLTFLoader().parse(data, '', (gltf) => {
  const mixer = new THREE.AnimationMixer(gltf.scene);
  mixer.clipAction(gltf.animations[0]).play();
  mixer.setTime(Number(process.argv[3]));
  gltf.scene.updateMatrixWorld(true);
  const meshes = [];
  gltf.scene.traverse((thing) => {
    if (!thing.isSkinnedMesh) return;
    const vertices = [];
    const point = new THREE.Vector3();
    for (let i = 0; i < thing.geometry.attributes.position.count; i++) {
      thing.getVertexPosition(i, point);
      point.applyMatrix4(thing.matrixWorld);
      vertices.push(point.x, point.y, point.z);
    }
    meshes.push({ name: thing.name, bones: thing.skeleton.bones.length, vertices });
  });
  const camera = gltf.cameras.length ? { fov: gltf.cameras[0].fov, aspect: gltf.cameras[0].aspect } : null;
  const clip = gltf.animations[0];
  console.log(JSON.stringify({ clips: gltf.animations.length, duration: clip.duration, camera, meshes }));
}, (error) => { throw error; });

// node validate_glb.cjs FILE.glb: the Khronos validator's issues, as JSON.
const { validateBytes } = require('gltf-validator');
const { readFileSync } = require('fs');
validateBytes(new Uint8Array(readFileSync(process.argv[2]))).then((report) => console.log(JSON.stringify(report.issues)));

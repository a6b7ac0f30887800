// Trains an exported step with onnxruntime-web: node train.mjs FOLDER DATA STEPS.
import * as ort from "onnxruntime-web";
import { readFileSync as read, writeFileSync as write } from "node:fs";

const [folder, data, steps] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const table = JSON.parse(read(`${folder}/training.json`, "utf8"));
const updates = Object.entries(table.models.step.updates); // [output, its state].
const session = await ort.InferenceSession.create(new Uint8Array(read(`${folder}/step.onnx`)), {
  executionProviders: ["wasm"], // In a browser "webgpu".
});
const kinds = { F32: ["float32", Float32Array], I64: ["int64", BigInt64Array], U64: ["uint64", BigUint64Array] };
const file = new Uint8Array(read(`${folder}/${table.state.file}`)); // Fetched in a browser.
const start = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
const header = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
const states = {};
for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
  const [type, array] = kinds[dtype];
  states[name] = new ort.Tensor(type, new array(file.slice(start + from, start + to).buffer), shape);
}
const x = new Float32Array(new Uint8Array(read(`${data}/x.bin`)).buffer);
const y = new BigInt64Array(new Uint8Array(read(`${data}/y.bin`)).buffer);
for (let i = 0; i < steps; i++) {
  const at = (64 * i) % y.length;
  const rate = 1e-2 * 0.5 * (1 + Math.cos((Math.PI * i) / steps));
  const results = await session.run({
    x: new ort.Tensor("float32", x.subarray(64 * at, 64 * (at + 64)), [64, 1, 8, 8]),
    target: new ort.Tensor("int64", y.subarray(at, at + 64), [64]),
    lr: new ort.Tensor("float32", [rate], []),
    ...states,
  });
  for (const [output, state] of updates) states[state] = results[output];
  console.log(results.loss.data[0].toFixed(6));
}
for (const [name, { data_offsets: [from] }] of Object.entries(header)) {
  const { buffer, byteOffset, byteLength } = states[name].data;
  file.set(new Uint8Array(buffer, byteOffset, byteLength), start + from);
}
write(`${folder}/trained.safetensors`, file);

// A golden case in another language: node golden/read.mjs golden/cases/model/holes
// prints every tap with its type, its shape, its noise floor and its first numbers.
import { readFileSync } from "node:fs";

const directory = process.argv[2];
const manifest = JSON.parse(readFileSync(`${directory}/manifest.json`, "utf8"));

const types = { F64: Float64Array, F32: Float32Array, I64: BigInt64Array, I32: Int32Array };

function tensors(path) { // safetensors: the length of a JSON header in 8 bytes, the header, the numbers
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const found = {};
  for (const [name, entry] of Object.entries(JSON.parse(bytes.subarray(8, 8 + length).toString()))) {
    if (name === "__metadata__") continue;
    const [start, end] = entry.data_offsets.map((offset) => 8 + length + offset);
    const buffer = bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + end);
    found[name] = { dtype: entry.dtype, shape: entry.shape, values: new types[entry.dtype](buffer) };
  }
  return found;
}

console.log(manifest.id, manifest.exercises, JSON.stringify(manifest.config));
for (const path of ["inputs", "expected"]) {
  for (const [name, { dtype, shape, values }] of Object.entries(tensors(`${directory}/${path}.safetensors`))) {
    const floor = manifest.floors[name]?.rms ?? "exact";
    console.log(name, dtype, JSON.stringify(shape), floor, Array.from(values.slice(0, 3), String).join(" "));
  }
}

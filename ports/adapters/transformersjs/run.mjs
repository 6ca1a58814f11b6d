// transformers.js, on onnxruntime-node, as a port: node run.mjs CHECKPOINT INPUTS OUTPUTS
//
// CHECKPOINT is a directory of the Hugging Face layout. transformers.js runs its onnx/model.onnx; where there is none,
// ../../tools/export_onnx.py writes it first, with the Python that the variable PYTHON names. INPUTS holds token_ids and
// padding_mask, int64, (B, T); OUTPUTS gets output, float32, (B, T, D). All three are local: nothing is downloaded.
//
//     npm install --prefix ports/adapters/transformersjs
//     PYTHON=.venv-ports/bin/python deberta-ref check --exec \
//         'node ports/adapters/transformersjs/run.mjs {checkpoint} {inputs} {outputs}'
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { AutoModel, Tensor, env } from "@huggingface/transformers";

function read(path) { // safetensors: the length of a JSON header in 8 bytes, the header, the numbers
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const tensor = ({ dtype, shape, data_offsets: [first, last] }) => {
    if (dtype !== "I64") throw new Error(`${path} must hold I64; got ${dtype}.`);
    const offset = bytes.byteOffset + start;
    return new Tensor("int64", new BigInt64Array(bytes.buffer.slice(offset + first, offset + last)), shape);
  };
  const { __metadata__, ...entries } = JSON.parse(bytes.subarray(8, start).toString());
  return Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, tensor(entry)]));
}

function write(path, name, { dims, data }) {
  const header = JSON.stringify({ [name]: { dtype: "F32", shape: dims, data_offsets: [0, data.byteLength] } });
  const padded = Buffer.from(header.padEnd(8 * Math.ceil(header.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  writeFileSync(path, Buffer.concat([length, padded, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
}

const [checkpoint, inputs, outputs] = process.argv.slice(2).map((path) => resolve(path));
if (!existsSync(join(checkpoint, "onnx", "model.onnx"))) {
  const exporter = fileURLToPath(new URL("../../tools/export_onnx.py", import.meta.url));
  execFileSync(process.env.PYTHON ?? "python3", [exporter, checkpoint], { stdio: ["ignore", "ignore", "inherit"] });
}
env.allowRemoteModels = false;
const model = await AutoModel.from_pretrained(checkpoint, { dtype: "fp32", device: "cpu" }); // an absolute path
const { token_ids, padding_mask } = read(inputs);
const { last_hidden_state } = await model({ input_ids: token_ids, attention_mask: padding_mask });
if (last_hidden_state.type !== "float32") throw new Error(`The output must be float32; got ${last_hidden_state.type}.`);
write(outputs, "output", last_hidden_state);

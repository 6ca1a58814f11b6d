// DeBERTaV3 in JavaScript, of spec/02 to spec/05, without a package: the implementation that docs/ports.md hands over.
// load(config, weights) returns run(ids, mask), the last hidden state of one example: T rows of D numbers. A padded token
// does not exist (PAD-ABSENT): it is left out, and the others keep their positions.

const dot = (x, y) => x.reduce((sum, number, i) => sum + number * y[i], 0);
const add = (x, y) => x.map((number, i) => number + y[i]);
const normalise = (x, { weight, bias }) => { // NORM-LAYER, epsilon 1e-7
  const mean = x.reduce((sum, number) => sum + number, 0) / x.length;
  const centred = x.map((number) => number - mean);
  const root = Math.sqrt(dot(centred, centred) / x.length + 1e-7);
  return centred.map((number, i) => (number / root) * weight[i] + bias[i]);
};

export function softmax(scores) {
  const most = Math.max(...scores);
  const exps = scores.map((score) => Math.exp(score - most));
  const sum = exps.reduce((total, exp) => total + exp, 0);
  return exps.map((exp) => exp / sum);
}

function erfc(z) { // z ≥ 0: near 0 the series of erf, beyond a continued fraction
  if (z < 2) {
    let term = z, sum = z;
    for (let n = 1; Math.abs(term) > 1e-18; n += 1) {
      term *= -z * z / n;
      sum += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = z;
  for (let n = 60; n > 0; n -= 1) fraction = z + n / 2 / fraction;
  return Math.exp(-z * z) / (Math.sqrt(Math.PI) * fraction);
}
const gelu = (x) => x * (x < 0 ? erfc(-x / Math.SQRT2) : 2 - erfc(x / Math.SQRT2)) / 2; // GELU-ERF

export function bucket(distance, bucketSize, longest) { // REL-BUCKET: an inequality between integers
  const far = BigInt(Math.abs(distance)), m = BigInt(Math.floor(bucketSize / 2)), M1 = BigInt(longest - 1);
  if (far <= m) return distance;
  let t = 0n;
  while (far ** (m - 1n) * m ** t > M1 ** t * m ** (m - 1n)) t += 1n;
  return Math.sign(distance) * Number(m + t);
}

export function load(config, weights) {
  const { num_attention_heads: H, hidden_size: D, position_buckets: buckets, max_position_embeddings: longest } = config;
  const d = D / H;
  const vector = (name) => Array.from(weights[name].data);
  const row = ({ data }, n, size) => Array.from(data.subarray(n * size, (n + 1) * size));
  const matrix = (name) => Array.from({ length: weights[name].shape[0] }, (_, n) => row(weights[name], n, weights[name].shape[1]));
  const part = (read) => (name) => ({ weight: read(`${name}.weight`), bias: vector(`${name}.bias`) });
  const [norm, dense] = [part(vector), part(matrix)];
  const linear = (x, { weight, bias }) => weight.map((out, i) => dot(out, x) + bias[i]);
  const heads = (x) => Array.from({ length: H }, (_, h) => x.slice(h * d, (h + 1) * d));

  const words = weights["embeddings.word_embeddings.weight"], first = norm("embeddings.LayerNorm");
  const relative = matrix("encoder.rel_embeddings.weight").map((x) => normalise(x, norm("encoder.LayerNorm"))); // REL-NORM
  const layers = Array.from({ length: config.num_hidden_layers }, (_, n) => {
    const name = `encoder.layer.${n}`;
    const [query, key, value] = ["query", "key", "value"].map((what) => dense(`${name}.attention.self.${what}_proj`));
    return {
      query, key, value,
      relativeQuery: relative.map((x) => heads(linear(x, query))), relativeKey: relative.map((x) => heads(linear(x, key))),
      hear: dense(`${name}.attention.output.dense`), heard: norm(`${name}.attention.output.LayerNorm`),
      up: dense(`${name}.intermediate.dense`), down: dense(`${name}.output.dense`), done: norm(`${name}.output.LayerNorm`),
    };
  });
  const rows = new Map();
  const rowOf = (distance) => { // REL-ROW, REL-LONG
    if (!rows.has(distance)) {
      rows.set(distance, Math.min(Math.max(bucket(distance, buckets, longest) + buckets, 0), 2 * buckets - 1));
    }
    return rows.get(distance);
  };

  function attend(layer, x, positions) {
    const [query, key, value] = ["query", "key", "value"].map((what) => x.map((token) => heads(linear(token, layer[what]))));
    return query.map((ofHeads, i) => ofHeads.flatMap((q, h) => {
      const probs = softmax(key.map(({ [h]: k }, j) => {
        const r = rowOf(positions[i] - positions[j]); // the same row in both terms: ATT-C2P, ATT-P2C
        return (dot(q, k) + dot(q, layer.relativeKey[r][h]) + dot(k, layer.relativeQuery[r][h])) / Math.sqrt(3 * d);
      }));
      return Array.from({ length: d }, (_, f) => probs.reduce((sum, p, j) => sum + p * value[j][h][f], 0));
    }));
  }

  return function run(ids, mask) {
    const positions = ids.map((_, t) => t).filter((t) => mask[t]);
    let x = positions.map((t) => normalise(row(words, ids[t], D), first));
    for (const layer of layers) {
      const context = attend(layer, x, positions);
      x = x.map((token, t) => normalise(add(token, linear(context[t], layer.hear)), layer.heard));
      x = x.map((token) => normalise(add(token, linear(linear(token, layer.up).map(gelu), layer.down)), layer.done));
    }
    const output = ids.map(() => new Array(D).fill(0)); // what stands at padded positions is not judged
    positions.forEach((t, n) => { output[t] = x[n]; });
    return output;
  };
}

// The recipe of spec/10 in JavaScript: node golden/recipe.mjs V L H D F bucket_size B T [seed]
// writes all parameters as little-endian float32, in their order, then B·T token ids as little-endian int32.
const [V, L, H, D, F, bucketSize, B, T] = process.argv.slice(2, 10).map(Number);
const seed = BigInt(process.argv[10] ?? 0);

const u64 = (z) => BigInt.asUintN(64, z);

function draw(stream, element) { // REC-MIXER
  let z = u64(seed + (BigInt(stream) * (1n << 40n) + BigInt(element) + 1n) * 0x9e3779b97f4a7c15n);
  z = u64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = u64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

function isqrt(n) {
  let root = Math.floor(Math.sqrt(n));
  while (root * root > n) root -= 1;
  while ((root + 1) * (root + 1) <= n) root += 1;
  return root;
}

const weight = (out, into, gain) => ({ size: out * into, factor: isqrt(Math.floor((gain * 2 ** 18) / into)) }); // REC-FACTORS
const linear = (out, into, gain) => [weight(out, into, gain), { size: out, factor: 128 }];
const norm = [{ size: D, factor: 256, offset: 2 ** 22 }, { size: D, factor: 64 }];

const tensors = [{ size: V * D, factor: 1024 }, ...norm, { size: 2 * bucketSize * D, factor: 1024 }, ...norm];
for (let n = 0; n < L; n += 1) {
  tensors.push(...linear(D, D, 20), ...linear(D, D, 20), ...linear(D, D, 12), ...linear(D, D, 2), ...norm);
  tensors.push(...linear(F, D, 27), ...linear(D, F, 3), ...norm);
}

for (const [stream, { size, factor, offset = 0 }] of tensors.entries()) {
  const values = Buffer.alloc(4 * size);
  for (let e = 0; e < size; e += 1) {
    const odd = 2 * Number(draw(stream, e) >> 52n) - 4095;
    values.writeFloatLE((factor * odd + offset) * 2 ** -22, 4 * e); // REC-VALUES
  }
  process.stdout.write(values);
}

const ids = Buffer.alloc(4 * B * T);
for (let e = 0; e < B * T; e += 1) ids.writeInt32LE(Number(((draw(2 ** 23, e) >> 32n) * BigInt(V)) >> 32n), 4 * e); // REC-IDS
process.stdout.write(ids);

// QR codes (ISO/IEC 18004): UTF-8 in byte mode, up to version 10: 213 bytes at level M, 271 at L.

const WORDS = [26, 44, 70, 100, 134, 172, 196, 242, 292, 346];
// Levels M and L, with their number in the format field.
const LEVELS = [[10, 16, 26, 18, 24, 16, 18, 22, 22, 26], [7, 10, 15, 20, 26, 18, 20, 24, 30, 18]];
const BLOCKS = [[1, 1, 1, 2, 2, 4, 4, 4, 5, 5], [1, 1, 1, 1, 1, 2, 2, 2, 2, 4]];
const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => ((x / 3 | 0) + (y >> 1)) % 2,
  (x, y) => (x * y) % 2 + (x * y) % 3,
  (x, y) => ((x * y) % 2 + (x * y) % 3) % 2,
  (x, y) => ((x + y) % 2 + (x * y) % 3) % 2,
];

/** Rows of 0 and 1, without the quiet zone. Without `mask` the one of least penalty is taken. */
export function encode(text, mask) {
  const data = new TextEncoder().encode(text);
  const [version, level] = fit(data.length);
  const words = interleave(pack(data, version, level), version, level);
  const masks = mask == null ? MASKS.keys() : [mask];
  let best, least = Infinity;
  for (const candidate of masks) {
    const rows = draw(words, version, level, candidate);
    const cost = mask == null ? penalty(rows) : 0;
    if (cost < least) [best, least] = [rows, cost];
  }
  return best;
}

/** Draws a code for nothing while a page waits for its own: a browser's first takes 30 ms, all others 3. */
export const warmUp = () => setTimeout(encode, 0, "http://weixin.qq.com/q/");

/** The dark modules as the `d` of one SVG path, a rectangle for each horizontal run. */
export function path(rows) {
  let d = "";
  rows.forEach((row, y) => {
    for (let x = 0; x < row.length; x++) {
      const from = x;
      while (row[x]) x++;
      if (x > from) d += `M${from} ${y}h${x - from}v1h${from - x}z`;
    }
  });
  return d;
}

const capacity = (version, level) =>
  WORDS[version - 1] - LEVELS[level][version - 1] * BLOCKS[level][version - 1];

function fit(length) {
  for (const level of [0, 1])
    for (let version = 1; version <= 10; version++)
      if (length <= capacity(version, level) - (version > 9 ? 3 : 2)) return [version, level];
  throw new RangeError("text too long");
}

function pack(data, version, level) {
  const bits = [];
  const put = (value, count) => { while (count--) bits.push(value >> count & 1); };
  put(4, 4);
  put(data.length, version > 9 ? 16 : 8);
  data.forEach((byte) => put(byte, 8));
  put(0, 4);
  const words = [];
  for (let i = 0; i < bits.length; i += 8)
    words.push(parseInt(bits.slice(i, i + 8).join("").padEnd(8, "0"), 2));
  for (let pad = 0xec; words.length < capacity(version, level); pad ^= 0xec ^ 0x11) words.push(pad);
  return words;
}

function multiply(a, b) {
  let product = 0;
  for (let i = 7; i >= 0; i--) product = product << 1 ^ (product >> 7) * 0x11d ^ (b >> i & 1) * a;
  return product;
}

function remainder(data, degree) {
  const divisor = Array(degree).fill(0);
  divisor[degree - 1] = 1;
  for (let i = 0, root = 1; i < degree; i++, root = multiply(root, 2))
    for (let j = 0; j < degree; j++) divisor[j] = multiply(divisor[j], root) ^ (divisor[j + 1] || 0);
  const rest = Array(degree).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.forEach((value, i) => { rest[i] ^= multiply(value, factor); });
  }
  return rest;
}

function interleave(words, version, level) {
  const count = BLOCKS[level][version - 1], blocks = [], out = [];
  for (let i = 0, at = 0; i < count; i++) {
    const block = words.slice(at, at += (words.length + i) / count | 0);
    blocks.push([block, remainder(block, LEVELS[level][version - 1])]);
  }
  for (const part of [0, 1])
    for (let i = 0; i < words.length; i++)
      for (const block of blocks) if (i < block[part].length) out.push(block[part][i]);
  return out;
}

/** `value` followed by its BCH remainder, as the format and version fields want it. */
function withCheck(value, generator, bits) {
  let rest = value;
  for (let i = 0; i < bits; i++) rest = rest << 1 ^ (rest >> bits - 1) * generator;
  return value << bits | rest;
}

function draw(words, version, level, mask) {
  const size = version * 4 + 17;
  const rows = Array.from({ length: size }, () => Array(size).fill(0));
  const fixed = Array.from({ length: size }, () => Array(size).fill(false));
  const set = (x, y, dark) => {
    if (x < 0 || y < 0 || x >= size || y >= size) return;
    rows[y][x] = dark ? 1 : 0;
    fixed[y][x] = true;
  };
  const rings = (cx, cy, radius) => {
    for (let y = -radius; y <= radius; y++)
      for (let x = -radius; x <= radius; x++) {
        const ring = Math.max(Math.abs(x), Math.abs(y));
        set(cx + x, cy + y, radius === 4 ? ring !== 2 && ring !== 4 : ring !== 1);
      }
  };
  for (let i = 0; i < size; i++) { set(6, i, i % 2 === 0); set(i, 6, i % 2 === 0); }
  [[3, 3], [size - 4, 3], [3, size - 4]].forEach(([x, y]) => rings(x, y, 4));
  const last = size - 7;
  const spots = version < 2 ? [] : version < 7 ? [6, last] : [6, (6 + last) / 2, last];
  for (const x of spots)
    for (const y of spots)
      if (!(x === 6 && y === 6 || x === 6 && y === last || x === last && y === 6)) rings(x, y, 2);
  const format = withCheck(level << 3 | mask, 0x537, 10) ^ 0x5412;
  for (let i = 0; i < 15; i++) {
    const bit = format >> i & 1;
    set(8, i < 6 ? i : i < 8 ? i + 1 : size - 15 + i, bit);
    set(i < 8 ? size - 1 - i : i < 9 ? 7 : 14 - i, 8, bit);
  }
  set(8, size - 8, 1);
  for (let i = 0, bits = withCheck(version, 0x1f25, 12); version > 6 && i < 18; i++) {
    const a = size - 11 + i % 3, b = i / 3 | 0;
    set(a, b, bits >> i & 1);
    set(b, a, bits >> i & 1);
  }
  fill(words, rows, fixed, MASKS[mask]);
  return rows;
}

/** The data bits in their zigzag from the lower right, two columns at a time. */
function fill(words, rows, fixed, masked) {
  const size = rows.length;
  let i = 0;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    const upward = (right + 1 & 2) === 0;
    for (let step = 0; step < size; step++)
      for (const x of [right, right - 1]) {
        const y = upward ? size - 1 - step : step;
        if (fixed[y][x]) continue;
        rows[y][x] = (words[i >> 3] || 0) >> 7 - (i & 7) & 1 ^ (masked(x, y) === 0 ? 1 : 0);
        i++;
      }
  }
}

function penalty(rows) {
  const size = rows.length;
  let cost = 0, dark = 0;
  const columns = rows.map((_, x) => rows.map((row) => row[x]));
  for (const line of [...rows, ...columns]) {
    const text = line.join("");
    for (const run of text.match(/0{5,}|1{5,}/g) || []) cost += run.length - 2;
    cost += 40 * (text.match(/(?=00001011101|10111010000)/g) || []).length;
  }
  rows.forEach((row, y) => row.forEach((cell, x) => {
    dark += cell;
    if (y && x && cell === row[x - 1] && cell === rows[y - 1][x] && cell === rows[y - 1][x - 1]) cost += 3;
  }));
  return cost + 10 * Math.floor(Math.abs(dark * 20 / size / size - 10));
}

/**
 * Looks for a number in bytes, however it is written: in groups, in other encodings, as an integer,
 * in the middle of base64. What is compressed or encrypted it can't see.
 */

const DIGITS = /^[0-9]+$/;
const fours = (text, separator) => text.match(/.{1,4}/g).join(separator);
const bytesOf = (text) => Buffer.from(text, "latin1");

/** Characters that follow each other with up to three others between them that are no letter or digit. */
function spaced(value) {
  const gap = "(?:[^0-9A-Za-z]{0,3}|%20|%2[Dd]|%C2%A0|&nbsp;|\\\\u00[aA]0|\\\\t|\\\\n)";
  return new RegExp([...value].join(gap), "i");
}

/** The characters of a base-64 or base-32 text that hold `bytes` whole, at each place it may begin. */
function aligned(bytes, bits, encode) {
  const unit = bits === 6 ? 3 : 5;
  return Array.from({ length: unit }, (_, before) => {
    const text = encode(Buffer.concat([Buffer.alloc(before), bytes]));
    const first = Math.ceil((before * 8) / bits);
    const last = Math.floor(((before + bytes.length) * 8) / bits);
    return bytesOf(text.slice(first, last));
  });
}

function base32(bytes) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, "0")).join("");
  return (bits.match(/.{1,5}/g) ?? [])
    .map((five) => alphabet[Number.parseInt(five.padEnd(5, "0"), 2)])
    .join("");
}

/** Whole bytes of a row of bits, at each of the eight places where it may begin in a byte. */
function shifted(bits) {
  return Array.from({ length: 8 }, (_, shift) => {
    const whole = bits.slice(shift).match(/.{8}/g) ?? [];
    return Buffer.from(whole.map((byte) => Number.parseInt(byte, 2)));
  });
}

/** HPACK's Huffman code of digits (RFC 7541, appendix B): 0 to 2 have five bits, 3 to 9 six. */
const huffman = (digit) =>
  digit < 3 ? digit.toString(2).padStart(5, "0") : (0x19 + digit - 3).toString(2).padStart(6, "0");

function integers(digits) {
  const value = BigInt(digits);
  const found = [];
  if (value < 1n << 64n) {
    for (const write of ["writeBigUInt64LE", "writeBigUInt64BE"]) {
      const bytes = Buffer.alloc(8);
      bytes[write](value);
      found.push(bytes);
    }
  }
  if (value < 1n << 53n) {
    for (const write of ["writeDoubleLE", "writeDoubleBE"]) {
      const bytes = Buffer.alloc(8);
      bytes[write](Number(value));
      found.push(bytes);
    }
  }
  const varint = [];
  for (let rest = value; rest > 0n; rest >>= 7n) {
    varint.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
  }
  found.push(Buffer.from(varint));
  // Leading and trailing zero bytes are everywhere.
  return found.map((bytes) => {
    const from = bytes.findIndex((byte) => byte !== 0);
    const to = bytes.findLastIndex((byte) => byte !== 0);
    return bytes.subarray(from, to + 1);
  });
}

/** Byte strings of which each is one way to write the value. */
function fixed(value) {
  const named = [];
  const add = (name, ...all) => {
    for (const bytes of all) named.push({ name, bytes });
  };
  const codes = Array.from(value, (character) => character.charCodeAt(0));
  for (const text of [value, fours(value, " "), fours(value, "-")]) {
    for (const encoding of ["latin1", "utf16le"]) {
      const bytes = Buffer.from(text, encoding);
      const hex = bytes.toString("hex");
      add("hex", bytesOf(hex), bytesOf(hex.toUpperCase()));
      add("base64", ...aligned(bytes, 6, (all) => all.toString("base64")));
      add("base64url", ...aligned(bytes, 6, (all) => all.toString("base64url")));
      add("base32", ...aligned(bytes, 5, base32));
    }
  }
  add("reversed", bytesOf([...value].reverse().join("")));
  const joined = (each, separator = "") => bytesOf(codes.map(each).join(separator));
  const hex = (code) => code.toString(16);
  add("percent", joined((code) => `%${hex(code)}`), joined((code) => `%${hex(code).toUpperCase()}`));
  add("entities", joined((code) => `&#${code};`), joined((code) => `&#x${hex(code)};`));
  add("escapes", joined((code) => `\\u00${hex(code)}`), joined((code) => `\\x${hex(code)}`));
  add("codes", joined(String, ","), joined(String, ", "), joined(String, " "));
  if (DIGITS.test(value)) {
    const digits = Array.from(value, Number);
    add("digits", Buffer.from(digits));
    const wide = (bytes) =>
      Buffer.concat(digits.map((digit) => Buffer.from([digit, ...Array(bytes - 1).fill(0)])));
    add("digits in 16, 32 and 64 bits", wide(2), wide(4), wide(8));
    add("packed", ...shifted(digits.map((d) => d.toString(2).padStart(4, "0")).join("")).slice(0, 5));
    add("Huffman", ...shifted(digits.map(huffman).join("")));
    add("integer", ...integers(value));
  }
  // Shorter than six bytes says nothing.
  return named.filter(({ bytes }) => bytes.length >= 6);
}

/** A search for `value`: gives the names of the ways in which it was found. */
function searchFor(value) {
  const pattern = spaced(value);
  const needles = fixed(value);
  return (bytes) => {
    const found = new Set();
    if (pattern.test(bytes.toString("latin1"))) found.add("text");
    for (const { name, bytes: needle } of needles) {
      if (!found.has(name) && bytes.indexOf(needle) >= 0) found.add(name);
    }
    return found;
  };
}

/** The longest way to write it: what two chunks of a memory must overlap. */
export const OVERLAP = 1_024;

/** Ways to write it that don't come from the search's own tables. */
function written(value) {
  const texts = [
    value,
    ...[" ", "-", ".", "\u00a0", "%20", "&nbsp;"].map((separator) => fours(value, separator)),
    [...value].join(" "),
    new URLSearchParams({ a: fours(value, " ") }).toString(),
    JSON.stringify([...value]),
    JSON.stringify(Buffer.from(value)),
    value.toLowerCase(),
    ...["", "x", "xy"].map((before) => Buffer.from(before + value).toString("base64")),
    Buffer.from(JSON.stringify({ number: value })).toString("base64url"),
    Buffer.from(fours(value, " "), "utf16le").toString("base64"),
    Buffer.from(value).toString("hex"),
    [...value].reverse().join(""),
  ];
  const all = texts.map((text) => Buffer.from(text));
  all.push(Buffer.from(value, "utf16le"), Buffer.from(fours(value, " "), "utf16le").swap16());
  if (DIGITS.test(value)) {
    const integer = Buffer.alloc(8);
    integer.writeBigUInt64BE(BigInt(value));
    all.push(
      Buffer.from(JSON.stringify(Array.from(value, Number))),
      integer,
      Buffer.from(Float64Array.of(Number(value)).buffer),
      Buffer.from(value.padStart(20, "0"), "hex"),
      Buffer.from(Array.from(value, Number)),
    );
  }
  return all;
}

/** A search that was seen to find the value in each way that it is written, and nothing in noise. */
export function provenSearchFor(value) {
  const search = searchFor(value);
  const noise = Buffer.from(Array.from({ length: 4_096 }, (_, at) => (at * 167 + (at >> 3)) & 255));
  if (search(noise).size > 0) throw new Error("the search finds what isn't there");
  for (const [at, bytes] of written(value).entries()) {
    if (search(Buffer.concat([noise, bytes, noise])).size === 0) {
      throw new Error(`the search misses the number in its writing ${at}`);
    }
  }
  return search;
}

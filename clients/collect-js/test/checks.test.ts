/** The checks agree with the vault's own vectors (tests/vectors/payment). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import {
  brandOf,
  checkCardNumber,
  checkExpiry,
  checkIban,
  checkSecurityCode,
  luhn,
} from "../src/index.js";
import { NOON } from "./vault.js";

/** Rows of name, text and what is expected. */
function rows(name: string): [string, string, string][] {
  const url = new URL(`../../../../tests/vectors/payment/${name}`, import.meta.url);
  return readFileSync(url, "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [row = "", text = "", expected = ""] = line.split("\t");
      return [row, text, expected];
    });
}

const problem = (checked: { ok: boolean; problem?: string }) => (checked.ok ? undefined : checked.problem);

test("Luhn as the vault has it", () => {
  for (const [name, digits] of rows("luhn.tsv")) {
    if (/^[0-9]*$/.test(digits)) assert.equal(luhn(digits), name.startsWith("ok_"), name);
  }
});

test("card numbers and brands as the vault has them", () => {
  for (const [name, text, expected] of rows("card_number.tsv")) {
    const checked = checkCardNumber(text);
    if (checked.ok) {
      const known = brandOf(checked.value);
      const brand = known?.lengths.includes(checked.value.length) ? known.brand : "-";
      assert.deepEqual([name.startsWith("ok_"), brand], [true, expected], name);
    } else {
      // Shorter than its brand's numbers are: the vault takes it, brands being advice there.
      const short = checked.problem === "incomplete" && text.replaceAll(/[ -]/g, "").length >= 12;
      assert.ok(name.startsWith("fail_") || short, `${name}: ${checked.problem}`);
    }
  }
});

test("IBANs as the vault has them, but for the account number's structure", () => {
  for (const [name, text, expected] of rows("iban.tsv")) {
    const checked = checkIban(text);
    if (expected === "structure") continue;
    assert.equal(checked.ok, name.startsWith("ok_"), `${name}: ${problem(checked)}`);
  }
});

test("every digit of an IBAN that is another digit is noticed, and every letter that is another letter", () => {
  const iban = "GB29NWBK60161331926819";
  for (let at = 0; at < iban.length; at++) {
    for (const character of /[0-9]/.test(iban.charAt(at)) ? "0123456789" : "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
      const bent = iban.slice(0, at) + character + iban.slice(at + 1);
      if (bent !== iban) assert.equal(checkIban(bent).ok, false, bent);
    }
  }
});

test("while it is typed a number is incomplete, not wrong", () => {
  for (const [text, expected] of [
    ["", "missing"],
    ["4", "incomplete"],
    ["4242 4242", "incomplete"],
    ["3782 822463 1000", "incomplete"],
    ["4242 4242 4242 4241", "check_digit"],
    ["4242 4242 4242 424x", "characters"],
    ["4242  4242", "characters"],
    ["4".repeat(20), "too_long"],
    ["4".repeat(49), "too_long"],
  ] as const) {
    assert.equal(problem(checkCardNumber(text)), expected, text);
  }
  for (const [text, expected] of [
    ["", "missing"],
    ["N", "incomplete"],
    ["NL91 ABNA", "incomplete"],
    ["XX91", "country"],
    ["4D24", "country"],
    ["NL91 ABNA 0417 1643 0", "incomplete"],
    ["NL91 ABNA 0417 1643 000", "too_long"],
    ["NL92 ABNA 0417 1643 00", "check_digit"],
    ["NL91_ABNA", "characters"],
  ] as const) {
    assert.equal(problem(checkIban(text)), expected, text);
  }
});

test("a month is good until its end, at most 20 years ahead", () => {
  for (const [text, month, year] of [
    ["11/26", 11, 2026],
    ["11 / 35", 11, 2035],
    ["1135", 11, 2035],
    ["1/27", 1, 2027],
    ["12/2046", 12, 2046],
    ["12-46", 12, 2046],
  ] as const) {
    assert.deepEqual(checkExpiry(text, NOON), { ok: true, value: { month, year } }, text);
  }
  for (const [text, expected] of [
    ["", "missing"],
    ["1", "incomplete"],
    ["11/", "incomplete"],
    ["11/2", "incomplete"],
    ["11/203", "incomplete"],
    ["13/30", "month"],
    ["00/30", "month"],
    ["0/30", "month"],
    ["10/26", "expired"],
    ["12/25", "expired"],
    ["01/47", "too_far"],
    ["ab", "characters"],
  ] as const) {
    assert.equal(problem(checkExpiry(text, NOON)), expected, text);
  }
});

test("a security code has its brand's length", () => {
  assert.ok(checkSecurityCode("123").ok && checkSecurityCode("1234").ok);
  assert.ok(checkSecurityCode("123", "visa").ok && checkSecurityCode("1234", "amex").ok);
  assert.equal(problem(checkSecurityCode("1234", "visa")), "too_long");
  assert.equal(problem(checkSecurityCode("123", "amex")), "incomplete");
  assert.equal(problem(checkSecurityCode("12a")), "characters");
  assert.equal(problem(checkSecurityCode("")), "missing");
});

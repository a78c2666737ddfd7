/**
 * Checks of what somebody types, so that a slip is told at once. They decide nothing: the vault
 * checks everything again, by more rules. The rules are those of src/payment/ in the vault.
 */

/** What is wrong with a field. */
export type Problem =
  | "missing"
  /** Good so far: more must follow. */
  | "incomplete"
  | "too_long"
  /** Something else than digits (or letters and digits), or separators where none belong. */
  | "characters"
  /** A digit is wrong (Luhn), or a character (mod 97). */
  | "check_digit"
  | "expired"
  /** More than 20 years ahead. */
  | "too_far"
  /** No month. */
  | "month"
  /** A country without IBANs. */
  | "country";

/** The value as the vault will read it, or what is wrong. */
export type Checked<T> = { ok: true; value: T } | { ok: false; problem: Problem };

const bad = (problem: Problem) => ({ ok: false, problem }) as const;

const NUMBER_CHARS_MAX = 48;
const CARD_DIGITS_MIN = 12;
const CARD_DIGITS_MAX = 19;
const YEARS_AHEAD_MAX = 20;

/** Takes single spaces and hyphens out from between characters, as the vault does. */
function ungroup(text: string, shape: RegExp): Checked<string> {
  if (text === "") return bad("missing");
  if (text.length > NUMBER_CHARS_MAX) return bad("too_long");
  if (!shape.test(text)) return bad("characters");
  return { ok: true, value: text.replaceAll(/[ -]/g, "").toUpperCase() };
}

const DIGITS = /^[0-9](?:[ -]?[0-9])*$/;
const LETTERS_AND_DIGITS = /^[0-9A-Za-z](?:[ -]?[0-9A-Za-z])*$/;

/** Luhn (ISO/IEC 7812-1, annex B) over ASCII digits. */
export function luhn(digits: string): boolean {
  let sum = 0;
  for (let at = 0; at < digits.length; at++) {
    const digit = digits.charCodeAt(digits.length - 1 - at) - 48;
    sum += at % 2 === 0 ? digit : digit < 5 ? digit * 2 : digit * 2 - 9;
  }
  return digits !== "" && sum % 10 === 0;
}

/** A card number, maybe in groups: 12 to 19 digits that pass Luhn. */
export function checkCardNumber(text: string): Checked<string> {
  const number = ungroup(text, DIGITS);
  if (!number.ok) return number;
  const { length } = number.value;
  if (length > CARD_DIGITS_MAX) return bad("too_long");
  const lengths = brandOf(number.value)?.lengths;
  // Of a known brand the shortest length counts, of another one the shortest there is.
  if (length < (lengths?.[0] ?? CARD_DIGITS_MIN)) return bad("incomplete");
  return luhn(number.value) ? number : bad("check_digit");
}

export type Brand =
  | "amex"
  | "diners"
  | "discover"
  | "jcb"
  | "maestro"
  | "mastercard"
  | "unionpay"
  | "visa";

const MAESTRO = [12, 13, 14, 15, 16, 17, 18, 19];
const UNIONPAY = [14, 15, 16, 17, 18, 19];

/** First four digits from, to; lengths; brand. The vault's own table (src/payment/pan.rs). */
const RANGES: readonly (readonly [number, number, readonly number[], Brand])[] = [
  [1800, 1800, [15, 16, 17, 18, 19], "jcb"],
  [2131, 2131, [15, 16, 17, 18, 19], "jcb"],
  [2221, 2720, [16], "mastercard"],
  [3000, 3059, [14, 16, 19], "diners"],
  [3400, 3499, [15], "amex"],
  [3528, 3589, [16, 17, 18, 19], "jcb"],
  [3600, 3699, [14, 16, 19], "diners"],
  [3700, 3799, [15], "amex"],
  [3800, 3999, [14, 16, 19], "diners"],
  [4000, 4999, [13, 16, 18, 19], "visa"],
  [5018, 5018, MAESTRO, "maestro"],
  [5020, 5020, MAESTRO, "maestro"],
  [5038, 5038, MAESTRO, "maestro"],
  [5100, 5599, [16], "mastercard"],
  [5893, 5893, MAESTRO, "maestro"],
  [6011, 6011, [16, 19], "discover"],
  [6200, 6299, UNIONPAY, "unionpay"],
  [6304, 6304, MAESTRO, "maestro"],
  [6440, 6599, [16, 19], "discover"],
  [6700, 6799, MAESTRO, "maestro"],
  [8100, 8199, UNIONPAY, "unionpay"],
];

/**
 * The brand that the digits typed so far (four at least) suggest, and the lengths that its numbers
 * have, the shortest first. Advice: ranges are sold and split, so it refuses nothing.
 */
export function brandOf(digits: string): { brand: Brand; lengths: readonly number[] } | undefined {
  const first = /^[0-9]{4}/.exec(digits);
  if (first === null) return undefined;
  const range = RANGES.find(([from, to]) => from <= Number(first[0]) && Number(first[0]) <= to);
  return range && { brand: range[3], lengths: range[2] };
}

/** Month and year of four digits, from "MM/YY", "MM / YY", "MMYY" or "MM/YYYY". */
export function checkExpiry(text: string, now: Date): Checked<{ month: number; year: number }> {
  if (text === "") return bad("missing");
  const [, months, years] = /^([0-9]{1,2}) ?[/-]? ?([0-9]{0,4})$/.exec(text) ?? [];
  if (months === undefined || years === undefined) return bad("characters");
  const month = Number(months);
  if (months.length === 2 && (month < 1 || month > 12)) return bad("month");
  if (years.length !== 2 && years.length !== 4) return bad("incomplete");
  if (month < 1) return bad("month");
  const thisYear = now.getUTCFullYear();
  const year = years.length === 4 ? Number(years) : thisYear - (thisYear % 100) + Number(years);
  if (year < thisYear || (year === thisYear && month < now.getUTCMonth() + 1)) return bad("expired");
  if (year > thisYear + YEARS_AHEAD_MAX) return bad("too_far");
  return { ok: true, value: { month, year } };
}

/** A security code: 4 digits of an American Express, 3 of others, 3 or 4 when the brand isn't known. */
export function checkSecurityCode(text: string, brand?: Brand): Checked<string> {
  if (text === "") return bad("missing");
  if (!/^[0-9]*$/.test(text)) return bad("characters");
  const least = brand === "amex" ? 4 : 3;
  const most = brand === undefined || brand === "amex" ? 4 : 3;
  if (text.length < least) return bad("incomplete");
  return text.length > most ? bad("too_long") : { ok: true, value: text };
}

/** Lengths by country: SWIFT IBAN registry, release 102 of June 2026. */
const IBAN_LENGTHS =
  "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18" +
  "FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20" +
  "LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24" +
  "SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

/** An IBAN, maybe in groups: its country's length, and its check digits (ISO 7064 mod 97-10). */
export function checkIban(text: string): Checked<string> {
  const read = ungroup(text, LETTERS_AND_DIGITS);
  if (!read.ok) return read;
  const iban = read.value;
  if (iban.length < 2) return bad("incomplete");
  const at = IBAN_LENGTHS.indexOf(iban.slice(0, 2));
  if (!/^[A-Z]{2}/.test(iban) || at < 0) return bad("country");
  const length = Number(IBAN_LENGTHS.slice(at + 2, at + 4));
  if (iban.length < length) return bad("incomplete");
  if (iban.length > length) return bad("too_long");
  const digits = iban.slice(2, 4);
  // 00, 01 and 99 are never computed, though mod 97 can't tell them from 97, 98 and 02.
  if (!/^[0-9]{2}$/.test(digits) || Number(digits) < 2 || Number(digits) > 98) {
    return bad("check_digit");
  }
  let remainder = 0;
  for (const character of iban.slice(4) + iban.slice(0, 4)) {
    const value = Number.parseInt(character, 36);
    remainder = (remainder * (value < 10 ? 10 : 100) + value) % 97;
  }
  return remainder === 1 ? { ok: true, value: iban } : bad("check_digit");
}

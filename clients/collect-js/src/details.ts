/**
 * Payment details as they are sealed (docs/format.md, 10.3): an object with one member of the kind's
 * name. What is optional may be left out.
 */
import { type Bytes, utf8 } from "./encoding.js";
import { CollectError } from "./error.js";

export interface Card {
  number: string;
  expiry_month: number;
  /** Four digits. */
  expiry_year: number;
  holder?: string;
  security_code?: string;
  billing?: { postal_code?: string; address_line?: string };
}

export interface IbanAccount {
  iban: string;
  holder: string;
  bic?: string;
}

export interface UsAccount {
  routing_number: string;
  account_number: string;
  holder: string;
  account_type: "checking" | "savings";
}

export interface UkAccount {
  sort_code: string;
  account_number: string;
  holder: string;
}

export interface SeAccount {
  clearing_number: string;
  account_number: string;
  holder: string;
}

export interface Giro {
  number: string;
  holder: string;
}

export interface DkAccount {
  reg_number: string;
  account_number: string;
  holder: string;
}

export type Details =
  | { card: Card }
  | { iban: IbanAccount }
  | { us_account: UsAccount }
  | { uk_account: UkAccount }
  | { se_account: SeAccount }
  | { bankgiro: Giro }
  | { plusgiro: Giro }
  | { dk_account: DkAccount };

/** "text" and "number" as in JSON; a nested table is an object. */
type Members = { readonly [member: string]: "text" | "number" | Members };

const account = { account_number: "text", holder: "text" } as const;
const giro = { number: "text", holder: "text" } as const;
const KINDS: { readonly [kind: string]: Members } = {
  card: {
    number: "text",
    expiry_month: "number",
    expiry_year: "number",
    holder: "text",
    security_code: "text",
    billing: { postal_code: "text", address_line: "text" },
  },
  iban: { iban: "text", holder: "text", bic: "text" },
  us_account: { routing_number: "text", account_type: "text", ...account },
  uk_account: { sort_code: "text", ...account },
  se_account: { clearing_number: "text", ...account },
  bankgiro: giro,
  plusgiro: giro,
  dk_account: { reg_number: "text", ...account },
};

const STEP_BYTES = 512;
const PLAINTEXT_BYTES_MAX = 2_048;
const END = 0x80;

/**
 * The plaintext: JSON, 0x80, zeros up to the next multiple of 512, so that its length says nothing.
 * The caller wipes it.
 */
export function plaintext(details: Details): Bytes {
  const kinds = Object.entries(details);
  const [kind, value] = kinds[0] ?? [];
  const members = kind !== undefined && Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (kinds.length !== 1 || kind === undefined || members === undefined) throw malformed();

  const json = utf8(JSON.stringify({ [kind]: taken(value, members) }));
  const bytes = Math.ceil((json.length + 1) / STEP_BYTES) * STEP_BYTES;
  if (bytes > PLAINTEXT_BYTES_MAX) {
    json.fill(0);
    throw new CollectError("oversize_details", "the details have more than 2,047 bytes");
  }
  const padded = new Uint8Array(bytes);
  padded.set(json);
  padded[json.length] = END;
  json.fill(0);
  return padded;
}

/** The members that are there. The vault refuses what it doesn't know, so it is told here already. */
function taken(value: unknown, members: Members): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed();
  const out: Record<string, unknown> = {};
  for (const [member, given] of Object.entries(value)) {
    const type = Object.hasOwn(members, member) ? members[member] : undefined;
    if (given === undefined && type !== undefined) continue;
    if (typeof type === "object") {
      out[member] = taken(given, type);
    } else if (
      (type === "text" && typeof given === "string" && given.isWellFormed()) ||
      (type === "number" && Number.isSafeInteger(given))
    ) {
      out[member] = given;
    } else {
      throw malformed();
    }
  }
  return out;
}

const malformed = () =>
  new CollectError("malformed_details", "the details aren't one of the kinds, with its members only");

/** Collect documents: docs/format.md, 10.2. */
import { type Bytes, fromBase64, utf8 } from "./encoding.js";
import { CollectError } from "./error.js";
import { openNote, parseVerifierKey } from "./note.js";

const DOCUMENT_BYTES_MAX = 4_096;
/** How far behind the vault's a clock may be that takes a document on its first day. */
const CLOCK_SLACK_MS = 3_600_000;
const TYPE = "payvault collect key";
const VERSION = 1;
/** One letter a nibble; identifiers hold no digits. */
const LETTERS = "[bcdfghjkmnpqrstv]{32}";
const IDENTITY = new RegExp(`^payvault/(vlt_${LETTERS})/identity$`);
const KEY = new RegExp(`^${LETTERS}$`);
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

/** A key pair of the document that details can be sealed to. */
export interface OfferedSuite {
  readonly suite: string;
  readonly kem: number;
  readonly kdf: number;
  readonly aead: number;
  readonly publicKey: Bytes;
}

/** What a vault published about its collect key. Only `verifyDocument` makes one. */
export interface CollectDocument {
  /** "vlt_…". */
  readonly vault: string;
  /** The key's id. */
  readonly key: string;
  readonly notBefore: Date;
  /** From then on the vault opens nothing that was sealed to the key. */
  readonly notAfter: Date;
  readonly suites: readonly OfferedSuite[];
}

/** What was signed, as `seal` uses it. */
export interface Signed {
  readonly vault: string;
  readonly key: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly suites: readonly OfferedSuite[];
}

/** Apart from the documents, whose dates and bytes whoever holds one can change. */
const verified = new WeakMap<CollectDocument, Signed>();

/** What the vault signed of a document; only one from `verifyDocument` has it. */
export function signedOf(document: CollectDocument): Signed {
  const signed = verified.get(document);
  if (signed === undefined) {
    throw new CollectError("unverified_document", "the document must come from verifyDocument");
  }
  return signed;
}

/**
 * Verifies a collect document against the vault's identity key, which must come from elsewhere: in
 * the page's own script, and never beside the document. Two keys of one vault may be given, for the
 * weeks in which a key follows the other.
 *
 * A clock that is up to an hour behind the vault's takes today's all the same: else it would refuse
 * every checkout after midnight.
 *
 * @throws CollectError for everything that isn't this vault's document in its time.
 */
export async function verifyDocument(
  note: string,
  verifierKey: string | readonly string[],
  now: Date,
): Promise<CollectDocument> {
  const keys = await Promise.all([verifierKey].flat().map(parseVerifierKey));
  const name = keys[0]?.name ?? "";
  const vault = IDENTITY.exec(name)?.[1];
  if (vault === undefined || keys.some((key) => key.name !== name)) {
    throw new CollectError("malformed_verifier_key", "the verifier keys are not of a vault's identity");
  }
  if (note.length > DOCUMENT_BYTES_MAX || utf8(note).length > DOCUMENT_BYTES_MAX) {
    throw new CollectError("oversize_document", "the document has more than 4,096 bytes");
  }
  const body = parse(await openNote(note, keys));
  if (body.type !== TYPE) throw new CollectError("another_type", "not a collect document");
  if (body.v !== VERSION) {
    throw new CollectError("another_version", "a collect document of an unknown version");
  }
  if (body.vault !== vault) throw new CollectError("another_vault", "another vault's document");
  const signed: Signed = {
    vault,
    key: matched(body.key, KEY),
    notBeforeMs: time(body.not_before),
    notAfterMs: time(body.not_after),
    suites: suites(body.suites),
  };
  requireTime(signed, now);
  const document = Object.freeze({
    vault,
    key: signed.key,
    notBefore: new Date(signed.notBeforeMs),
    notAfter: new Date(signed.notAfterMs),
    suites: Object.freeze(
      signed.suites.map((one) => Object.freeze({ ...one, publicKey: one.publicKey.slice() })),
    ),
  });
  verified.set(document, signed);
  return document;
}

/** @throws CollectError when the key's time is over, or hasn't begun. */
export function requireTime({ notBeforeMs, notAfterMs }: Signed, now: Date): void {
  // Not the other way round: an invalid date is refused too.
  if (!(now.getTime() < notAfterMs)) {
    throw new CollectError("expired", "the collect key's time is over: fetch its document anew");
  }
  if (now.getTime() + CLOCK_SLACK_MS < notBeforeMs) {
    throw new CollectError("not_begun", "the collect key's time hasn't begun: is the clock right?");
  }
}

const malformed = () =>
  new CollectError("malformed_document", "the document's text isn't a collect document's");

function parse(text: string): Record<string, unknown> {
  // One line and its newline.
  if (text.indexOf("\n") !== text.length - 1) throw malformed();
  try {
    return object(JSON.parse(text));
  } catch {
    throw malformed();
  }
}

function object(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed();
  return value as Record<string, unknown>;
}

function matched(value: unknown, shape: RegExp): string {
  if (typeof value !== "string" || !shape.test(value)) throw malformed();
  return value;
}

function time(value: unknown): number {
  const ms = Date.parse(matched(value, TIME));
  if (Number.isNaN(ms)) throw malformed();
  return ms;
}

/** What of it a suite can be. Entries of another shape are a later version's, and passed over. */
function suites(value: unknown): readonly OfferedSuite[] {
  if (!Array.isArray(value)) throw malformed();
  return value.flatMap((entry: unknown) => {
    const { suite, kem, kdf, aead, public: base64 } = (entry ?? {}) as Record<string, unknown>;
    const publicKey = typeof base64 === "string" ? fromBase64(base64) : undefined;
    return typeof suite === "string" &&
      typeof kem === "number" &&
      typeof kdf === "number" &&
      typeof aead === "number" &&
      publicKey !== undefined
      ? [{ suite, kem, kdf, aead, publicKey }]
      : [];
  });
}

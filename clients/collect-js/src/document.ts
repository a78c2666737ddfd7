/** Collect documents: docs/format.md, 10.2. */
import { type Bytes, fromBase64, utf8 } from "./encoding.js";
import { CollectError } from "./error.js";
import { openNote, parseVerifierKey } from "./note.js";

const DOCUMENT_BYTES_MAX = 4_096;
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

const verified = new WeakSet<CollectDocument>();

/** Whether the document came from `verifyDocument`: its shape alone proves nothing. */
export function isVerified(document: CollectDocument): boolean {
  return verified.has(document);
}

/**
 * Verifies a collect document against the vault's identity key, which must come from elsewhere: in
 * the page's own script, and never beside the document. Two keys of one vault may be given, for the
 * weeks in which a key follows the other.
 *
 * A document that is before its time is taken: its begin says when it is handed out, and a clock that
 * runs behind would refuse every checkout after midnight.
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
  const document = Object.freeze({
    vault,
    key: matched(body.key, KEY),
    notBefore: time(body.not_before),
    notAfter: time(body.not_after),
    suites: suites(body.suites),
  });
  refuseExpired(document, now);
  verified.add(document);
  return document;
}

/** @throws CollectError when the key's time is over. */
export function refuseExpired(document: CollectDocument, now: Date): void {
  // Not the other way round: an invalid date is refused too.
  if (!(now.getTime() < document.notAfter.getTime())) {
    throw new CollectError("expired", "the collect key's time is over: fetch its document anew");
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

function time(value: unknown): Date {
  const date = new Date(matched(value, TIME));
  if (Number.isNaN(date.getTime())) throw malformed();
  return date;
}

function suites(value: unknown): readonly OfferedSuite[] {
  if (!Array.isArray(value)) throw malformed();
  return Object.freeze(
    value.map((entry) => {
      const { suite, kem, kdf, aead, public: base64 } = object(entry);
      const publicKey = typeof base64 === "string" ? fromBase64(base64) : undefined;
      if (
        typeof suite !== "string" ||
        typeof kem !== "number" ||
        typeof kdf !== "number" ||
        typeof aead !== "number" ||
        publicKey === undefined
      ) {
        throw malformed();
      }
      return Object.freeze({ suite, kem, kdf, aead, publicKey });
    }),
  );
}

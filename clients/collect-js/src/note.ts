/**
 * Signed notes (C2SP signed-note) with Ed25519: docs/format.md, 7.2. Keys are pinned: one that comes
 * beside a note proves nothing about it.
 */
import { type Bytes, concat, equal, fromBase64, toHex, utf8 } from "./encoding.js";
import { CollectError } from "./error.js";

const ED25519 = 1;
const KEY_ID_BYTES = 4;
const PUBLIC_KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** Signatures of a note that is read, as the vault reads one. */
const SIGNATURES_MAX = 32;
const CONTROL = /[\0-\x09\x0b-\x1f]/;
/** A key's name, a space and base64. */
const LINE = /^— ([^+\p{White_Space}\p{Cc}]+) ([A-Za-z0-9+/=]+)$/u;

/** A verifier key: `<name>+<hex key id>+<base64(0x01 ‖ public key)>`. */
export interface VerifierKey {
  readonly name: string;
  readonly id: Bytes;
  readonly publicKey: Bytes;
}

/** Reads a verifier key, and checks that its id is its own. */
export async function parseVerifierKey(text: string): Promise<VerifierKey> {
  const refuse = () => new CollectError("malformed_verifier_key", "the verifier key is none");
  // The last part is base64, which may hold a plus.
  const [, name, id, base64] = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text) ?? [];
  const key = base64 === undefined ? undefined : fromBase64(base64);
  if (name === undefined || key?.length !== 1 + PUBLIC_KEY_BYTES || key[0] !== ED25519) {
    throw refuse();
  }
  const digest = await subtle().digest("SHA-256", concat(utf8(`${name}\n`), key));
  const own = new Uint8Array(digest).slice(0, KEY_ID_BYTES);
  if (toHex(own) !== id) throw refuse();
  return { name, id: own, publicKey: key.slice(1) };
}

/**
 * The note's text, its last newline included, once one of the keys signed it, and no signature that
 * names one of them is false.
 */
export async function openNote(note: string, keys: readonly VerifierKey[]): Promise<string> {
  const malformed = () => new CollectError("malformed_document", "the document is no signed note");
  if (CONTROL.test(note) || !note.isWellFormed()) throw malformed();
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n") || note.endsWith("\n\n")) throw malformed();
  const text = note.slice(0, end + 1);
  const lines = note.slice(end + 2, -1).split("\n", SIGNATURES_MAX + 1);
  if (lines.length > SIGNATURES_MAX) throw malformed();

  let signed = false;
  for (const line of lines) {
    const [, name, base64] = LINE.exec(line) ?? [];
    const signature = base64 === undefined ? undefined : fromBase64(base64);
    if (name === undefined || signature === undefined || signature.length <= KEY_ID_BYTES) {
      throw malformed();
    }
    const id = signature.slice(0, KEY_ID_BYTES);
    const named = keys.filter((one) => one.name === name && equal(one.id, id));
    // Signatures by other keys say nothing here.
    if (named.length === 0) continue;
    // A name and an id that two keys share are told apart by the signature itself.
    const bytes = signature.slice(KEY_ID_BYTES);
    const by = await Promise.all(named.map((key) => verifies(key, utf8(text), bytes)));
    if (!by.includes(true)) {
      throw new CollectError("not_signed", "the document's signature isn't the vault's");
    }
    signed = true;
  }
  if (!signed) throw new CollectError("not_signed", "no pinned key signed the document");
  return text;
}

async function verifies(key: VerifierKey, text: Bytes, signature: Bytes): Promise<boolean> {
  if (signature.length !== SIGNATURE_BYTES) return false;
  let imported: CryptoKey;
  try {
    imported = await subtle().importKey("raw", key.publicKey, "Ed25519", false, ["verify"]);
  } catch {
    throw new CollectError("unsupported", "no Ed25519 here (WebCrypto)");
  }
  return subtle().verify("Ed25519", imported, signature, text);
}

function subtle(): SubtleCrypto {
  const found: SubtleCrypto | undefined = globalThis.crypto?.subtle;
  if (found === undefined) {
    throw new CollectError("unsupported", "no WebCrypto here: the page must come over HTTPS");
  }
  return found;
}

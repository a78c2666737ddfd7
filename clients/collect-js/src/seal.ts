/** Sealed details: docs/format.md, 10.3. */
import { type CollectDocument, type OfferedSuite, requireTime, type Signed, signedOf } from "./document.js";
import { type Details, plaintext } from "./details.js";
import { toBase64Url, utf8 } from "./encoding.js";
import { CollectError } from "./error.js";
import { type Suite, x25519 } from "./suite.js";

const SITE = /^[a-z][a-z0-9-]{0,15}$/;
const TRANSACTION = /^txn_[bcdfghjkmnpqrstv]{32}$/;

/** What the details are sealed for. They open for nothing else. */
export interface Context {
  /** The site's name, such as "nl". */
  readonly site: string;
  /** "txn_…". */
  readonly transaction: string;
}

export interface SealOptions {
  /** Those that may be used, the best first. `x25519` when left out. */
  readonly suites?: readonly Suite[];
  /** For tests. */
  readonly now?: Date;
}

/**
 * Seals details for one transaction; gives "pvc1.…", at most 8,192 characters, fit for a form field
 * or a JSON string. It can be opened once, by the document's vault only.
 *
 * The bytes that were sealed are wiped. Strings are not: JavaScript can't.
 *
 * @throws CollectError when the document's time is over or hasn't begun, it offers none of the suites, or the details
 * aren't of a known kind or too long. Whether a number is right is the vault's to say, and before that
 * of `checkCardNumber`, `checkIban` and the others.
 */
export async function seal(
  document: CollectDocument,
  { site, transaction }: Context,
  details: Details,
  { suites = [x25519], now = new Date() }: SealOptions = {},
): Promise<string> {
  const signed = signedOf(document);
  requireTime(signed, now);
  if (!SITE.test(site) || !TRANSACTION.test(transaction)) {
    throw new CollectError("malformed_context", "site or transaction hasn't the shape of one");
  }
  const [suite, offered] = choose(signed, suites);
  const hpke = suite.hpke();

  const aad = `pvc1.${suite.name}.${signed.key}.${site}`;
  const info = ["payvault collect v1", signed.vault, site, transaction, signed.key, suite.name];
  const padded = plaintext(details);
  try {
    const { enc, ct } = await hpke.seal(
      {
        recipientPublicKey: await hpke.kem.deserializePublicKey(offered.publicKey.slice()),
        info: utf8(info.map((line) => `${line}\n`).join("")),
      },
      padded,
      utf8(aad),
    );
    return `${aad}.${toBase64Url(new Uint8Array(enc))}.${toBase64Url(new Uint8Array(ct))}`;
  } catch {
    // The library's errors say no more, and what they hold isn't ours to hand on.
    throw new CollectError("unsupported", `no ${suite.name} here, or its public key is none`);
  } finally {
    padded.fill(0);
  }
}

/** The first of the caller's suites that the document has, with exactly its algorithms. */
function choose(signed: Signed, suites: readonly Suite[]): [Suite, OfferedSuite] {
  for (const suite of suites) {
    const { kem, kdf, aead } = suite.hpke();
    const offered = signed.suites.find(
      (other) =>
        other.suite === suite.name &&
        other.kem === kem.id &&
        other.kdf === kdf.id &&
        other.aead === aead.id &&
        other.publicKey.length === suite.publicKeyBytes,
    );
    if (offered !== undefined) return [suite, offered];
  }
  throw new CollectError("unknown_suite", "the document offers none of the suites");
}

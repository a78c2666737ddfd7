/** Why nothing was sealed. Texts are for developers; none holds a value that somebody typed. */
export type CollectErrorCode =
  /** The verifier key is no key of a vault's identity. */
  | "malformed_verifier_key"
  /** The document has more than 4,096 bytes. */
  | "oversize_document"
  /** The document is no signed note, or its text isn't what a collect document has. */
  | "malformed_document"
  /** The pinned key didn't sign the document. */
  | "not_signed"
  /** Signed by the pinned key, and not a collect document. */
  | "another_type"
  /** A version that this package doesn't know. */
  | "another_version"
  /** Another vault's document. */
  | "another_vault"
  /** The key's time is over: fetch the document anew. */
  | "expired"
  /** The key's time begins in more than an hour: the clock is wrong, the vault's or this one. */
  | "not_begun"
  /** The document offers none of the suites that the caller takes. */
  | "unknown_suite"
  /** Site or transaction hasn't the shape of one. */
  | "malformed_context"
  /** The details aren't one of the kinds, or hold a member that the kind hasn't. */
  | "malformed_details"
  /** The details have more than 2,047 bytes. */
  | "oversize_details"
  /** The document didn't come from `verifyDocument`. */
  | "unverified_document"
  /** The browser lacks Ed25519, X25519 or AES-GCM, or the page isn't in a secure context. */
  | "unsupported";

/** What the functions of this package throw. */
export class CollectError extends Error {
  override readonly name = "CollectError";
  readonly code: CollectErrorCode;

  constructor(code: CollectErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

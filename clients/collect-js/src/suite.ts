/** The suites of docs/format.md, 10.1. X-Wing is in `hybrid.ts`, so that nobody bundles it unasked. */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";

/** An HPKE suite by the name that the format gives it. */
export interface Suite {
  readonly name: string;
  readonly publicKeyBytes: number;
  /** A fresh one each time: the library's objects keep state. */
  hpke(): CipherSuite;
}

/** X25519, HKDF-SHA256, AES-256-GCM, each by WebCrypto. */
export const x25519: Suite = {
  name: "x25519",
  publicKeyBytes: 32,
  hpke: () =>
    new CipherSuite({
      kem: new DhkemX25519HkdfSha256(),
      kdf: new HkdfSha256(),
      aead: new Aes256Gcm(),
    }),
};

/**
 * X-Wing: X25519 and ML-KEM-768 in one, for details that must stay sealed when X25519 no longer
 * holds. ML-KEM and X25519 are JavaScript here, no WebCrypto has them in this form.
 */
import { Aes256Gcm, CipherSuite, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";
import type { Suite } from "./suite.js";

/** X-Wing, HKDF-SHA256, AES-256-GCM. */
export const xWing: Suite = {
  name: "x-wing",
  publicKeyBytes: 1_216,
  hpke: () =>
    new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() }),
};

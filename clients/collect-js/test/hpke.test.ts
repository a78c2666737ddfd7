/** The suites against published vectors; sources and licences are in vectors/README.md. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { XWing } from "@hpke/hybridkem-x-wing";
import { type Bytes, toHex } from "../src/encoding.js";
import { xWing } from "../src/hybrid.js";
import { x25519 } from "../src/suite.js";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../test/vectors/${name}`, import.meta.url), "utf8"));
const bytes = (hex: string): Bytes => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (buffer: ArrayBuffer) => toHex(new Uint8Array(buffer));

test("RFC 9180, X25519 with HKDF-SHA256 and AES-256-GCM: sealing gives the published bytes", async () => {
  const vector = read("rfc9180_base_x25519_aes256gcm.json");
  const hpke = x25519.hpke();
  assert.deepEqual(
    [hpke.kem.id, hpke.kdf.id, hpke.aead.id],
    [vector.kem_id, vector.kdf_id, vector.aead_id],
  );
  const recipient = await hpke.kem.deriveKeyPair(bytes(vector.ikmR).buffer);
  assert.equal(hex(await hpke.kem.serializePublicKey(recipient.publicKey)), vector.pkRm);
  assert.equal(hex(await hpke.kem.serializePrivateKey(recipient.privateKey)), vector.skRm);

  const sender = await hpke.createSenderContext({
    recipientPublicKey: await hpke.kem.deserializePublicKey(bytes(vector.pkRm)),
    info: bytes(vector.info),
    ekm: bytes(vector.ikmE),
  });
  assert.equal(hex(sender.enc), vector.enc);
  const receiver = await x25519.hpke().createRecipientContext({
    recipientKey: recipient.privateKey,
    enc: bytes(vector.enc),
    info: bytes(vector.info),
  });
  for (const { pt, aad, ct } of vector.encryptions) {
    assert.equal(hex(await sender.seal(bytes(pt), bytes(aad))), ct);
    assert.equal(hex(await receiver.open(bytes(ct), bytes(aad))), pt);
  }
});

test("X-Wing, draft 10: key pair, encapsulation and decapsulation as published", async () => {
  const vectors = read("x_wing.json");
  assert.equal(vectors.length, 3);
  for (const vector of vectors) {
    const kem = new XWing();
    const pair = await kem.generateKeyPairDerand(bytes(vector.seed));
    assert.equal(hex(await kem.serializePublicKey(pair.publicKey)), vector.pk);
    const { enc, sharedSecret } = await kem.encap({
      recipientPublicKey: pair.publicKey,
      ekm: bytes(vector.eseed),
    });
    assert.equal(hex(enc), vector.ct);
    assert.equal(hex(sharedSecret), vector.ss);
    const opened = await kem.decap({ recipientKey: pair.privateKey, enc: bytes(vector.ct) });
    assert.equal(hex(opened), vector.ss);
  }
});

// The library derives key pairs from input material as an earlier draft did. Only whoever opens derives
// them, and that is the vault; so the private key is taken as published.
test("X-Wing in HPKE (draft-ietf-hpke-pq): public key and shared secret as published", async () => {
  const vector = read("hpke_pq_x_wing.json");
  const { kem, kdf, aead } = xWing.hpke();
  assert.deepEqual([kem.id, kdf.id, aead.id], [vector.kem_id, vector.kdf_id, 2]);
  const pair = await new XWing().generateKeyPairDerand(bytes(vector.skRm));
  assert.equal(hex(await kem.serializePublicKey(pair.publicKey)), vector.pkRm);
  const { enc, sharedSecret } = await kem.encap({
    recipientPublicKey: pair.publicKey,
    ekm: bytes(vector.ikmE),
  });
  assert.equal(hex(enc), vector.enc);
  assert.equal(hex(sharedSecret), vector.shared_secret);
  const opened = await kem.decap({ recipientKey: pair.privateKey, enc: bytes(vector.enc) });
  assert.equal(hex(opened), vector.shared_secret);
});

/** A document is taken from the pinned key only, in its time; everything else has its own refusal. */
import assert from "node:assert/strict";
import test from "node:test";
import { CollectError, type CollectErrorCode, seal, verifyDocument } from "../src/index.js";
import { openNote, parseVerifierKey } from "../src/note.js";
import { NOON, randomLetters, TestVault } from "./vault.js";

const vault = await TestVault.make();
const other = await TestVault.make();

const refused = (code: CollectErrorCode, note: string, key: string | string[] = vault.verifierKey, now = NOON) =>
  assert.rejects(verifyDocument(note, key, now), (error) => {
    assert.ok(error instanceof CollectError, String(error));
    assert.equal(error.code, code);
    return true;
  });

test("the vault's document is taken, and tells what it is", async () => {
  const document = await verifyDocument(await vault.document(), vault.verifierKey, NOON);
  assert.equal(document.vault, vault.id);
  assert.equal(document.key, vault.keyId);
  assert.equal(document.notAfter.toISOString(), "2026-11-30T00:00:00.000Z");
  assert.deepEqual(
    document.suites.map(({ suite, publicKey }) => [suite, publicKey.length]),
    [["x25519", 32], ["x-wing", 1_216]],
  );
});

test("signatures by other keys say nothing; beside the vault's own they do no harm", async () => {
  const text = (await vault.document()).split("\n\n")[0] + "\n";
  const [own, foreign] = [await vault.signature(text), await other.signature(text)];
  await verifyDocument(`${text}\n${foreign}\n${own}\n`, vault.verifierKey, NOON);
  await refused("not_signed", `${text}\n${foreign}\n`);
});

test("a note that was changed anywhere is refused", async () => {
  const note = await vault.document();
  for (let at = 0; at < note.length; at++) {
    const code = note.charCodeAt(at);
    const bent = note.slice(0, at) + String.fromCharCode(code ^ 1) + note.slice(at + 1);
    await assert.rejects(verifyDocument(bent, vault.verifierKey, NOON), CollectError, `at ${at}`);
  }
  for (const length of [0, 1, note.length - 1, note.length >> 1]) {
    await refused("malformed_document", note.slice(0, length));
  }
});

test("a good signature beside a bad one by the same key is refused", async () => {
  const text = (await vault.document()).split("\n\n")[0] + "\n";
  const [good, bad] = [await vault.signature(text), await vault.signature("another\n")];
  await refused("not_signed", `${text}\n${good}\n${bad}\n`);
});

test("another vault's document is refused, whoever signed it", async () => {
  await refused("not_signed", await other.document());
  await refused("another_vault", await vault.document((members) => (members.vault = other.id)));
});

test("other notes of the identity are refused: type and version", async () => {
  await refused("another_type", await vault.document((m) => (m.type = "payvault erasure receipt")));
  await refused("another_version", await vault.document((m) => (m.v = 2)));
  await refused("another_version", await vault.document((m) => (m.v = "1")));
});

test("a document is refused from its last moment on, and an hour before its first", async () => {
  const note = await vault.document();
  const at = (time: string) => new Date(time);
  await verifyDocument(note, vault.verifierKey, at("2026-11-29T23:59:59.999Z"));
  // A visitor's clock that runs behind.
  await verifyDocument(note, vault.verifierKey, at("2026-11-27T23:00:00.000Z"));
  await refused("not_begun", note, vault.verifierKey, at("2026-11-27T22:59:59.999Z"));
  await refused("expired", note, vault.verifierKey, at("2026-11-30T00:00:00.000Z"));
  await refused("expired", note, vault.verifierKey, new Date(Number.NaN));
});

test("texts that aren't a collect document's are refused", async () => {
  for (const text of ["", "\n", "{}", "[]\n", "null\n", "{}\n{}\n", '{"v":1\n']) {
    await assert.rejects(verifyDocument(await vault.note(text), vault.verifierKey, NOON), CollectError);
  }
  const onLines = `${JSON.stringify(vault.members(), null, 1)}\n`;
  await refused("malformed_document", await vault.note(onLines));
  for (const [member, value] of [
    ["key", 1],
    ["key", "../../another"],
    ["not_after", "tomorrow"],
    ["not_after", "2026-11-30T00:00:00+01:00"],
    ["not_after", "2026-13-30T00:00:00.000Z"],
    ["not_before", undefined],
    ["suites", {}],
    ["suites", null],
  ] as const) {
    await refused("malformed_document", await vault.document((m) => (m[member] = value)));
  }
});

test("entries of suites that have another shape are passed over", async () => {
  for (const unknown of [
    null,
    7,
    [],
    "x25519",
    {},
    { suite: "x-wing-2", publics: [""] },
    { suite: "x25519", kem: 32, kdf: 1, aead: 2, public: "not base64" },
    { suite: "x25519", kem: "32", kdf: 1, aead: 2, public: "" },
  ]) {
    const note = await vault.document((members) => (members.suites as unknown[]).unshift(unknown));
    const document = await verifyDocument(note, vault.verifierKey, NOON);
    assert.deepEqual(document.suites.map(({ suite }) => suite), ["x25519", "x-wing"]);
    const none = await vault.document((members) => (members.suites = [unknown]));
    assert.deepEqual((await verifyDocument(none, vault.verifierKey, NOON)).suites, []);
  }
});

test("what is changed in a document after it was verified changes nothing that is sealed", async () => {
  const document = await verifyDocument(await vault.document(), vault.verifierKey, NOON);
  const context = { site: "nl", transaction: `txn_${randomLetters()}` };
  const details = { bankgiro: { number: "5050-1055", holder: "Zoë" } };
  for (const { publicKey } of document.suites) publicKey.fill(9);
  document.notAfter.setTime(0);
  document.notBefore.setTime(8_000_000_000_000_000);
  const sealed = await seal(document, context, details, { now: NOON });
  assert.deepEqual(JSON.parse(await vault.open(sealed, "nl", context.transaction)), details);
  // Nor is its time longer.
  document.notAfter.setTime(8_000_000_000_000_000);
  document.notBefore.setTime(0);
  for (const [time, code] of [
    ["2026-11-30T00:00:00.000Z", "expired"],
    ["2026-11-27T22:00:00.000Z", "not_begun"],
  ] as const) {
    await assert.rejects(
      seal(document, context, details, { now: new Date(time) }),
      (error) => error instanceof CollectError && error.code === code,
    );
  }
});

test("a note has no control characters, and 32 signatures at most", async () => {
  const whole = await vault.document();
  const text = `${whole.split("\n\n")[0]}\n`;
  // Signed, so that nothing but the character speaks against it.
  for (const bent of ["\t", "\r", "\0", "\x1f"]) {
    await refused("malformed_document", await vault.note(text.replace("\n", `${bent}\n`)));
    await refused("malformed_document", `${whole}— another${bent} AAAAAAA=\n`);
  }
  await refused("malformed_document", `${whole}— an\u0085other AAAAAAA=\n`);
  await refused("malformed_document", `${whole}— an\u007fother AAAAAAA=\n`);
  await refused("malformed_document", `${whole}— an\ud800other AAAAAAA=\n`);
  const foreign = (count: number) => whole + "— another AAAAAAA=\n".repeat(count);
  await verifyDocument(foreign(31), vault.verifierKey, NOON);
  await refused("malformed_document", foreign(32));
});

test("two keys with one name and id are told apart by the signature", async () => {
  const text = "signed\n";
  const own = await parseVerifierKey(vault.verifierKey);
  const twin = { ...own, publicKey: (await parseVerifierKey(other.verifierKey)).publicKey };
  const note = await vault.note(text);
  assert.equal(await openNote(note, [twin, own]), text);
  assert.equal(await openNote(note, [own, twin]), text);
  await assert.rejects(openNote(note, [twin]), CollectError);
});

test("more than 4,096 bytes are refused before anything is read", async () => {
  const pad = (bytes: number) => vault.document((members) => (members.pad = "x".repeat(bytes)));
  const length = (await pad(0)).length;
  // The dash in front of a signature has three bytes.
  await verifyDocument(await pad(4_096 - length - 2), vault.verifierKey, NOON);
  await refused("oversize_document", await pad(4_096 - length - 1));
  await refused("oversize_document", "x".repeat(1_000_000));
});

test("of two keys of one vault either may have signed; keys of two vaults are refused", async () => {
  const successor = await vault.successor();
  const keys = [vault.verifierKey, successor.verifierKey];
  for (const signer of [vault, successor]) {
    await verifyDocument(await signer.document(), keys, NOON);
    await verifyDocument(await signer.document(), keys.toReversed(), NOON);
  }
  await refused("not_signed", await successor.document());
  await refused("not_signed", await other.document(), keys);
  await refused("malformed_verifier_key", await vault.document(), [...keys, other.verifierKey]);
  await refused("malformed_verifier_key", await vault.document(), []);
  // One of them signed another text: that is no slip.
  const text = (await vault.document()).split("\n\n")[0] + "\n";
  const [good, bad] = [await vault.signature(text), await successor.signature("another\n")];
  await refused("not_signed", `${text}\n${good}\n${bad}\n`, keys);
});

test("a key that isn't a vault identity's verifier key is refused", async () => {
  const note = await vault.document();
  const [name, id, key] = vault.verifierKey.split(/\+(?=[0-9a-f]{8}\+)|(?<=\+[0-9a-f]{8})\+/);
  assert.equal(`${name}+${id}+${key}`, vault.verifierKey);
  const ledger = await TestVault.make();
  for (const bent of [
    "",
    "x",
    `${name}+${id}`,
    `${name}+00000000+${key}`,
    `${name}x+${id}+${key}`,
    `${name}+${id}+${key}=`,
    `${name}+${id}+${key?.slice(4)}`,
    ledger.verifierKey.replace("/identity", "/1"),
  ]) {
    await refused("malformed_verifier_key", note, bent);
  }
});

test("without Ed25519 nothing is verified, and nothing weaker is tried", async (context) => {
  const note = await vault.document();
  context.mock.method(crypto.subtle, "importKey", () => Promise.reject(new Error("not supported")));
  await refused("unsupported", note);
});

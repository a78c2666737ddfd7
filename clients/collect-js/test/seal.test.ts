/** What is sealed opens for its vault, site and transaction, and for nothing else. */
import assert from "node:assert/strict";
import test from "node:test";
import { xWing } from "../src/hybrid.js";
import {
  CollectError,
  type CollectErrorCode,
  type Details,
  seal,
  verifyDocument,
  x25519,
} from "../src/index.js";
import { NOON, randomLetters, TestVault } from "./vault.js";

const vault = await TestVault.make();
const document = await verifyDocument(await vault.document(), vault.verifierKey, NOON);
const context = { site: "nl", transaction: `txn_${randomLetters()}` };
const now = NOON;
const card: Details = {
  card: {
    number: "4242424242424242",
    expiry_month: 11,
    expiry_year: 2035,
    holder: "Zoë Ångström",
    security_code: "123",
    billing: { postal_code: "1012 AB" },
  },
};

const refused = (code: CollectErrorCode, sealing: Promise<string>) =>
  assert.rejects(sealing, (error) => {
    assert.ok(error instanceof CollectError, String(error));
    assert.equal(error.code, code);
    // What was typed is in no error.
    assert.doesNotMatch(`${error.message} ${error.stack}`, /4242|Zoë/);
    return true;
  });

for (const suite of [x25519, xWing]) {
  test(`${suite.name}: what was sealed comes out, for its own transaction only`, async () => {
    const sealed = await seal(document, context, card, { suites: [suite], now });
    const b64 = "[A-Za-z0-9_-]+";
    assert.match(
      sealed,
      new RegExp(`^pvc1\\.${suite.name}\\.${vault.keyId}\\.nl\\.${b64}\\.${b64}$`),
    );
    assert.ok(sealed.length <= 8_192);
    assert.deepEqual(JSON.parse(await vault.open(sealed, "nl", context.transaction)), card);

    await assert.rejects(vault.open(sealed, "nl", `txn_${randomLetters()}`));
    await assert.rejects(vault.open(sealed, "se", context.transaction));
    await assert.rejects(
      vault.open(sealed.replace(".nl.", ".se."), "nl", context.transaction),
      "the text in front is authenticated",
    );
    const again = await seal(document, context, card, { suites: [suite], now });
    assert.notEqual(again, sealed);
    assert.equal(again.length, sealed.length);
  });
}

test("the length says nothing of the details", async () => {
  const lengths = new Set<number>();
  for (const holder of [undefined, "A", "A. Visitor", "x".repeat(60)]) {
    const details: Details = {
      card: { number: "4242424242424242", expiry_month: 1, expiry_year: 2035, ...(holder && { holder }) },
    };
    lengths.add((await seal(document, context, details, { now })).length);
  }
  assert.equal(lengths.size, 1);
});

test("every kind goes in as the format has it", async () => {
  const holder = "A. Visitor";
  const kinds: Details[] = [
    { iban: { iban: "NL91ABNA0417164300", holder, bic: "ABNANL2A" } },
    {
      us_account: { routing_number: "021000021", account_number: "123456789", holder, account_type: "checking" },
    },
    { uk_account: { sort_code: "200000", account_number: "55779911", holder } },
    { se_account: { clearing_number: "6000", account_number: "806967498", holder } },
    { bankgiro: { number: "5402-9681", holder } },
    { plusgiro: { number: "28652-3", holder } },
    { dk_account: { reg_number: "3000", account_number: "1234567", holder } },
  ];
  for (const details of kinds) {
    const sealed = await seal(document, context, details, { now });
    assert.deepEqual(JSON.parse(await vault.open(sealed, "nl", context.transaction)), details);
  }
});

test("the padding holds at each length, and ends at 2,047 bytes", async () => {
  const of = (chars: number): Details => ({ iban: { iban: "x", holder: "x".repeat(chars) } });
  const frame = JSON.stringify(of(0)).length;
  for (const json of [510, 511, 512, 1_023, 1_024, 2_046, 2_047]) {
    const sealed = await seal(document, context, of(json - frame), { now });
    const ciphertext = Buffer.from(sealed.split(".")[5] ?? "", "base64url");
    assert.equal(ciphertext.length - 16, Math.ceil((json + 1) / 512) * 512);
    assert.equal((await vault.open(sealed, "nl", context.transaction)).length, json);
  }
  await refused("oversize_details", seal(document, context, of(2_048 - frame), { now }));
});

test("what the vault doesn't know is refused before it is sealed", async () => {
  for (const details of [
    {},
    { cards: {} },
    { toString: {} },
    { ...card, iban: { iban: "x", holder: "x" } },
    { card: { number: "1", expiry_month: 1, expiry_year: 2035, track: "x" } },
    { card: { number: 1, expiry_month: 1, expiry_year: 2035 } },
    { card: { number: "1", expiry_month: "1", expiry_year: 2035 } },
    { card: { number: "1", expiry_month: 1.5, expiry_year: 2035 } },
    { card: { number: "1", expiry_month: 1, expiry_year: 2035, billing: "x" } },
    { card: { number: "1", expiry_month: 1, expiry_year: 2035, billing: { city: "x" } } },
    { card: { number: "\ud800", expiry_month: 1, expiry_year: 2035 } },
    { card: [] },
    { card: null },
  ]) {
    await refused("malformed_details", seal(document, context, details as Details, { now }));
  }
});

test("site and transaction must have their shape", async () => {
  const { transaction } = context;
  for (const site of ["", "NL", "1a", "n l", "n\nl", "x".repeat(17)]) {
    await refused("malformed_context", seal(document, { site, transaction }, card, { now }));
  }
  for (const bent of ["", transaction.slice(4), `${transaction}b`, transaction.toUpperCase()]) {
    await refused("malformed_context", seal(document, { site: "nl", transaction: bent }, card, { now }));
  }
});

test("the first suite that the document offers is taken, and an unknown one never", async () => {
  const only = async (keep: string) =>
    verifyDocument(
      await vault.document((members) => {
        members.suites = (members.suites as { suite: string }[]).filter(({ suite }) => suite === keep);
      }),
      vault.verifierKey,
      NOON,
    );
  const both = { suites: [xWing, x25519], now };
  assert.match(await seal(document, context, card, both), /^pvc1\.x-wing\./);
  assert.match(await seal(await only("x25519"), context, card, both), /^pvc1\.x25519\./);
  await refused("unknown_suite", seal(await only("x-wing"), context, card, { now }));
  await refused("unknown_suite", seal(await only("none"), context, card, both));
  await refused("unknown_suite", seal(document, context, card, { suites: [], now }));
});

test("a known name with other algorithms, or a key of another length, is an unknown suite", async () => {
  for (const [member, value] of [
    ["kem", 16],
    ["kdf", 2],
    ["aead", 1],
    ["public", "AAAA"],
  ]) {
    const bent = await vault.document((members) => {
      members.suites = (members.suites as object[]).map((suite) => ({ ...suite, [member as string]: value }));
    });
    const document = await verifyDocument(bent, vault.verifierKey, NOON);
    await refused("unknown_suite", seal(document, context, card, { suites: [x25519, xWing], now }));
  }
});

test("only a verified document is sealed to, and only in its time", async () => {
  await refused("unverified_document", seal({ ...document }, context, card, { now }));
  await refused("expired", seal(document, context, card, { now: document.notAfter }));
});

test("without X25519 nothing is sealed", async (context) => {
  context.mock.method(crypto.subtle, "generateKey", () => Promise.reject(new Error("not supported")));
  await refused("unsupported", seal(document, { site: "nl", transaction: `txn_${randomLetters()}` }, card, { now }));
});

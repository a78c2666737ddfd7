/** A vault's side for tests: an identity, a collect key, its document, and opening. Never shipped. */
import { type Bytes, concat, toBase64, utf8 } from "../src/encoding.js";
import { xWing } from "../src/hybrid.js";
import { type Suite, x25519 } from "../src/suite.js";

const { subtle } = globalThis.crypto;
const ALPHABET = "bcdfghjkmnpqrstv";

export const letters = (bytes: Bytes): string =>
  Array.from(bytes, (byte) => ALPHABET.charAt(byte >> 4) + ALPHABET.charAt(byte & 15)).join("");
export const randomLetters = (): string => letters(crypto.getRandomValues(new Uint8Array(16)));
const digest = async (...parts: Bytes[]): Promise<Bytes> =>
  new Uint8Array(await subtle.digest("SHA-256", concat(...parts)));

export const NOON = new Date("2026-11-28T12:00:00.000Z");

export class TestVault {
  readonly name: string;
  verifierKey = "";
  keyId = "";
  private signing!: CryptoKeyPair;
  private signingId!: Bytes;
  private readonly pairs = new Map<string, { pair: CryptoKeyPair; publicKey: Bytes }>();

  private constructor(readonly id = `vlt_${randomLetters()}`) {
    this.name = `payvault/${id}/identity`;
  }

  /** The same vault with the identity's next key. */
  successor(): Promise<TestVault> {
    return TestVault.make(this.id);
  }

  static async make(id?: string): Promise<TestVault> {
    const vault = new TestVault(id);
    vault.signing = (await subtle.generateKey("Ed25519", true, ["sign", "verify"])) as CryptoKeyPair;
    const key = concat(
      new Uint8Array([1]),
      new Uint8Array(await subtle.exportKey("raw", vault.signing.publicKey)),
    );
    vault.signingId = (await digest(utf8(`${vault.name}\n`), key)).slice(0, 4);
    vault.verifierKey = `${vault.name}+${Buffer.from(vault.signingId).toString("hex")}+${toBase64(key)}`;
    for (const suite of [x25519, xWing]) {
      const { kem } = suite.hpke();
      const pair = await kem.generateKeyPair();
      const publicKey = new Uint8Array(await kem.serializePublicKey(pair.publicKey));
      vault.pairs.set(suite.name, { pair, publicKey });
    }
    const [a, b] = [...vault.pairs.values()].map(({ publicKey }) => publicKey);
    if (!a || !b) throw new Error("two suites");
    vault.keyId = letters((await digest(utf8("payvault collect key v1"), a, b)).slice(0, 16));
    return vault;
  }

  /** The document's members, to be bent by a test. */
  members(): Record<string, unknown> {
    const suites = [x25519, xWing].map((suite) => {
      const { kem, kdf, aead } = suite.hpke();
      const publicKey = this.pairs.get(suite.name)?.publicKey ?? new Uint8Array();
      return {
        aead: aead.id,
        kdf: kdf.id,
        kem: kem.id,
        public: toBase64(publicKey),
        suite: suite.name,
      };
    });
    return {
      key: this.keyId,
      not_after: "2026-11-30T00:00:00.000Z",
      not_before: "2026-11-28T00:00:00.000Z",
      suites,
      type: "payvault collect key",
      v: 1,
      vault: this.id,
    };
  }

  async document(bend: (members: Record<string, unknown>) => void = () => {}): Promise<string> {
    const members = this.members();
    bend(members);
    return this.note(`${JSON.stringify(members)}\n`);
  }

  async note(text: string): Promise<string> {
    return `${text}\n${await this.signature(text)}\n`;
  }

  async signature(text: string): Promise<string> {
    const made = await subtle.sign("Ed25519", this.signing.privateKey, utf8(text));
    return `— ${this.name} ${toBase64(concat(this.signingId, new Uint8Array(made)))}`;
  }

  /** What was sealed for the transaction; throws when it wasn't. Not shared with `seal.ts`. */
  async open(sealed: string, site: string, transaction: string): Promise<string> {
    const [version, suite, key, sealedSite, enc, ciphertext] = sealed.split(".");
    const known: Suite | undefined = [x25519, xWing].find(({ name }) => name === suite);
    const pair = this.pairs.get(suite ?? "")?.pair;
    if (version !== "pvc1" || !known || !pair || !enc || !ciphertext) throw new Error("no sealed details");
    const bytes = (text: string): Bytes => new Uint8Array(Buffer.from(text, "base64url"));
    const info = `payvault collect v1\n${this.id}\n${site}\n${transaction}\n${key}\n${suite}\n`;
    const padded = new Uint8Array(
      await known.hpke().open(
        { recipientKey: pair, enc: bytes(enc), info: utf8(info) },
        bytes(ciphertext),
        utf8(`pvc1.${suite}.${key}.${sealedSite}`),
      ),
    );
    const end = padded.lastIndexOf(0x80);
    if (padded.length % 512 !== 0 || padded.length > 2_048 || padded.slice(end + 1).some((b) => b !== 0)) {
      throw new Error("wrongly padded");
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(padded.slice(0, end));
  }
}

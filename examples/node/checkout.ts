/**
 * A portal's checkout: opens a transaction, swaps a card and an IBAN for tokens, and leaves them
 * for the processor.
 *
 *     node built/checkout.js DEV.JSON TOKENS.JSONL
 *
 * Stubs are made from proto/ as ../README.md says. Prints masked numbers only.
 */

import { randomBytes } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { PaymentDetailsSchema } from "./stubs/payvault/v1/payment_pb.js";
import { Field, Purpose } from "./stubs/payvault/v1/transaction_pb.js";
import { VaultService } from "./stubs/payvault/v1/vault_service_pb.js";

type Details = MessageInitShape<typeof PaymentDetailsSchema>;

const HOUR_MS = 3_600_000;
const AGAIN = [Code.Unavailable, Code.DeadlineExceeded];

const [devFile, tokensFile] = process.argv.slice(2);
if (!devFile || !tokensFile) {
  throw new Error("usage: checkout.js DEV.JSON TOKENS.JSONL");
}
const dev = JSON.parse(readFileSync(devFile, "utf8"));
const me = dev.principals.portal;

// TLS with a client certificate: that is who we are.
const vault = createClient(
  VaultService,
  createGrpcTransport({
    baseUrl: dev.endpoint,
    nodeOptions: {
      ca: readFileSync(dev.ca),
      cert: readFileSync(me.cert),
      key: readFileSync(me.key),
    },
    defaultTimeoutMs: 10_000,
  }),
);

/** Makes a call again until it is answered. Its request_id is the same: it is done once. */
async function once<T>(call: (requestId: Uint8Array) => Promise<T>): Promise<T> {
  const requestId = randomBytes(16);
  for (const wait of [200, 1_000, 5_000]) {
    try {
      return await call(requestId);
    } catch (error) {
      if (!AGAIN.includes(ConnectError.from(error).code)) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return call(requestId);
}

/** One order's transaction: who may have what of it, how often and until when. */
function open(): Promise<string> {
  const now = Date.now();
  return once(async (requestId) => {
    const { transaction } = await vault.openTransaction({
      requestId,
      terms: {
        site: "nl",
        parties: [
          {
            principal: dev.principals["processor-a"].id,
            grants: [
              { purpose: Purpose.CAPTURE, fields: [Field.NUMBER, Field.EXPIRY], usesMax: 1 },
            ],
          },
        ],
        expiresAt: timestampFromMs(now + HOUR_MS),
        releaseUntil: timestampFromMs(now + 24 * HOUR_MS),
      },
    });
    return transaction;
  });
}

/** What customers typed, by order. */
const orders: [string, Details][] = [
  ["card", card("4242 4242 4242 4242")],
  ["mistyped", card("4242 4242 4242 4241")],
  ["iban", { kind: { case: "iban", value: { iban: "NL91ABNA0417164300", holder: "A. Visitor" } } }],
];

function card(number: string): Details {
  return { kind: { case: "card", value: { number, expiryMonth: 11, expiryYear: 2035 } } };
}

for (const [reference, details] of orders) {
  try {
    const transaction = await open();
    const answer = await once((requestId) =>
      vault.tokenize({ requestId, transaction, details }),
    );
    // From here on the number isn't needed any more; the token goes to the processor.
    appendFileSync(
      tokensFile,
      `${JSON.stringify({ reference, transaction, token: answer.token })}\n`,
      { mode: 0o600 },
    );
    console.log(`${reference}: ${answer.details?.maskedNumber}`);
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    console.log(`${reference}: refused (${Code[code]}): ${rawMessage}`);
  }
}

/**
 * Seals with Node, for tests of other implementations:
 *
 *     node tools/seal.mjs < REQUEST.json      after `npm run build`
 *
 * REQUEST: {"document", "verifier_key", "site", "transaction", "suite": "x25519" | "x-wing",
 * "details": {"card": {…}}}. Prints the sealed details, or ends with the refusal's code.
 */
import { readFileSync } from "node:fs";
import { CollectError, seal, verifyDocument, x25519 } from "@payvault/collect";
import { xWing } from "@payvault/collect/hybrid";

const request = JSON.parse(readFileSync(0, "utf8"));
const suites = [x25519, xWing].filter(({ name }) => name === request.suite);
try {
  const document = await verifyDocument(request.document, request.verifier_key, new Date());
  console.log(await seal(document, request, request.details, { suites }));
} catch (error) {
  console.error(error instanceof CollectError ? `${error.code}: ${error.message}` : error);
  process.exitCode = 1;
}

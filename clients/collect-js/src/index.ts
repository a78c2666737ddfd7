/** Seals payment details in the browser. Begin with `verifyDocument`, then `seal`. */
export {
  type Brand,
  brandOf,
  checkCardNumber,
  type Checked,
  checkExpiry,
  checkIban,
  checkSecurityCode,
  luhn,
  type Problem,
} from "./checks.js";
export type {
  Card,
  Details,
  DkAccount,
  Giro,
  IbanAccount,
  SeAccount,
  UkAccount,
  UsAccount,
} from "./details.js";
export { type CollectDocument, type OfferedSuite, verifyDocument } from "./document.js";
export { CollectError, type CollectErrorCode } from "./error.js";
export { type Context, seal, type SealOptions } from "./seal.js";
export { type Suite, x25519 } from "./suite.js";

/**
 * Prints the verifier key of the vault's identity, for whoever builds the page. In earnest it comes
 * from the vault's operators, once, and is reviewed like code: what hands out the documents must not
 * hand out the key too. Here an operator asks the throw-away vault, before there is a portal.
 *
 *     node built/server/identity.js DEV.JSON
 */

import { connect, readDev } from "./vault.js";

const [devFile] = process.argv.slice(2);
if (!devFile) throw new Error("usage: identity.js DEV.JSON");
const { verifierKey } = await connect(readDev(devFile), "operator").getCollectKey({});
process.stdout.write(`${verifierKey}\n`, () => process.exit(0));

/**
 * A payment processor: gets tokens from the portal, redeems them, and would authorize with what it
 * got. It is a process of its own: the portal can't do what it does, and sees none of it.
 *
 *     node built/server/processor.js DEV.JSON SOCKET
 */

import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import type { PaymentDetails } from "../stubs/payvault/v1/payment_pb.js";
import { Field, Purpose } from "../stubs/payvault/v1/transaction_pb.js";
import { connect, once, readDev, type Vault } from "./vault.js";

/** What the portal hands over. */
export interface Order {
  reference: string;
  transaction: string;
  token: string;
}

const ORDER_BYTES_MAX = 4_096;

/** The details behind a token, for one authorization. */
export async function redeem(vault: Vault, order: Order): Promise<PaymentDetails> {
  const { details } = await once((requestId) =>
    vault.redeem({
      requestId,
      transaction: order.transaction,
      token: order.token,
      purpose: Purpose.AUTHORIZE,
      fields: [Field.NUMBER, Field.EXPIRY, Field.HOLDER, Field.SECURITY_CODE],
    }),
  );
  if (details === undefined) throw new Error("an answer without details");
  return details;
}

/** Takes orders one at a time; `authorize` does what a processor does with the details. */
export function serve(
  vault: Vault,
  socket: string,
  authorize: (order: Order, details: PaymentDetails) => void,
) {
  const server = createServer(async (request, response) => {
    try {
      let body = "";
      for await (const part of request.setEncoding("utf8")) {
        body += part;
        if (body.length > ORDER_BYTES_MAX) throw new Error("too long");
      }
      const order: Order = JSON.parse(body);
      authorize(order, await redeem(vault, order));
      response.writeHead(204).end();
    } catch (error) {
      // Refusals hold no value; whatever else it was isn't shown.
      console.log(`not authorized: ${error instanceof Error ? error.name : "unknown"}`);
      response.writeHead(502).end();
    }
  });
  return server.listen(socket);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [devFile, socket] = process.argv.slice(2);
  if (!devFile || !socket) throw new Error("usage: processor.js DEV.JSON SOCKET");
  serve(connect(readDev(devFile), "processor-a"), socket, (order, { kind }) => {
    // Here it would authorize with the number; it is shown to nobody.
    const number = kind.case === "card" ? kind.value.number : kind.case === "iban" ? kind.value.iban : "";
    console.log(`processor: ${order.reference} authorized, ****${number.slice(-4)}`);
  });
}

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
const ORDERS_MAX = 1_000;

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

/** Nothing was authorized, and the portal may be told so. */
class NotAuthorized extends Error {}

/**
 * Takes orders; `authorize` does what a processor does with the details. It is done once for a
 * transaction, however often the order comes: a portal that got no answer asks again. Whoever
 * processes in earnest keeps that in the database, and gives the order's id to the network too.
 */
export function serve(
  vault: Vault,
  socket: string,
  authorize: (order: Order, details: PaymentDetails) => void,
) {
  const orders = new Map<string, Promise<void>>();
  async function process(order: Order): Promise<void> {
    let details: PaymentDetails;
    try {
      details = await redeem(vault, order);
    } catch {
      // Forgotten, so that the order may come with another token.
      orders.delete(order.transaction);
      throw new NotAuthorized();
    }
    authorize(order, details);
  }
  function processOnce(order: Order): Promise<void> {
    const earlier = orders.get(order.transaction);
    if (earlier !== undefined) return earlier;
    // None is forgotten to make room: it would be done again.
    if (orders.size >= ORDERS_MAX) throw new NotAuthorized();
    const processing = process(order);
    orders.set(order.transaction, processing);
    return processing;
  }

  const server = createServer(async (request, response) => {
    try {
      let body = "";
      for await (const part of request.setEncoding("utf8")) {
        body += part;
        if (body.length > ORDER_BYTES_MAX) throw new Error("too long");
      }
      const order: Order = JSON.parse(body);
      await processOnce(order);
      response.writeHead(204).end();
    } catch (error) {
      // Refusals hold no value; whatever else it was isn't shown.
      console.log(`not authorized: ${error instanceof Error ? error.name : "unknown"}`);
      response.writeHead(error instanceof NotAuthorized ? 402 : 500).end();
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

/**
 * A web shop's checkout. It serves a page that seals what is typed, gets a sealed string from it,
 * swaps that for a token, and hands the token to the processor. It never has a number.
 *
 *     node built/server/portal.js DEV.JSON PAGE SOCKET PORT [WAIT]
 *
 * PAGE is the directory of the bundled page, SOCKET the processor's. Port 0 picks a free one; the
 * address is printed. WAIT is how long the processor may take for an answer, in ms.
 */

import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { Field, Purpose } from "../stubs/payvault/v1/transaction_pb.js";
import { fill, readAssets } from "./page.js";
import { connect, once, principal, readDev } from "./vault.js";

const [devFile, pageDirectory, processor, port, wait = "10000"] = process.argv.slice(2);
if (!devFile || !pageDirectory || !processor || !port) {
  throw new Error("usage: portal.js DEV.JSON PAGE SOCKET PORT [WAIT]");
}
const dev = readDev(devFile);
const vault = connect(dev, "portal");
const assets = readAssets(pageDirectory);

const SITE = "nl";
const HOUR_MS = 3_600_000;
/** Sealed details have 8,192 characters at most. */
const BODY_BYTES_MAX = 16_384;
const ORDERS_MAX = 1_000;
/** How often the processor is asked, for one post. */
const HAND_OVER_TRIES = 2;

/** What the visitor buys. Orders are kept in memory: it is an example. */
interface Order {
  /** For people: in the page and in the log. */
  number: string;
  /** Its one transaction, and what the processor knows the order by. */
  transaction: string;
  /** The payment that is under way. Posts that come meanwhile get what becomes of it. */
  paying?: Promise<void>;
  /** What was handed over, as long as it isn't known that it was refused. */
  handed?: { token: string; masked: string };
  /** "visa 424242******4242", once it is authorized. */
  paid?: string;
}
/** By a reference that nobody guesses: it alone shows what an order was paid with. */
const orders = new Map<string, Order>();

/**
 * What the browser enforces: scripts are files of this origin and have an integrity attribute, forms
 * post here only, and a script can send nothing by itself.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'none'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const HEADERS = {
  "Content-Security-Policy": POLICY,
  "Integrity-Policy": "blocked-destinations=(script)",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
  // A page with a transaction of its own belongs into no cache.
  "Cache-Control": "no-store",
};

function asset(name: string) {
  const found = assets.get(name);
  if (found === undefined) throw new Error(`the page lacks ${name}`);
  return found;
}

function send(response: ServerResponse, status: number, page: string, values: Record<string, string>) {
  const html = fill(asset(page).bytes.toString("utf8"), {
    "style.integrity": asset("style.css").integrity,
    "script.integrity": asset("checkout.js").integrity,
    ...values,
  });
  response.writeHead(status, { ...HEADERS, "Content-Type": "text/html; charset=utf-8" }).end(html);
}

/** One order's transaction: who may have what of it, how often and until when. */
async function open(): Promise<string> {
  const now = Date.now();
  const { transaction } = await once((requestId) =>
    vault.openTransaction({
      requestId,
      terms: {
        site: SITE,
        parties: [
          {
            principal: principal(dev, "processor-a").id,
            grants: [
              {
                purpose: Purpose.AUTHORIZE,
                fields: [Field.NUMBER, Field.EXPIRY, Field.HOLDER, Field.SECURITY_CODE],
                usesMax: 1,
              },
            ],
          },
        ],
        expiresAt: timestampFromMs(now + HOUR_MS),
        releaseUntil: timestampFromMs(now + 24 * HOUR_MS),
      },
    }),
  );
  return transaction;
}

/** The checkout: today's collect document, and the transaction that the details are sealed for. */
async function checkout(response: ServerResponse, reference: string, order: Order, problem = "") {
  const { document } = await vault.getCollectKey({});
  send(response, problem === "" ? 200 : 422, "index.html", {
    reference,
    number: order.number,
    problem,
    site: SITE,
    transaction: order.transaction,
    document,
  });
}

async function begin(response: ServerResponse) {
  const [oldest] = orders.keys();
  if (oldest !== undefined && orders.size >= ORDERS_MAX) orders.delete(oldest);
  const reference = randomBytes(16).toString("base64url");
  const order = { number: `order-${randomBytes(4).toString("hex")}`, transaction: await open() };
  orders.set(reference, order);
  await checkout(response, reference, order);
}

async function pay(incoming: IncomingMessage, response: ServerResponse) {
  const form = new URLSearchParams(await body(incoming));
  const reference = form.get("reference") ?? "";
  const sealedDetails = form.get("sealed") ?? "";
  const order = orders.get(reference);
  if (order === undefined) return end(response, 400);
  if (order.paid === undefined) {
    // Without details it is asked what became of those that were handed over.
    if (sealedDetails === "" && order.handed === undefined) return end(response, 400);
    // Claimed before anything is waited for: of two posts one pays.
    order.paying ??= settle(order, sealedDetails).finally(() => delete order.paying);
    try {
      await order.paying;
    } catch (error) {
      // The vault's refusals repeat no value.
      console.log(`portal: ${order.number} not paid: ${ConnectError.from(error).rawMessage}`);
      if (order.handed !== undefined) {
        return send(response, 503, "pending.html", { reference, number: order.number });
      }
      return checkout(response, reference, order, "Your payment was not accepted. Please check your details and try again.");
    }
  }
  redirect(response, `/paid/${reference}`);
}

/** Swaps the details for a token and hands it over, or hands over again what may have been lost. */
async function settle(order: Order, sealedDetails: string): Promise<void> {
  const { token, masked } = (order.handed ??= await swap(order, sealedDetails));
  if (await handOver({ reference: order.number, transaction: order.transaction, token })) {
    order.paid = masked;
    return;
  }
  // Another try has another token; this one opens nothing any more.
  delete order.handed;
  await once(() => vault.revokeToken({ transaction: order.transaction, token }));
  throw new Error("the processor did not authorize");
}

async function swap({ number, transaction }: Order, sealedDetails: string) {
  const { token, details } = await once((requestId) =>
    vault.tokenize({ requestId, transaction, sealedDetails }),
  );
  const masked = `${details?.brand ?? ""} ${details?.maskedNumber ?? ""}`.trim();
  console.log(`portal: ${number} has a token for ${masked}`);
  return { token, masked };
}

/**
 * Whether the processor authorized. Throws when it isn't known: then the same is handed over again,
 * since the processor does an order once.
 */
async function handOver(order: { reference: string; transaction: string; token: string }): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      const status = await post(JSON.stringify(order));
      if (status === 204) return true;
      if (status === 402) return false;
      throw new Error(`the processor answered ${status}`);
    } catch (error) {
      if (tries === HAND_OVER_TRIES) throw error;
    }
  }
}

function post(text: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(Number(wait));
    const sent = request({ socketPath: processor, method: "POST", path: "/", signal }, (answer) => {
      answer.on("error", reject).on("end", () => resolve(answer.statusCode)).resume();
    });
    sent.on("error", reject).end(text);
  });
}

async function body(incoming: IncomingMessage): Promise<string> {
  let text = "";
  for await (const part of incoming.setEncoding("utf8")) {
    text += part;
    if (text.length > BODY_BYTES_MAX) throw new Error("a form that is too long");
  }
  return text;
}

function redirect(response: ServerResponse, location: string) {
  response.writeHead(303, { ...HEADERS, Location: location }).end();
}

function end(response: ServerResponse, status: number) {
  response.writeHead(status, HEADERS).end();
}

async function answer(incoming: IncomingMessage, response: ServerResponse) {
  const { method, url = "/" } = incoming;
  const name = url.slice(1);
  if (method === "GET" && url === "/") return begin(response);
  if (method === "POST" && url === "/pay") return pay(incoming, response);
  if (method === "GET" && url.startsWith("/paid/")) {
    const reference = url.slice("/paid/".length);
    const { number, paid } = orders.get(reference) ?? {};
    if (number === undefined || paid === undefined) return end(response, 404);
    return send(response, 200, "paid.html", { number, paid });
  }
  if (method === "GET" && /^[\w-]+\.(css|js|svg)$/.test(name) && assets.has(name)) {
    const { type, bytes } = asset(name);
    response.writeHead(200, { ...HEADERS, "Content-Type": type }).end(bytes);
    return;
  }
  end(response, 404);
}

const server = createServer((incoming, response) => {
  answer(incoming, response).catch((error) => {
    console.log(`portal: failed: ${error instanceof Error ? error.message : "unknown"}`);
    if (response.headersSent) response.destroy();
    else end(response, 500);
  });
});
server.listen(Number(port), "127.0.0.1", () => {
  console.log(`portal: http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});

/** A client of the vault, as one of the principals in dev.json. */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { VaultService } from "../stubs/payvault/v1/vault_service_pb.js";

export type Vault = Client<typeof VaultService>;

/** What `payvault dev` writes; of it what is used here. */
export interface Dev {
  endpoint: string;
  ca: string;
  principals: Record<string, { id: string; cert: string; key: string }>;
}

export const readDev = (path: string): Dev => JSON.parse(readFileSync(path, "utf8"));

export function principal(dev: Dev, name: string): { id: string; cert: string; key: string } {
  const found = dev.principals[name];
  if (found === undefined) throw new Error(`dev.json has no ${name}`);
  return found;
}

/** TLS with a client certificate: that is who we are. */
export function connect(dev: Dev, name: string): Vault {
  const me = principal(dev, name);
  return createClient(
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
}

/** Makes a call again until it is answered. Its request_id is the same: it is done once. */
export async function once<T>(call: (requestId: Uint8Array) => Promise<T>): Promise<T> {
  const requestId = randomBytes(16);
  for (const wait of [200, 1_000, 5_000]) {
    try {
      return await call(requestId);
    } catch (error) {
      const { code } = ConnectError.from(error);
      if (code !== Code.Unavailable && code !== Code.DeadlineExceeded) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return call(requestId);
}

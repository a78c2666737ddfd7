/** A proxy that keeps every byte of both directions. */

import { createServer } from "node:net";

/**
 * Listens at `where` (a port, 0 for a free one, or a socket's path), and passes everything on to what
 * `dial` connects to. Gives the server, with `bytes()`: all that went through, one direction of one
 * connection after the other.
 */
export async function record(where, dial) {
  const streams = [];
  const server = createServer((near) => {
    const far = dial();
    for (const [from, to] of [[near, far], [far, near]]) {
      const kept = [];
      streams.push(kept);
      from.on("data", (bytes) => kept.push(bytes));
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.end());
    }
  });
  await new Promise((resolve) =>
    typeof where === "string" ? server.listen(where, resolve) : server.listen(where, "127.0.0.1", resolve),
  );
  return {
    server,
    port: typeof where === "string" ? undefined : server.address().port,
    bytes: () => Buffer.concat(streams.flatMap((kept) => [...kept, Buffer.from("\n")])),
  };
}

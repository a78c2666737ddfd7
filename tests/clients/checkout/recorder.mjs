/** A proxy that keeps every byte of both directions. */

import { createServer } from "node:net";
import { Transform } from "node:stream";

/**
 * Listens at `where` (a port, 0 for a free one, or a socket's path), and passes everything on to what
 * `dial` connects to. Gives the server, with `bytes()`: all that went through, one direction of one
 * connection after the other. What comes back is passed on as `answers()` says by then: "pass",
 * "lose" (the connection ends instead) or "hold" (nothing comes).
 */
export async function record(where, dial, answers = () => "pass") {
  const streams = [];
  const server = createServer((near) => {
    const far = dial();
    for (const [from, to] of [[near, far], [far, near]]) {
      const kept = [];
      streams.push(kept);
      from.on("data", (bytes) => kept.push(bytes));
      const passing = new Transform({
        transform(bytes, _, done) {
          const way = from === far ? answers() : "pass";
          if (way === "lose") near.destroy();
          done(null, way === "pass" ? bytes : undefined);
        },
      });
      from.pipe(passing).pipe(to);
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

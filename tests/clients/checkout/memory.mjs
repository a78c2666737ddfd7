/** The memory of a running process, as root or its parent may read it (Linux). */

import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { OVERLAP } from "./needles.mjs";

const CHUNK = 16 * 1_048_576;

/** Calls `look` with all that the process could have written: mappings that are its own, not a file's. */
export function readMemory(pid, look) {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  let total = 0;
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, from, to, rights, inode] =
        /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)/.exec(line) ?? [];
      // A file's pages that nobody can write are the file's.
      if (!rights?.startsWith("r") || (inode !== "0" && !rights.includes("w"))) continue;
      const end = Number.parseInt(to, 16);
      for (let at = Number.parseInt(from, 16); at < end; at += CHUNK) {
        const bytes = Buffer.alloc(Math.min(CHUNK + OVERLAP, end - at));
        let read;
        try {
          read = readSync(memory, bytes, 0, bytes.length, at);
        } catch (error) {
          // The kernel's own pages, or a mapping that went away.
          if (error.code === "EIO" || error.code === "EFAULT") break;
          throw error;
        }
        total += Math.min(read, CHUNK);
        look(bytes.subarray(0, read));
      }
    }
  } finally {
    closeSync(memory);
  }
  return total;
}

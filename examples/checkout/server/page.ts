/** The files of the page, read once: their integrity, and HTML with values put into it. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const TYPES: Record<string, string> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

export interface Asset {
  type: string;
  bytes: Buffer;
  /** For `integrity="…"`: a browser runs no other bytes. */
  integrity: string;
}

export function readAssets(directory: string): Map<string, Asset> {
  return new Map(
    readdirSync(directory).map((name) => {
      const bytes = readFileSync(join(directory, name));
      const integrity = `sha384-${createHash("sha384").update(bytes).digest("base64")}`;
      const type = TYPES[name.split(".").pop() ?? ""] ?? "application/octet-stream";
      return [name, { type, bytes, integrity }];
    }),
  );
}

/** Puts values where the template has {{name}}; each is escaped, for text and for attributes alike. */
export function fill(template: string, values: Record<string, string>): string {
  return template.replaceAll(/\{\{([\w.]+)\}\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`the template wants ${name}`);
    return value.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
  });
}

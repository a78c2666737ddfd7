/**
 * Bundles the page, with the vault's identity built in.
 *
 *     node build.mjs VERIFIER-KEY DIRECTORY [SCRIPT]
 */
import { copyFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const [verifierKey, directory, script = "page/checkout.ts"] = process.argv.slice(2);
if (!verifierKey || !directory) throw new Error("usage: build.mjs VERIFIER-KEY DIRECTORY [SCRIPT]");
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

mkdirSync(directory, { recursive: true });
await build({
  entryPoints: { checkout: script === "page/checkout.ts" ? here(script) : script },
  outdir: directory,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  define: { VERIFIER_KEY: JSON.stringify(verifierKey) },
  // The HPKE library's way out for old Node; a browser never takes it.
  external: ["crypto"],
  logLevel: "warning",
});
for (const name of ["index.html", "paid.html", "pending.html", "style.css"]) {
  copyFileSync(here(`page/${name}`), `${directory}/${name}`);
}

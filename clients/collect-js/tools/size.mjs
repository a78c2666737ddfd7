/**
 * What the package weighs: bytes of a browser bundle, minified and gzipped, and what npm would pack.
 *
 *     node tools/size.mjs      after `npm run build`; writes nothing
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
/** What may be bundled at most, gzipped: a dependency that grows is noticed. */
const BUNDLES = [
  ["verify and seal, X25519", 'export { verifyDocument, seal } from "@payvault/collect";', 10_000],
  [
    "the same, with checks and form helper",
    'export { verifyDocument, seal } from "@payvault/collect"; export { collectForm } from "@payvault/collect/form";',
    13_500,
  ],
  [
    "verify and seal, X25519 and X-Wing",
    'export { verifyDocument, seal, x25519 } from "@payvault/collect"; export { xWing } from "@payvault/collect/hybrid";',
    22_500,
  ],
  ["the checks alone", 'export { checkCardNumber, checkIban, checkExpiry } from "@payvault/collect";', 1_700],
];

console.log(`${"bundle".padEnd(40)} minified  gzipped`);
let over = false;
for (const [name, contents, most] of BUNDLES) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    // The library's way out for old Node; a browser never takes it.
    external: ["crypto"],
    logLevel: "warning",
  });
  const bytes = outputFiles[0].contents;
  const gzipped = gzipSync(bytes, { level: 9 }).length;
  console.log(`${name.padEnd(40)} ${String(bytes.length).padStart(8)} ${String(gzipped).padStart(8)}`);
  if (gzipped > most) {
    console.error(`more than ${most} bytes gzipped`);
    over = true;
  }
}

const [packed] = JSON.parse(
  execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: root, encoding: "utf8" }),
);
console.log(`\nnpm pack: ${packed.filename}, ${packed.size} bytes packed, ${packed.unpackedSize} unpacked`);
for (const { path, size } of packed.files) console.log(`${String(size).padStart(8)} ${path}`);
process.exitCode = over ? 1 : 0;

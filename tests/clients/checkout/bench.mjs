/** For a browser: what verifying and sealing cost there, and strings that it sealed. */

import { seal, verifyDocument, x25519 } from "../../../clients/collect-js/dist/index.js";
import { xWing } from "../../../clients/collect-js/dist/hybrid.js";

const suites = [x25519, xWing];

async function timed(times, work) {
  const each = [];
  for (let time = 0; time < times; time++) {
    const from = performance.now();
    await work();
    each.push(performance.now() - from);
  }
  each.sort((a, b) => a - b);
  return { median: each[times >> 1], p95: each[Math.floor(times * 0.95)], times };
}

globalThis.measure = async (note, verifierKey, context, details) => {
  const document = await verifyDocument(note, verifierKey, new Date());
  const figures = { verify: await timed(300, () => verifyDocument(note, verifierKey, new Date())) };
  for (const suite of suites) {
    const sealing = () => seal(document, context, details, { suites: [suite] });
    // Once beforehand, so that compiling isn't measured.
    await timed(20, sealing);
    figures[suite.name] = await timed(300, sealing);
  }
  return figures;
};

globalThis.sealed = async (note, verifierKey, suite, context, details) =>
  seal(await verifyDocument(note, verifierKey, new Date()), context, details, {
    suites: suites.filter(({ name }) => name === suite),
  });

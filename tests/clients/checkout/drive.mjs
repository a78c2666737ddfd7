/**
 * The checkout in a real browser, against a running `payvault dev`:
 *
 *     node drive.mjs DEV.JSON VERIFIER-KEY BROWSER WORK PICTURES
 *
 * WORK holds the bundled pages (page/ and leaking/) and gets what was recorded. Everything that it
 * shows is written down; the first thing that doesn't hold ends it.
 */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { fileURLToPath } from "node:url";
import * as processor from "../../../examples/checkout/built/server/processor.js";
import { connect, once, readDev } from "../../../examples/checkout/built/server/vault.js";
import { seal, verifyDocument } from "../../../clients/collect-js/dist/index.js";
import { launch, type, typeAccount, typeCard, visit } from "./browser.mjs";
import { readMemory } from "./memory.mjs";
import { provenSearchFor } from "./needles.mjs";
import { pictures } from "./pictures.mjs";
import { record } from "./recorder.mjs";

const [devFile, verifierKey, executable, work, pictureDirectory] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const dev = readDev(devFile);
const portalClient = connect(dev, "portal");
const processorClient = connect(dev, "processor-a");
const ok = (what) => console.log(`ok     ${what}`);

// Published test numbers (tests/vectors/payment), which nothing else here holds.
const CARD = { number: "6759649826438453", expiry: "11/35", code: "739", name: "Zoë Ångström" };
const ACCOUNT = { iban: "SE4550000000058398257466", holder: "Åke Visitor" };
const SECRETS = [CARD.number, ACCOUNT.iban].map((value) => provenSearchFor(value));

/** Where a number was found; empty when nowhere. */
function search(places) {
  const found = [];
  for (const [place, bytes] of Object.entries(places)) {
    for (const [at, lookFor] of SECRETS.entries()) {
      for (const way of lookFor(bytes)) found.push(`${place}: ${at === 0 ? "card" : "IBAN"} (${way})`);
    }
  }
  return found;
}

/** A portal that serves the page in `directory`, with every way in and out of it recorded. */
async function startPortal(name, directory, { vault = processorClient, wait = "10000" } = {}) {
  const redeemed = [];
  let answers = "pass";
  const socket = join(work, `${name}.processor`);
  const processing = processor.serve(vault, socket, (order, details) => {
    redeemed.push({ order, details });
  });
  const me = dev.principals.portal;
  // The portal speaks HTTP/2 without TLS to the recorder, which speaks TLS with its certificate.
  const toVault = await record(0, () =>
    connectTls({
      host: "127.0.0.1",
      port: Number(new URL(dev.endpoint).port),
      servername: "localhost",
      ca: readFileSync(dev.ca),
      cert: readFileSync(me.cert),
      key: readFileSync(me.key),
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    }),
  );
  const toProcessor = await record(join(work, `${name}.recorded`), () => connectPlain(socket), () => answers);
  const recordedDev = join(work, `${name}.json`);
  writeFileSync(recordedDev, JSON.stringify({ ...dev, endpoint: `http://127.0.0.1:${toVault.port}` }));

  const logFile = join(work, `${name}.log`);
  const log = openSync(logFile, "w");
  const child = spawn(
    process.execPath,
    [here("../../../examples/checkout/built/server/portal.js"), recordedDev, directory, join(work, `${name}.recorded`), "0", wait],
    { stdio: ["ignore", log, log] },
  );
  closeSync(log);
  // Also when something doesn't hold.
  process.on("exit", () => child.kill());
  const logged = () => readFileSync(logFile, "utf8");
  const address = await until(`the portal ${name}`, () => {
    assert.equal(child.exitCode, null, logged());
    return /http:\/\/127\.0\.0\.1:\d+\//.exec(logged())?.[0];
  });
  const toBrowser = await record(0, () => connectPlain(Number(new URL(address).port), "127.0.0.1"));
  return {
    address: `http://127.0.0.1:${toBrowser.port}/`,
    redeemed,
    logged,
    /** What becomes of the processor's answers from now on. */
    answering(way) {
      answers = way;
    },
    recordings: () => ({
      "browser's bytes": toBrowser.bytes(),
      "vault's bytes": toVault.bytes(),
      "processor's bytes": toProcessor.bytes(),
      log: readFileSync(logFile),
    }),
    /** Where a number is in memory, how much memory was read, and whether `control` is in it. */
    memory(control) {
      const found = new Set();
      let controlled = false;
      const bytes = readMemory(child.pid, (part) => {
        for (const place of search({ memory: part })) found.add(place);
        controlled ||= part.includes(control);
      });
      return { found: [...found], bytes, controlled };
    },
    stop() {
      child.kill("SIGTERM");
      for (const one of [toBrowser, toVault, toProcessor]) one.server.close();
      processing.close();
      processing.closeAllConnections();
    },
  };
}

async function until(what, condition) {
  for (const end = Date.now() + 20_000; ; ) {
    const value = condition();
    if (value) return value;
    assert.ok(Date.now() < end, `${what}: not in 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Pays with a card and with an account; gives what the browser itself could be seen to do. */
async function payTwice(portal, profile) {
  const context = await launch(executable, join(work, profile), { width: 1_280, height: 860 });
  const page = context.pages()[0] ?? (await context.newPage());
  const seen = { addresses: [], console: [], atSubmit: [] };
  page.on("request", (request) => seen.addresses.push(request.url()));
  page.on("console", (message) => seen.console.push(message.text()));
  page.on("pageerror", (error) => seen.console.push(String(error)));
  await page.exposeBinding("submitting", (_, state) => seen.atSubmit.push(state));
  // In the moment of the post: what the page holds, and where.
  await page.addInitScript(() => {
    const submit = HTMLFormElement.prototype.submit;
    HTMLFormElement.prototype.submit = function () {
      globalThis.submitting({
        posted: [...new FormData(this)].map(([name]) => name),
        sealed: this.querySelector("#sealed").value,
        inputs: [...this.querySelectorAll("input:not([name])")].map((input) => input.value),
        page: document.documentElement.outerHTML,
        kept: JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]),
      });
      submit.call(this);
    };
  });
  for (const fill of [() => typeCard(page, CARD), () => typeAccount(page, ACCOUNT)]) {
    await visit(page, portal.address);
    await fill();
    await page.locator("#pay").click();
    await page.locator("#paid").waitFor();
  }
  await context.close();
  return seen;
}

/** What was typed, as the processor must get it. */
const TYPED = [
  {
    case: "card",
    number: CARD.number,
    expiryMonth: 11,
    expiryYear: 2035,
    holder: CARD.name,
    securityCode: CARD.code,
  },
  { case: "iban", iban: ACCOUNT.iban, holder: ACCOUNT.holder },
];

function assertRedeemed(details, typed) {
  assert.equal(details.kind.case, typed.case);
  for (const [member, value] of Object.entries(typed)) {
    if (member !== "case") assert.equal(details.kind.value[member], value, member);
  }
}

// --- the checkout as it is ---

const portal = await startPortal("portal", join(work, "page"));
const seen = await payTwice(portal, "profile");

assert.equal(portal.redeemed.length, 2);
portal.redeemed.forEach(({ details }, at) => assertRedeemed(details, TYPED[at]));
ok("what the processor redeems is what was typed: a card with its code, an IBAN");

assert.equal(seen.atSubmit.length, 2);
for (const { posted, sealed, inputs, page, kept } of seen.atSubmit) {
  assert.deepEqual(posted, ["reference", "sealed", "method"]);
  assert.match(sealed, /^pvc1\.x25519\./);
  assert.ok(inputs.length === 6 && inputs.every((value) => value === ""), "inputs are wiped");
  assert.deepEqual(search({ page: Buffer.from(page), kept: Buffer.from(kept) }), []);
}
assert.deepEqual(
  search({ addresses: Buffer.from(seen.addresses.join("\n")), console: Buffer.from(seen.console.join("\n")) }),
  [],
);
assert.deepEqual(seen.console, []);
assert.ok(seen.addresses.every((address) => address.startsWith(portal.address)));
ok("the page posts the sealed string only, wipes its inputs, and keeps nothing elsewhere");

const sealedText = seen.atSubmit[1].sealed;
const clean = portal.recordings();
for (const [place, bytes] of Object.entries(clean)) assert.ok(bytes.length > 50, `${place} was recorded`);
assert.ok(clean["browser's bytes"].includes(sealedText), "the recording has what was posted");
assert.ok(clean["vault's bytes"].includes(sealedText), "the recording has what went to the vault");
assert.deepEqual(search(clean), []);
const sizes = Object.entries(clean).map(([place, bytes]) => `${place} ${bytes.length}`);
ok(`no number in what the portal received, sent and logged (bytes: ${sizes.join(", ")})`);

const memory = portal.memory(sealedText);
assert.ok(memory.controlled, "the sealed string is found in the memory, so a number would be");
assert.deepEqual(memory.found, []);
ok(`no number in the portal's memory (${(memory.bytes / 1_048_576).toFixed(0)} MiB, with the sealed string in it)`);

// --- the same search, with a leak ---

const leaking = await startPortal("leaking", join(work, "leaking"));
await payTwice(leaking, "leaking-profile");
const leaked = search(leaking.recordings());
const leakedMemory = leaking.memory(sealedText.slice(0, 12));
for (const what of ["card (text)", "IBAN (base64)"]) {
  assert.ok(leaked.includes(`browser's bytes: ${what}`), `the leaked ${what} is found`);
}
assert.ok(leakedMemory.found.length > 0, "the leak is found in the memory");
leaking.stop();
console.log(`       planted leak: ${[...leaked, ...leakedMemory.found].join("; ")}`);
ok("with a planted leak, a field that is posted too, the same search fails");

// --- what is typed wrongly ---

{
  const context = await launch(executable, join(work, "wrong-profile"), { width: 390, height: 844 });
  const page = context.pages()[0] ?? (await context.newPage());
  const posts = [];
  page.on("request", (request) => request.method() === "POST" && posts.push(request.url()));
  await visit(page, portal.address);
  const devtools = await context.newCDPSession(page);
  const spoken = async (id) => {
    const { result } = await devtools.send("Runtime.evaluate", { expression: `document.getElementById("${id}")` });
    const { nodes } = await devtools.send("Accessibility.getPartialAXTree", { objectId: result.objectId, fetchRelatives: false });
    const [node] = nodes;
    const property = (name) => node.properties.find((one) => one.name === name)?.value.value;
    return { name: node.name.value, description: node.description?.value ?? "", invalid: property("invalid") };
  };
  assert.deepEqual(await spoken("number"), { name: "Card number", description: "", invalid: "false" });
  await typeCard(page, { ...CARD, number: `${CARD.number.slice(0, -1)}4` });
  const wrong = await spoken("number");
  assert.equal(wrong.invalid, "true");
  assert.match(wrong.description, /^The card number has a mistake/);
  assert.equal(await page.locator("#number-problem").getAttribute("aria-live"), "polite");
  await page.locator("#pay").click();
  assert.equal(await page.evaluate(() => document.activeElement.id), "number");
  assert.deepEqual(posts, []);
  // Mended while it is typed.
  await page.keyboard.press("End");
  await page.keyboard.press("Backspace");
  await page.keyboard.type(CARD.number.slice(-1));
  assert.deepEqual(await spoken("number"), { name: "Card number", description: "", invalid: "false" });
  await page.getByLabel("Bank account").check();
  await type(page, "iban", "SE45 5000 0000 0583 9825 7467");
  assert.match((await spoken("iban")).description, /^The IBAN has a mistake/);
  assert.equal(await page.locator("#code").getAttribute("autocomplete"), "off");
  for (const id of ["number", "expiry", "code", "card-name", "iban", "holder"]) {
    const input = page.locator(`#${id}`);
    assert.equal(await input.getAttribute("name"), null, `${id} has no name`);
    assert.ok(await input.getAttribute("autocomplete"), `${id} has autocomplete`);
    assert.ok(await input.getAttribute("inputmode"), `${id} has inputmode`);
    assert.ok(await input.evaluate(({ labels }) => labels[0]?.textContent), `${id} has a label`);
  }
  await context.close();
  ok("a wrong digit is told beside its field and to screen readers, and nothing is posted");
}

// --- what must not be sealed, and what must not be opened ---

{
  const context = await launch(executable, join(work, "refused-profile"), { width: 390, height: 844 });
  const page = context.pages()[0] ?? (await context.newPage());
  const posts = [];
  page.on("request", (request) => request.method() === "POST" && posts.push(request.url()));
  const refusal = async (said) => {
    await page.goto(portal.address);
    await page.locator("#problem:not(:empty)").waitFor();
    assert.match(await page.locator("#problem").textContent(), said);
    assert.ok(await page.locator("#pay").isDisabled());
  };
  // Somebody between portal and visitor puts a key of his own into the document.
  await page.route(portal.address, async (route) => {
    const response = await route.fetch();
    const html = await response.text();
    const bent = html.replace(/(public&#34;:&#34;)..../, "$1AAAA");
    assert.notEqual(bent, html);
    await route.fulfill({ response, body: bent });
  });
  await refusal(/\(not_signed\)/);
  await page.unroute(portal.address);
  // Scripts that aren't the page's own: a changed file, one within the page, one that isn't vouched for.
  const ran = () => page.evaluate(() => document.documentElement.dataset.ran ?? "");
  const bad = 'document.documentElement.dataset.ran = "yes";';
  await page.route(`${portal.address}checkout.js`, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${bad}${await response.text()}` });
  });
  await page.route(`${portal.address}other.js`, (route) =>
    route.fulfill({ contentType: "text/javascript", body: bad }),
  );
  await page.route(portal.address, async (route) => {
    const response = await route.fetch();
    const scripts = `<script>${bad}</script><script src="/other.js"></script></body>`;
    await route.fulfill({ response, body: (await response.text()).replace("</body>", scripts) });
  });
  await page.goto(portal.address);
  assert.equal(await ran(), "");
  assert.ok(await page.locator("#pay").isDisabled());
  await page.unrouteAll();
  // Of three days ago.
  await page.clock.setFixedTime(Date.now() + 3 * 86_400_000);
  await refusal(/open too long/);
  assert.deepEqual(posts, []);
  await context.close();
  ok("a document that was bent or is over is sealed to by nobody, and a script that was bent doesn't run");

  const again = await launch(executable, join(work, "replayed-profile"), { width: 390, height: 844 });
  const replaying = again.pages()[0] ?? (await again.newPage());
  await visit(replaying, portal.address);
  const answered = replaying.waitForResponse((response) => response.request().method() === "POST");
  await replaying.evaluate((sealed) => {
    document.getElementById("sealed").value = sealed;
    document.getElementById("checkout").submit();
  }, sealedText);
  assert.equal((await answered).status(), 422);
  await replaying.locator("#problem:focus").waitFor();
  assert.match(await replaying.locator("#problem").textContent(), /not accepted/);
  await replaying.locator("#pay:enabled").waitFor();
  await replaying.screenshot({ path: join(pictureDirectory, "phone-light-refused.png"), fullPage: true });
  // It can be paid all the same.
  await typeAccount(replaying, ACCOUNT);
  await replaying.locator("#pay").click();
  await replaying.locator("#paid").waitFor();
  await again.close();
  assertRedeemed(portal.redeemed.at(-1).details, TYPED[1]);
  ok("another transaction's sealed string is refused, and the visitor can try again");
}

// --- one order is paid once ---

{
  const posting = async (at, members) => {
    const body = new URLSearchParams(members);
    const answer = await fetch(`${at.address}pay`, { method: "POST", body, redirect: "manual" });
    return { status: answer.status, location: answer.headers.get("location"), text: await answer.text() };
  };
  /** A page's order, and what would be posted of it; each with details that were sealed anew. */
  const order = async (at) => {
    const html = await (await fetch(at.address)).text();
    const text = (pattern) =>
      pattern.exec(html)[1].replaceAll(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));
    const document = await verifyDocument(text(/data-document="([^"]*)"/), verifierKey, new Date());
    const transaction = text(/data-transaction="([^"]*)"/);
    const reference = text(/name="reference" value="([^"]*)"/);
    const card = { number: CARD.number, expiry_month: 11, expiry_year: 2035, security_code: CARD.code };
    const sealed = () => seal(document, { site: "nl", transaction }, { card });
    return { reference, number: /order-[0-9a-f]{8}/.exec(html)[0], sealed };
  };

  const { reference, number, sealed } = await order(portal);
  const before = portal.redeemed.length;
  const two = [await sealed(), await sealed()];
  const answers = await Promise.all(two.map((sealed) => posting(portal, { reference, sealed })));
  for (const { status, location } of answers) {
    assert.equal(status, 303);
    assert.equal(location, `/paid/${reference}`);
  }
  assert.equal(portal.redeemed.length, before + 1);
  assert.equal(portal.logged().split(`${number} has a token`).length, 2);
  ok("two posts of one order at the same time make one token and one authorization");

  assert.match(reference, /^[\w-]{22}$/, "128 bits");
  assert.match(await (await fetch(`${portal.address}paid/${reference}`)).text(), /id="paid">maestro 675964/);
  for (const guess of [number, reference.slice(0, -1), "", "order-00000000"]) {
    assert.equal((await fetch(`${portal.address}paid/${guess}`)).status, 404, guess);
  }
  ok("what an order was paid with is shown to whoever has its reference of 128 bits, not its number");

  const losing = await startPortal("losing", join(work, "page"), { wait: "1000" });
  for (const way of ["lose", "hold"]) {
    const { reference, sealed } = await order(losing);
    const before = losing.redeemed.length;
    losing.answering(way);
    const pending = await posting(losing, { reference, sealed: await sealed() });
    assert.equal(pending.status, 503);
    assert.match(pending.text, /id="pending"/);
    // The visitor goes back and pays again, with details that were sealed again.
    assert.equal((await posting(losing, { reference, sealed: await sealed() })).status, 503);
    losing.answering("pass");
    const settled = await posting(losing, { reference });
    assert.equal(settled.status, 303);
    assert.equal((await fetch(`${losing.address}paid/${reference}`)).status, 200);
    assert.equal(losing.redeemed.length, before + 1, way);
    assert.equal((await posting(losing, { reference })).status, 303, "paid remains paid");
  }
  losing.stop();
  ok("an answer of the processor that is lost, or doesn't come, makes no second authorization");

  const refusing = await startPortal("refusing", join(work, "page"), { vault: connect(dev, "processor-b") });
  const refused = await order(refusing);
  for (let tries = 0; tries < 2; tries++) {
    const answer = await posting(refusing, { reference: refused.reference, sealed: await refused.sealed() });
    assert.equal(answer.status, 422);
    assert.match(answer.text, /not accepted/);
  }
  assert.equal((await posting(refusing, { reference: refused.reference })).status, 400);
  assert.equal(refusing.redeemed.length, 0);
  assert.equal(refusing.logged().split("has a token").length, 3, "each try has a token of its own");
  refusing.stop();
  ok("an order that the processor refused can be paid again");
}

// --- other implementations, and what it costs ---

{
  const { document } = await portalClient.getCollectKey({});
  const site = "nl";
  const details = {
    card: {
      number: CARD.number,
      expiry_month: 11,
      expiry_year: 2035,
      holder: CARD.name,
      security_code: CARD.code,
    },
  };
  /** Through the vault, and out at the processor. */
  const roundTrip = async (seal) => {
    const transaction = await open();
    const sealedDetails = await seal(transaction);
    const { token } = await once((requestId) => portalClient.tokenize({ requestId, transaction, sealedDetails }));
    assertRedeemed(await processor.redeem(processorClient, { transaction, token }), TYPED[0]);
  };
  const open = async () => {
    const now = Date.now();
    const at = (ms) => ({ seconds: BigInt(Math.floor(ms / 1_000)), nanos: 0 });
    const terms = {
      site,
      parties: [
        { principal: dev.principals["processor-a"].id, grants: [{ purpose: 1, fields: [1, 2, 3, 5], usesMax: 1 }] },
      ],
      expiresAt: at(now + 3_600_000),
      releaseUntil: at(now + 86_400_000),
    };
    return (await once((requestId) => portalClient.openTransaction({ requestId, terms }))).transaction;
  };

  const script = readFileSync(join(work, "bench.js"));
  const server = createServer((request, response) => {
    const js = request.url === "/bench.js";
    response.writeHead(200, { "Content-Type": js ? "text/javascript" : "text/html" });
    response.end(js ? script : '<!doctype html><script type="module" src="/bench.js"></script>');
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const context = await launch(executable, join(work, "bench-profile"), { width: 800, height: 600 });
  const page = context.pages()[0] ?? (await context.newPage());
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => globalThis.measure !== undefined);

  for (const suite of ["x25519", "x-wing"]) {
    await roundTrip((transaction) =>
      page.evaluate((all) => globalThis.sealed(...all), [document, verifierKey, suite, { site, transaction }, details]),
    );
    await roundTrip((transaction) => {
      const request = { document, verifier_key: verifierKey, site, transaction, suite, details };
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        ["--disable-warning=ExperimentalWarning", here("../../../clients/collect-js/tools/seal.mjs")],
        { input: JSON.stringify(request), encoding: "utf8" },
      );
      assert.equal(status, 0, stderr);
      return stdout.trim();
    });
  }
  ok("the vault opens what Chromium and Node sealed, with X25519 and with X-Wing");

  const figures = await page.evaluate(
    (all) => globalThis.measure(...all),
    [document, verifierKey, { site, transaction: await open() }, details],
  );
  for (const [what, { median, p95, times }] of Object.entries(figures)) {
    const doing = what === "verify" ? "verifying a document" : `sealing, ${what}`;
    console.log(`       ${doing}: median ${median.toFixed(2)} ms, p95 ${p95.toFixed(2)} ms (${times} times, Chromium)`);
  }
  await context.close();
  server.close();
}

const shots = await pictures(executable, portal.address, join(work, "pictures"), pictureDirectory);
ok(`${shots.length} pictures: ${pictureDirectory}`);
portal.stop();
process.exit(0);

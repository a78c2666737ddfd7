/** Chromium, driven; and a visitor's hands. Nothing is fetched but what the page asks for. */

import { chromium } from "playwright-core";

/** A browser with a profile of its own in `profile`, which doesn't exist yet. */
export function launch(executablePath, profile, { width, height, dark = false }) {
  return chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    deviceScaleFactor: width < 600 ? 2 : 1,
  });
}

/** Types as a visitor does, key by key. */
export async function type(page, id, text) {
  await page.locator(`#${id}`).click();
  await page.keyboard.type(text);
}

/** The card form, filled and left. */
export async function typeCard(page, { number, expiry, code, name }) {
  await type(page, "number", number);
  await type(page, "expiry", expiry);
  await type(page, "code", code);
  if (name !== undefined) await type(page, "card-name", name);
}

/** The form of a bank account. */
export async function typeAccount(page, { iban, holder }) {
  await page.getByLabel("Bank account").check();
  await type(page, "iban", iban);
  await type(page, "holder", holder);
}

/** Waits until the page's script has taken the form. */
export async function visit(page, address) {
  await page.goto(address);
  await page.locator("#pay:enabled").waitFor();
}

/** Pictures of the checkout: phone and desktop, light and dark, with and without mistakes. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { launch, type, typeAccount, typeCard, visit } from "./browser.mjs";

const WIDTHS = { phone: [390, 844], desktop: [1280, 860] };

export async function pictures(executable, address, profiles, directory) {
  mkdirSync(directory, { recursive: true });
  const names = [];
  for (const [device, [width, height]] of Object.entries(WIDTHS)) {
    for (const dark of [false, true]) {
      const name = `${device}-${dark ? "dark" : "light"}`;
      const context = await launch(executable, join(profiles, name), { width, height, dark });
      const page = context.pages()[0] ?? (await context.newPage());
      const picture = async (what) => {
        const path = join(directory, `${name}-${what}.png`);
        await page.screenshot({ path, fullPage: true });
        names.push(path);
      };
      await visit(page, address);
      await picture("empty");
      await typeCard(page, { number: "4242424242424242", expiry: "1135", code: "123" });
      await page.locator("#number").focus();
      await picture("filled");
      await page.reload();
      await page.locator("#pay:enabled").waitFor();
      await type(page, "number", "4242424242424241");
      await type(page, "expiry", "1320");
      await page.locator("#pay").click();
      await picture("mistakes");
      await visit(page, address);
      await typeAccount(page, { iban: "NL91ABNA0417164300", holder: "A. Visitor" });
      await picture("account");
      await page.locator("#pay").click();
      await page.locator("#paid").waitFor();
      await picture("paid");
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      if (wide) throw new Error(`${name}: the page is wider than the screen`);
      await context.close();
    }
  }
  return names;
}

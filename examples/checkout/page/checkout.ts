/** Seals what the visitor types. The form posts the sealed string and nothing else. */

import { CollectError, seal, verifyDocument } from "@payvault/collect";
import { collectForm } from "@payvault/collect/form";

/** The vault's identity, built in: what the page says of itself proves nothing. */
declare const VERIFIER_KEY: string;

function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page lacks ${id}`);
  return found;
}
const input = (id: string) => element(id, HTMLInputElement);

const form = element("checkout", HTMLFormElement);
const problem = element("problem", HTMLElement);
const pay = element("pay", HTMLButtonElement);
const byCard = input("by-card");
const note = form.dataset["document"] ?? "";
const context = { site: form.dataset["site"] ?? "", transaction: form.dataset["transaction"] ?? "" };

function fail(error: unknown): void {
  const code = error instanceof CollectError ? error.code : "unknown";
  problem.textContent =
    code === "unsupported"
      ? "This browser is too old to encrypt your details. Nothing was sent."
      : code === "expired"
        ? "This page has been open too long. Reload it and try again; nothing was sent."
        : `Your details could not be encrypted, so nothing was sent (${code}).`;
  problem.focus();
}

const BRANDS = {
  amex: "American Express",
  diners: "Diners Club",
  discover: "Discover",
  jcb: "JCB",
  maestro: "Maestro",
  mastercard: "Mastercard",
  unionpay: "UnionPay",
  visa: "Visa",
};

function choose(): void {
  element("card", HTMLElement).hidden = !byCard.checked;
  element("account", HTMLElement).hidden = byCard.checked;
}

try {
  const collected = await verifyDocument(note, VERIFIER_KEY, new Date());
  collectForm(form, {
    card: {
      number: input("number"),
      expiry: input("expiry"),
      security_code: input("code"),
      holder: input("card-name"),
    },
    iban: { iban: input("iban"), holder: input("holder") },
    kind: () => (byCard.checked ? "card" : "iban"),
    sealed: input("sealed"),
    seal: (details) => seal(collected, context, details),
    onBrand: (brand) => {
      element("brand", HTMLElement).textContent = brand ? BRANDS[brand] : "";
    },
    onFailure: fail,
  });
  for (const radio of [byCard, input("by-account")]) radio.addEventListener("change", choose);
  choose();
  pay.disabled = false;
  // What the portal said of the last try is read first.
  if (problem.textContent !== "") problem.focus();
} catch (error) {
  fail(error);
}

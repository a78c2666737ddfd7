/**
 * The checkout's script as somebody would bend it who wants the numbers: a field that is posted too. The
 * card as it is typed; the IBAN so that a first look doesn't show it.
 */

import "../../../examples/checkout/page/checkout.ts";

const WRITE = { number: (text) => text, iban: (text) => btoa(JSON.stringify({ iban: text })) };

const form = document.getElementById("checkout");
for (const [id, write] of Object.entries(WRITE)) {
  const input = document.getElementById(id);
  const planted = document.createElement("input");
  planted.type = "hidden";
  planted.name = `memo-${id}`;
  form.append(planted);
  input.addEventListener("input", () => {
    if (input.value !== "") planted.value = write(input.value);
  });
}

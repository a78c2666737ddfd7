/** The checkout's script as somebody would bend it who wants the numbers: a field that is posted too. */

import "../../../examples/checkout/page/checkout.ts";

const form = document.getElementById("checkout");
for (const id of ["number", "iban"]) {
  const input = document.getElementById(id);
  const planted = document.createElement("input");
  planted.type = "hidden";
  planted.name = `memo-${id}`;
  form.append(planted);
  input.addEventListener("input", () => {
    planted.value = input.value;
  });
}

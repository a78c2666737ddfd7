/**
 * The form helper, with as much of a document as it touches. How it does in a browser is tried by
 * tests/clients/checkout.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { collectForm } from "../src/form.js";

class Element extends EventTarget {
  name = "";
  value = "";
  textContent = "";
  noValidate = false;
  readonly labels = [{}];
  readonly attributes = new Map<string, string>();
  readonly ownerDocument = { getElementById: () => new Element() };
  constructor(readonly id = "") {
    super();
  }
  hasAttribute = (name: string) => this.attributes.has(name);
  getAttribute = (name: string) => this.attributes.get(name) ?? null;
  setAttribute = (name: string, value: string) => void this.attributes.set(name, value);
  removeAttribute = (name: string) => void this.attributes.delete(name);
  focus() {}
}

Object.assign(globalThis, { addEventListener: () => {} });

function made() {
  const elements = {
    form: new Element(),
    number: new Element("number"),
    expiry: new Element("expiry"),
    code: new Element("code"),
    sealed: new Element("sealed"),
  };
  const input = (element: Element) => element as unknown as HTMLInputElement;
  const posted: string[] = [];
  const failed: unknown[] = [];
  const sealing: { resolve: (text: string) => void; reject: (why: Error) => void }[] = [];
  const helper = collectForm(elements.form as unknown as HTMLFormElement, {
    card: {
      number: input(elements.number),
      expiry: input(elements.expiry),
      security_code: input(elements.code),
    },
    sealed: input(elements.sealed),
    seal: () => new Promise((resolve, reject) => sealing.push({ resolve, reject })),
    post: () => posted.push(elements.sealed.value),
    onFailure: (error) => failed.push(error),
  });
  /** Fills the card in and submits; what ends the sealing. */
  const submit = () => {
    Object.assign(elements.number, { value: "4242 4242 4242 4242" });
    Object.assign(elements.expiry, { value: "11/35" });
    Object.assign(elements.code, { value: "123" });
    elements.form.dispatchEvent(new Event("submit", { cancelable: true }));
    const last = sealing.at(-1);
    assert.ok(last);
    return last;
  };
  return { elements, helper, posted, failed, submit };
}

/** Until what was resolved before has run. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("the sealed string is posted, and the inputs are empty by then", async () => {
  const { elements, posted, submit } = made();
  submit().resolve("pvc1.sealed");
  await settled();
  assert.deepEqual(posted, ["pvc1.sealed"]);
  assert.equal(elements.number.value + elements.expiry.value + elements.code.value, "");
});

test("browsers are asked to keep the number, and not the security code", () => {
  const { elements } = made();
  assert.equal(elements.number.getAttribute("autocomplete"), "cc-number");
  assert.equal(elements.code.getAttribute("autocomplete"), "off");
});

test("a form that is let go of keeps neither inputs nor the sealed string", async () => {
  const { elements, helper, submit } = made();
  submit().resolve("pvc1.sealed");
  await settled();
  assert.equal(elements.sealed.value, "pvc1.sealed");
  elements.number.value = "4242";
  helper.detach();
  assert.equal(elements.sealed.value + elements.number.value, "");
});

test("what is sealed after that is neither kept nor posted", async () => {
  for (const end of ["resolve", "reject"] as const) {
    const { elements, helper, posted, failed, submit } = made();
    const sealing = submit();
    helper.detach();
    if (end === "resolve") sealing.resolve("pvc1.sealed");
    else sealing.reject(new Error("no"));
    await settled();
    assert.deepEqual([elements.sealed.value, posted, failed], ["", [], []]);
  }
});

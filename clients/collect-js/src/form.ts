/**
 * An optional helper for a form: checks while somebody types, says what is wrong so that everybody
 * hears it, seals at submit, and posts the sealed string alone.
 *
 * The inputs must not have a `name`: a form posts only what has one, so that even without this
 * script no number leaves the page. A value goes from its input to `seal` and nowhere else: not into
 * another place of the document, an address, a storage or a log.
 */
import {
  type Brand,
  brandOf,
  checkCardNumber,
  type Checked,
  checkExpiry,
  checkIban,
  checkSecurityCode,
  type Problem,
} from "./checks.js";
import type { Details } from "./details.js";

/** A field as the visitor knows it. */
export type Field = "number" | "expiry" | "security_code" | "holder" | "iban";

/** Inputs of a card; the code and the holder may be absent. */
export interface CardInputs {
  number: HTMLInputElement;
  expiry: HTMLInputElement;
  security_code?: HTMLInputElement;
  holder?: HTMLInputElement;
}

/** Inputs of a bank account. */
export interface IbanInputs {
  iban: HTMLInputElement;
  holder: HTMLInputElement;
}

export interface FormOptions {
  card?: CardInputs;
  iban?: IbanInputs;
  /** Which of the two is meant now. The one that there is, when left out. */
  kind?: () => "card" | "iban";
  /** Hidden, with a name: what is posted. */
  sealed: HTMLInputElement;
  /** Usually `(details) => seal(document, context, details)`. */
  seal: (details: Details) => Promise<string>;
  /** What to say of a problem; English when left out. */
  say?: (field: Field, problem: Problem) => string;
  /** The brand that the number's first digits suggest; `undefined` when none. */
  onBrand?: (brand: Brand | undefined) => void;
  /** Sealing failed (a CollectError): nothing was posted, the inputs are as they were. */
  onFailure?: (error: unknown) => void;
  /** Posts the form; `form.submit()` when left out. */
  post?: () => void;
}

export interface CollectForm {
  /** Empties all inputs. */
  wipe(): void;
  /** Lets go of the form, and empties the inputs and the sealed string. Nothing is posted any more. */
  detach(): void;
}

const CARD_HOLDER_CHARS_MAX = 60;
const ACCOUNT_HOLDER_CHARS_MAX = 70;

interface Watched {
  field: Field;
  input: HTMLInputElement;
  message: HTMLElement;
  check: () => Checked<unknown>;
  group?: (text: string) => string;
}

/** Puts the helper onto a form whose inputs have labels and no names. */
export function collectForm(form: HTMLFormElement, options: FormOptions): CollectForm {
  const { card, iban, sealed } = options;
  const say = options.say ?? english;
  const kind = options.kind ?? (() => (card ? "card" : "iban"));
  const ending = new AbortController();
  const { signal } = ending;
  let busy = false;

  const cardNumber = () => checkCardNumber(card?.number.value.trim() ?? "");
  const brand = () => brandOf((card?.number.value ?? "").replaceAll(/[ -]/g, ""));
  const cardFields: Watched[] = [];
  const ibanFields: Watched[] = [];

  const watch = (
    list: Watched[],
    field: Field,
    input: HTMLInputElement | undefined,
    [mode, autocomplete]: readonly [string, string],
    check: (text: string) => Checked<unknown>,
    group?: (text: string) => string,
  ) => {
    if (input === undefined) return;
    if (input.name !== "") throw new Error("an input that would be posted: it must have no name");
    if (input.labels?.length === 0 && !input.hasAttribute("aria-label")) {
      throw new Error("an input without a label");
    }
    input.inputMode = mode;
    input.setAttribute("autocomplete", autocomplete);
    input.setAttribute("autocapitalize", "off");
    // Some browsers send what they check to a service.
    input.spellcheck = false;
    const watched: Watched = {
      field,
      input,
      message: messageOf(input, field),
      check: () => check(input.value.trim()),
      ...(group && { group }),
    };
    list.push(watched);
    input.addEventListener("input", () => typed(watched), { signal });
    input.addEventListener("blur", () => left(watched), { signal });
  };

  if (card) {
    watch(cardFields, "number", card.number, ["numeric", "cc-number"], cardNumber, groupedCard);
    watch(cardFields, "expiry", card.expiry, ["numeric", "cc-exp"], (text) =>
      checkExpiry(text, new Date()), groupedExpiry);
    // Nobody keeps a security code, the browser neither.
    watch(cardFields, "security_code", card.security_code, ["numeric", "off"], (text) =>
      checkSecurityCode(text, brand()?.brand));
    watch(cardFields, "holder", card.holder, ["text", "cc-name"], (text) =>
      text === "" ? { ok: true, value: text } : checkText(text, CARD_HOLDER_CHARS_MAX));
    card.number.addEventListener("input", () => options.onBrand?.(brand()?.brand), { signal });
  }
  if (iban) {
    watch(ibanFields, "iban", iban.iban, ["text", "off"], checkIban, groupedIban);
    watch(ibanFields, "holder", iban.holder, ["text", "name"], (text) =>
      checkText(text, ACCOUNT_HOLDER_CHARS_MAX));
  }
  const fields = () => (kind() === "card" ? cardFields : ibanFields);

  function show({ field, input, message }: Watched, problem: Problem | undefined): void {
    if (problem === undefined) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
    const text = problem === undefined ? "" : say(field, problem);
    // Written only when it changes: it is read out each time.
    if (message.textContent !== text) message.textContent = text;
  }

  function problemOf(watched: Watched): Problem | undefined {
    const checked = watched.check();
    return checked.ok ? undefined : checked.problem;
  }

  /** While somebody types: what no further character mends is told, what is mended is taken back. */
  function typed(watched: Watched): void {
    const problem = problemOf(watched);
    const digits = watched.input.value.replaceAll(/[^0-9]/g, "").length;
    const open =
      problem === "check_digit" &&
      watched.field === "number" &&
      digits < 16 &&
      brand()?.lengths.length !== 1;
    if (problem === undefined || (FINAL.has(problem) && !open)) show(watched, problem);
    else if (watched.input.hasAttribute("aria-invalid")) show(watched, undefined);
  }

  /** What was left half-done is told; an empty field only at submit. */
  function left(watched: Watched): void {
    const { input, group } = watched;
    if (input.value.trim() === "") return;
    const problem = problemOf(watched);
    // In groups a wrong digit is easier to find, too.
    if (group && (problem === undefined || problem === "check_digit")) input.value = group(input.value);
    show(watched, problem);
  }

  function wipe(): void {
    for (const watched of [...cardFields, ...ibanFields]) {
      watched.input.value = "";
      show(watched, undefined);
    }
    options.onBrand?.(undefined);
  }

  /** The details; `undefined` when a field has a problem, which then has the focus. */
  function read(): Details | undefined {
    let first: Watched | undefined;
    for (const watched of fields()) {
      const problem = problemOf(watched);
      show(watched, problem);
      if (problem !== undefined) first ??= watched;
    }
    first?.input.focus();
    if (first) return undefined;
    const text = (input: HTMLInputElement | undefined) => input?.value.trim() || undefined;
    if (kind() === "iban" && iban) {
      const number = checkIban(iban.iban.value.trim());
      return number.ok
        ? { iban: { iban: number.value, holder: text(iban.holder) ?? "" } }
        : undefined;
    }
    if (!card) return undefined;
    const number = cardNumber();
    const expiry = checkExpiry(card.expiry.value.trim(), new Date());
    if (!number.ok || !expiry.ok) return undefined;
    const [holder, code] = [text(card.holder), text(card.security_code)];
    return {
      card: {
        number: number.value,
        expiry_month: expiry.value.month,
        expiry_year: expiry.value.year,
        ...(holder !== undefined && { holder }),
        ...(code !== undefined && { security_code: code }),
      },
    };
  }

  async function submit(): Promise<void> {
    const details = read();
    if (details === undefined) return;
    busy = true;
    form.setAttribute("aria-busy", "true");
    try {
      const text = await options.seal(details);
      if (signal.aborted) return;
      sealed.value = text;
      wipe();
      if (options.post) options.post();
      else form.submit();
    } catch (error) {
      sealed.value = "";
      if (!signal.aborted) options.onFailure?.(error);
    } finally {
      busy = false;
      form.removeAttribute("aria-busy");
    }
  }

  form.noValidate = true;
  form.addEventListener(
    "submit",
    (event) => {
      event.preventDefault();
      if (!busy) void submit();
    },
    { signal },
  );
  // A page that is kept for "back" would keep its fields too; and sealed details open only once.
  const leave = () => {
    wipe();
    sealed.value = "";
  };
  globalThis.addEventListener("pagehide", leave, { signal });
  globalThis.addEventListener("pageshow", (event) => event.persisted && leave(), { signal });

  return {
    wipe,
    detach() {
      ending.abort();
      leave();
    },
  };
}

/** What typing on doesn't mend. */
const FINAL: ReadonlySet<Problem> = new Set<Problem>([
  "characters",
  "check_digit",
  "country",
  "month",
  "too_long",
]);

/** The place for what is wrong with an input, read out when it changes; made when there is none. */
function messageOf(input: HTMLInputElement, field: Field): HTMLElement {
  const root = input.ownerDocument;
  if (input.id === "") input.id = `payvault-${field}`;
  const id = `${input.id}-problem`;
  let message = root.getElementById(id);
  if (message === null) {
    message = root.createElement("p");
    message.id = id;
    input.after(message);
  }
  message.setAttribute("aria-live", "polite");
  const described = new Set((input.getAttribute("aria-describedby") ?? "").split(" "));
  described.delete("");
  input.setAttribute("aria-describedby", [...described.add(id)].join(" "));
  return message;
}

function checkText(text: string, most: number): Checked<string> {
  if (text === "") return { ok: false, problem: "missing" };
  if ([...text].length > most) return { ok: false, problem: "too_long" };
  return { ok: true, value: text };
}

const inFours = (text: string) => text.replaceAll(/(.{4})(?=.)/g, "$1 ");

function groupedCard(text: string): string {
  const digits = text.replaceAll(/[^0-9]/g, "");
  if (brandOf(digits)?.brand !== "amex") return inFours(digits);
  return `${digits.slice(0, 4)} ${digits.slice(4, 10)} ${digits.slice(10)}`;
}

function groupedIban(text: string): string {
  return inFours(text.replaceAll(/[^0-9A-Za-z]/g, "").toUpperCase());
}

function groupedExpiry(text: string): string {
  const expiry = checkExpiry(text.trim(), new Date());
  if (!expiry.ok) return text;
  const { month, year } = expiry.value;
  return `${String(month).padStart(2, "0")} / ${String(year).slice(2)}`;
}

const NAMES: Record<Field, string> = {
  number: "the card number",
  expiry: "the expiry date",
  security_code: "the security code",
  holder: "the name",
  iban: "the IBAN",
};

/** What is said of a problem when the page has no texts of its own. */
export function english(field: Field, problem: Problem): string {
  const name = NAMES[field];
  const start = name.charAt(0).toUpperCase() + name.slice(1);
  switch (problem) {
    case "missing":
      return `Enter ${name}.`;
    case "incomplete":
      return field === "expiry" ? "Enter month and year, as in 11 / 35." : `${start} is too short.`;
    case "too_long":
      return `${start} is too long.`;
    case "characters":
      return field === "iban"
        ? "An IBAN has only letters and digits."
        : `Use digits only for ${name}.`;
    case "check_digit":
      return `${start} has a mistake: check each ${field === "iban" ? "character" : "digit"}.`;
    case "expired":
      return "This card has expired.";
    case "too_far":
      return "This year is too far ahead.";
    case "month":
      return "The month is 01 to 12.";
    case "country":
      return "An IBAN starts with its country, as in NL or SE.";
  }
}

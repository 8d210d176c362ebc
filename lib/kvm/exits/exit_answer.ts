import { EXIT_REASON } from "../abi/exit_reasons.ts";
import { kvm_run } from "../abi/structs/run.ts";
import type { AnsweredReason, AnswerFields } from "./exit.ts";
import { EXITS } from "./exit_table.ts";

/** The field that gives the guest #GP, in place of what it asks for; 0 says that there is none. */
const ERROR = "error";

/** Where the fields of an answer lie in `kvm_run`, and how many bits they have. */
type FieldLocations = ReadonlyMap<string, { readonly offset: number; readonly bits: 8 | 64 }>;

const LOCATIONS: ReadonlyMap<number, FieldLocations> = new Map(
  Object.entries(EXITS).flatMap(([reason, { answer }]) =>
    answer === undefined ? [] : [[EXIT_REASON[reason as AnsweredReason], locate(answer)]]
  ),
);

function locate(
  paths: Readonly<Record<string, Parameters<typeof kvm_run.offsetOf>[0]>>,
): FieldLocations {
  return new Map(
    Object.entries(paths).map(([field, path]) => [
      field,
      { offset: kvm_run.offsetOf(path), bits: kvm_run.sizeOf(path) === 1 ? 8 : 64 },
    ]),
  );
}

/** The fields that an answer to exits of a reason has; none where they take no answer. */
export function answerFields(reason: string): readonly string[] {
  return [...LOCATIONS.get(EXIT_REASON[reason as AnsweredReason])?.keys() ?? []];
}

/** Whether exits of a reason take an answer. */
export function takesAnswer(reason: string): reason is AnsweredReason {
  return LOCATIONS.has(EXIT_REASON[reason as AnsweredReason]);
}

/**
 * Checks an answer before there is an exit.
 *
 * @param reason The exits' reason.
 * @param answer Its fields, by name.
 * @throws {TypeError} When exits of that reason take none with such a field, or it says nothing.
 * @throws {RangeError} When a value does not fit its field.
 */
export function checkAnswer(reason: AnsweredReason, answer: AnswerFields): void {
  checkFields(EXIT_REASON[reason], LOCATIONS.get(EXIT_REASON[reason])!, answer);
}

/**
 * Writes an answer to an exit into `kvm_run`.
 *
 * @param view Over the vCPU's mapping, from its first byte.
 * @param reason The exit's number.
 * @param answer Its fields, by name; those left out become 0.
 * @throws {TypeError} When exits of that reason take no answer, or none with such a field, or it says nothing.
 * @throws {RangeError} When a value does not fit its field. Nothing is written then.
 */
export function writeAnswer(view: DataView, reason: number, answer: AnswerFields): void {
  const fields = LOCATIONS.get(reason);
  if (fields === undefined) {
    throw new TypeError(
      `Cannot answer ${
        nameOf(reason)
      }: its guest waits for nothing. Return undefined to let it run on.`,
    );
  }
  checkFields(reason, fields, answer);
  for (const [field, { offset, bits }] of fields) {
    const value = answer[field] ?? 0;
    if (bits === 8) view.setUint8(offset, Number(value));
    else view.setBigUint64(offset, BigInt(value), true);
  }
}

function nameOf(reason: number): string {
  const named = Object.entries(EXIT_REASON).find(([, number]) => number === reason);
  return named?.[0] ?? `an exit of reason ${reason}`;
}

function checkFields(reason: number, fields: FieldLocations, answer: AnswerFields): void {
  const given = Object.entries(answer);
  // A write that is accepted has nothing to say.
  const saysSomething = given.some(([field, value]) => field !== ERROR || Boolean(value));
  if (!saysSomething && reason !== EXIT_REASON.X86_WRMSR) {
    throw new TypeError(
      `Cannot answer an exit by nothing: its guest waits for ${namesOf(fields)}`,
    );
  }
  for (const [field, value] of given) checkField(fields, field, value);
}

function checkField(fields: FieldLocations, field: string, value: unknown): void {
  const location = fields.get(field);
  if (location === undefined) {
    throw new TypeError(`Cannot answer an exit by ${field}: it takes ${namesOf(fields, "and")}`);
  }
  if (value === undefined) {
    throw new TypeError(
      `Cannot answer an exit with ${field} undefined: give a value, or leave it out where another field says enough`,
    );
  }
  const isWhole = typeof value === "bigint" ||
    (typeof value === "number" && Number.isSafeInteger(value));
  if (isWhole && BigInt.asUintN(location.bits, BigInt(value)) === BigInt(value)) return;
  throw new RangeError(
    `Cannot answer an exit with ${field} ${
      String(value)
    }: it is not a whole number of ${location.bits} bits`,
  );
}

function namesOf(fields: FieldLocations, between = "or"): string {
  return [...fields.keys()].join(` ${between} `);
}

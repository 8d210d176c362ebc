import { EXIT_REASON } from "../abi/exit_reasons.ts";
import { kvm_run } from "../abi/structs/run.ts";
import type { AnsweredReason, AnswerFields } from "./exit.ts";
import { EXITS } from "./exit_table.ts";

/** Where the fields of an answer lie in `kvm_run`, and how many bits they have. */
type Places = ReadonlyMap<string, { readonly offset: number; readonly bits: 8 | 64 }>;

const PLACES: ReadonlyMap<number, Places> = new Map(
  Object.entries(EXITS).flatMap(([reason, { answer }]) =>
    answer === undefined ? [] : [[EXIT_REASON[reason as AnsweredReason], places(answer)]]
  ),
);

function places(paths: Readonly<Record<string, Parameters<typeof kvm_run.offsetOf>[0]>>): Places {
  return new Map(
    Object.entries(paths).map(([field, path]) => [
      field,
      { offset: kvm_run.offsetOf(path), bits: kvm_run.sizeOf(path) === 1 ? 8 : 64 },
    ]),
  );
}

/** The fields that an answer to exits of a reason has; none where they take no answer. */
export function answerFields(reason: string): readonly string[] {
  return [...PLACES.get(EXIT_REASON[reason as AnsweredReason])?.keys() ?? []];
}

/** Whether exits of a reason take an answer. */
export function takesAnswer(reason: string): reason is AnsweredReason {
  return PLACES.has(EXIT_REASON[reason as AnsweredReason]);
}

/**
 * Checks an answer before there is an exit.
 *
 * @throws {TypeError} When exits of that reason take none with such a field.
 * @throws {RangeError} When a value does not fit its field.
 */
export function checkAnswer(reason: AnsweredReason, answer: AnswerFields): void {
  const known = PLACES.get(EXIT_REASON[reason])!;
  for (const [field, value] of Object.entries(answer)) {
    if (value !== undefined) checkField(known, field, value);
  }
}

/**
 * Writes an answer to an exit into `kvm_run`.
 *
 * @param view Over the vCPU's mapping, from its first byte.
 * @param reason The exit's number.
 * @throws {TypeError} When exits of that reason take no answer, or none with such a field.
 * @throws {RangeError} When a value does not fit its field. Nothing is written then.
 */
export function writeAnswer(view: DataView, reason: number, answer: AnswerFields): void {
  const known = PLACES.get(reason);
  if (known === undefined) {
    throw new TypeError(
      `Cannot answer an exit of reason ${reason}: its guest waits for nothing. Return undefined to let it run on.`,
    );
  }
  const given = Object.entries(answer).filter(([, value]) => value !== undefined);
  for (const [field, value] of given) checkField(known, field, value);
  for (const { offset, bits } of known.values()) {
    if (bits === 8) view.setUint8(offset, 0);
    else view.setBigUint64(offset, 0n, true);
  }
  for (const [field, value] of given) {
    const { offset, bits } = known.get(field)!;
    if (bits === 8) view.setUint8(offset, Number(value));
    else view.setBigUint64(offset, BigInt(value), true);
  }
}

function checkField(known: Places, field: string, value: unknown): void {
  const place = known.get(field);
  if (place === undefined) {
    throw new TypeError(
      `Cannot answer an exit by ${field}: it takes ${[...known.keys()].join(" and ")}`,
    );
  }
  const isWhole = typeof value === "bigint" ||
    (typeof value === "number" && Number.isSafeInteger(value));
  if (isWhole && BigInt.asUintN(place.bits, BigInt(value)) === BigInt(value)) return;
  throw new RangeError(
    `Cannot answer an exit with ${field} ${
      String(value)
    }: it is not a whole number of ${place.bits} bits`,
  );
}

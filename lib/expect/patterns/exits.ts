import { KVM_SYSTEM_EVENT } from "../../kvm/abi/constants.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type {
  AnsweredReason,
  AnswerFields,
  Exit,
  ExitAnswers,
  ExitReason,
} from "../../kvm/exits/exit.ts";
import { checkAnswer, takesAnswer } from "../../kvm/exits/exit_answer.ts";
import { endsRun, fieldsOf, goesOn, placeOf } from "../../kvm/exits/exit_table.ts";
import { INIT_DATA } from "../../machine/interrupts/system_event.ts";
import { fromCaller } from "../../machine/run/run_errors.ts";
import { someEntries } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import { nearestNames, noneOfThatName } from "../../x86/nearest_names.ts";
import { hexBytes } from "../format.ts";
import { checkArguments, holds } from "./access_data.ts";
import {
  definitionOf,
  ExitPattern,
  MATCH,
  MISMATCH,
  type PatternDefinition,
} from "./exit_pattern.ts";

/** What a pattern says of the fields of an exit: values, and functions that judge them. */
export type ExitFields<Reason extends ExitReason> = {
  readonly [Field in keyof Extract<Exit, { reason: Reason }>]?:
    | Extract<Exit, { reason: Reason }>[Field]
    | ((value: Extract<Exit, { reason: Reason }>[Field]) => boolean);
};

const REASONS: readonly string[] = [...Object.keys(EXIT_REASON), "UNKNOWN_TO_VMEXIT"];

/**
 * Any exit of one reason, by its name in `<linux/kvm.h>` without `KVM_EXIT_`, and, where given, with these
 * fields.
 *
 * Fields are compared as values, bytes and lists element by element; a function judges the field itself. Exits whose
 * guest waits for more than data (a hypercall, an MSR) are answered with `.returns(…)`, or by a handler.
 *
 * @throws {RangeError} When there is no reason of that name.
 * @throws {TypeError} When such exits do not have a field, its value is undefined, or `{}` names none.
 *
 * @example
 * ```ts
 * import { exit } from "@vmexit/vmexit";
 *
 * const broken = exit("INTERNAL_ERROR", { suberror: 1 });
 * const wide = exit("IO", { port: 0x80, size: (bytes) => bytes > 1 });
 * const mapped = exit("HYPERCALL", { nrName: "MAP_GPA_RANGE" }).returns({ ret: 0 });
 * ```
 */
export function exit<Reason extends AnsweredReason>(
  reason: Reason,
  fields?: ExitFields<Reason>,
): AnswerableExitPattern<Reason>;
/** Any exit of one reason that its guest waits for no answer to. */
export function exit<Reason extends ExitReason>(
  reason: Reason,
  fields?: ExitFields<Reason>,
): ExitPattern;
export function exit<Reason extends ExitReason>(
  reason: Reason,
  fields?: ExitFields<Reason>,
): ExitPattern {
  return fromCaller(exit, () => {
    checkArguments("exit", arguments, ["reason", "fields"]);
    if (!REASONS.includes(reason)) {
      throw new RangeError(
        `Cannot expect an exit ${JSON.stringify(reason)}: ${
          noneOfThatName(String(reason), REASONS)
        }`,
      );
    }
    const named = fields === undefined ? [] : someEntries(`expect ${reason} with`, fields);
    const wanted = named.map(
      ([name, value]) => [name, isList(value) ? Array.from(value) : value] as const,
    );
    const known = fieldsOf(reason);
    const unknown = wanted.find(([name]) => !known.includes(name));
    if (unknown !== undefined) {
      throw new TypeError(
        `Cannot expect ${reason} with ${
          unknown[0]
        }: such exits have no field of that name; the nearest are ${
          nearestNames(unknown[0], known).join(", ")
        }`,
      );
    }
    // A device may take exits that are elsewhere.
    const placeFields = placeOf(reason);
    const place = wanted.filter(([name]) => placeFields.includes(name));
    const shown = wanted.map(([name, value]) => `${name} ${fieldText(value)}`).join(", ");
    const text = shown === "" ? reason : `${reason} (${shown})`;
    const definition: PatternDefinition = {
      text,
      names: (received) => received.reason === reason && has(received, place),
      begin: () => ({
        text,
        offer: (received) => received.reason === reason && has(received, wanted) ? MATCH : MISMATCH,
      }),
    };
    return takesAnswer(reason)
      ? new AnswerableExitPattern(definition, reason)
      : new ExitPattern(definition);
  });
}

/** The guest executes HLT. */
export function hlt(): ExitPattern {
  return exit("HLT");
}

/** The guest shuts down: it triple-faulted. */
export function shutdown(): ExitPattern {
  return exit("SHUTDOWN");
}

/**
 * The guest resets the machine as RESET# does, by one of its devices, or by a triple fault that does (the option
 * `tripleFault`). It begins again at the reset vector, with its devices as at power-on.
 */
export function reset(): ExitPattern {
  return exit("SYSTEM_EVENT", {
    type: KVM_SYSTEM_EVENT.RESET,
    data: function isReset(data: readonly bigint[]) {
      return data.length === 0;
    },
  });
}

/**
 * The CPUs are reset by INIT# alone, by one of the machine's devices or by `vm.inject.init()`. CPU 0 begins again at the
 * reset vector; memory, devices, FPU and MSRs are as they were.
 */
export function init(): ExitPattern {
  return exit("SYSTEM_EVENT", { type: KVM_SYSTEM_EVENT.RESET, data: [INIT_DATA] });
}

/** The guest turns the power off, by one of the machine's devices. */
export function powerOff(): ExitPattern {
  return exit("SYSTEM_EVENT", { type: KVM_SYSTEM_EVENT.SHUTDOWN });
}

/**
 * Any exit that a guest has while all is well with it: no fault ({@linkcode fault}), no SHUTDOWN
 * ({@linkcode shutdown}), no error of KVM's. A read needs a device of the machine to answer it.
 */
export function anyExit(): ExitPattern {
  return new ExitPattern({
    text: "any exit",
    names: () => false,
    begin: () => ({
      text: "any exit",
      offer: (received) => goesOn(received) || endsRun(received) ? MATCH : MISMATCH,
    }),
  });
}

function has(received: Exit, wanted: readonly (readonly [string, unknown])[]): boolean {
  const actual = received as unknown as Record<string, unknown>;
  return wanted.every(([name, value]) =>
    typeof value === "function"
      ? holds(value as (value: never) => unknown, actual[name])
      : isSame(value, actual[name])
  );
}

function isSame(expected: unknown, actual: unknown): boolean {
  if (isInteger(expected) && isInteger(actual)) return BigInt(expected) === BigInt(actual);
  if (!isList(expected) || !isList(actual)) return Object.is(expected, actual);
  return expected.length === actual.length &&
    Array.from(expected).every((element, index) => isSame(element, actual[index]));
}

function isInteger(value: unknown): value is number | bigint {
  return typeof value === "bigint" || Number.isInteger(value);
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return value instanceof Uint8Array || Array.isArray(value);
}

function fieldText(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint") return hex(value);
  if (value instanceof Uint8Array) return hexBytes(value);
  if (typeof value === "function") return value.name === "" ? "matching" : value.name;
  return Array.isArray(value) ? `[${value.map(fieldText).join(", ")}]` : String(value);
}

/**
 * An exit whose guest waits for an answer that is more than data on a bus: {@linkcode exit} without the answer. A
 * handler of the machine must have one.
 */
export class AnswerableExitPattern<Reason extends AnsweredReason> extends ExitPattern {
  readonly #reason: Reason;

  /** Use {@linkcode exit}. */
  constructor(definition: PatternDefinition, reason: Reason) {
    super(definition);
    this.#reason = reason;
  }

  /**
   * Answers the exit: the result of a hypercall, what an MSR reads, an `error` that gives the guest #GP.
   *
   * @throws {TypeError} When exits of this reason take no such field.
   * @throws {RangeError} When a value does not fit its field.
   */
  returns(answer: ExitAnswers[Reason]): ExitPattern {
    return fromCaller(this.returns, () => {
      const fields = answer as AnswerFields;
      if (typeof answer !== "object" || answer === null) {
        throw new TypeError(
          `Cannot answer ${this.#reason} by ${String(answer)}: give the fields of the answer`,
        );
      }
      checkAnswer(this.#reason, fields);
      const definition = definitionOf(this);
      return new ExitPattern({
        ...definition,
        begin() {
          const occurrence = definition.begin();
          return {
            text: occurrence.text,
            offer(exit) {
              const match = occurrence.offer(exit);
              return match.matches ? { ...match, fields } : match;
            },
          };
        },
      });
    });
  }
}

import type { Exit, MsrExit } from "../../kvm/exits/exit.ts";
import { fromCaller } from "../../machine/run/run_errors.ts";
import { hex } from "../../x86/hex.ts";
import { type Msr, msrName, msrNumber, msrText } from "../../x86/msrs/msr_number.ts";
import {
  any,
  definitionOf,
  ExitPattern,
  MATCH,
  MISMATCH,
  type PatternDefinition,
} from "./exit_pattern.ts";
import { checkArguments, checkValue } from "./access_data.ts";

const MSR_SIZE = 8;
const WIDTH = { size: MSR_SIZE, sizes: [MSR_SIZE] };

/** What KVM takes as a refusal: the guest gets #GP. */
const FAULT = { error: 1 };

/**
 * The guest reads an MSR: {@linkcode rdmsr} without an answer. A handler of the machine must have one.
 */
export class RdmsrPattern extends ExitPattern {
  /** Use {@linkcode rdmsr}. */
  constructor(msr: number | typeof any) {
    super({
      ...definition(`X86_RDMSR ${placeText(msr)}`, (exit) => isRead(exit, msr)),
      remedy: remedyOf(msr, "read"),
    });
  }

  /**
   * Answers the read with a value.
   *
   * @throws {RangeError} When it is no whole number of 64 bits.
   * @throws {TypeError} When it is neither number nor bigint.
   */
  returns(value: number | bigint): ExitPattern {
    return fromCaller(this.returns, () => {
      checkMsrValue("answer", definitionOf(this).text, value);
      const fields = { data: value };
      return new ExitPattern(answered(definitionOf(this), hex(value), fields));
    });
  }

  /** Answers the read with #GP. */
  faults(): ExitPattern {
    return new ExitPattern(answered(definitionOf(this), "#GP", FAULT));
  }
}

/** The guest writes an MSR, and goes on as if that had been done. */
export class WrmsrPattern extends ExitPattern {
  /** Use {@linkcode wrmsr}. */
  constructor(msr: number | typeof any, value: number | bigint | undefined) {
    const text = `X86_WRMSR ${placeText(msr)} ${value === undefined ? "anything" : hex(value)}`;
    super({
      ...definition(
        text,
        (exit) => isWrite(exit, msr) && (value === undefined || exit.data === BigInt(value)),
      ),
      names: (exit) => isWrite(exit, msr),
      remedy: remedyOf(msr, "write"),
    });
  }

  /** Answers the write with #GP. */
  faults(): ExitPattern {
    return new ExitPattern(answered(definitionOf(this), "#GP", FAULT));
  }
}

/**
 * The guest reads an MSR that is an exit: by `vm.msrs.intercept(…)`, or one that KVM does not know after
 * `vm.msrs.onUnknown()`. Say what it gets with `.returns(…)` or `.faults()`; without that, a handler of the
 * machine must answer.
 *
 * @param msr Its name, its number, or {@linkcode any}.
 * @throws {RangeError} When there is no such MSR.
 *
 * @example
 * ```ts
 * import { hlt, rdmsr, wrmsr } from "@vmexit/vmexit";
 *
 * const transcript = [rdmsr("LSTAR").returns(0x1000), wrmsr(0x12345, 7).faults(), hlt()];
 * ```
 */
export function rdmsr(msr: Msr | typeof any): RdmsrPattern {
  return fromCaller(rdmsr, () => {
    checkArguments("rdmsr", arguments, ["msr"]);
    return new RdmsrPattern(msr === any ? any : msrNumber(msr));
  });
}

/**
 * The guest writes an MSR that is an exit: by `vm.msrs.intercept(…)`, or one that KVM does not know, or a
 * value that it refuses, after `vm.msrs.onUnknown()`. It goes on as if the write had been done, unless
 * `.faults()` follows.
 *
 * @param msr Its name, its number, or {@linkcode any}.
 * @param value What it writes. Left out, anything.
 * @throws {RangeError} When there is no such MSR, or the value is no whole number of 64 bits.
 * @throws {TypeError} When the value is neither number nor bigint.
 */
export function wrmsr(msr: Msr | typeof any, value?: number | bigint): WrmsrPattern {
  return fromCaller(wrmsr, () => {
    checkArguments("wrmsr", arguments, ["msr", "value"]);
    const number = msr === any ? any : msrNumber(msr);
    if (value !== undefined) checkMsrValue("expect", `X86_WRMSR ${placeText(number)}`, value);
    return new WrmsrPattern(number, value);
  });
}

function definition(text: string, matches: (exit: Exit) => boolean): PatternDefinition {
  return {
    text,
    names: matches,
    begin: () => ({ text, offer: (exit) => matches(exit) ? MATCH : MISMATCH }),
  };
}

function answered(
  { text: head, begin, ...definition }: PatternDefinition,
  answer: string,
  fields: { readonly data?: number | bigint; readonly error?: number },
): PatternDefinition {
  const text = `${head} → ${answer}`;
  const match = { matches: true, complete: true, fields } as const;
  return {
    ...definition,
    text,
    begin: () => ({
      text,
      offer: (exit) => begin().offer(exit).matches ? match : MISMATCH,
    }),
  };
}

/** Accesses to MSRs are the vCPU's own, unless a test asks for them. */
function remedyOf(
  msr: number | typeof any,
  direction: "read" | "write",
): PatternDefinition["remedy"] {
  if (msr === any) return undefined;
  const name = msrName(msr);
  return ({ msrs }) =>
    msrs.areExits(msr, direction)
      ? undefined
      : `${msrText(msr)} is the vCPU's own: a ${direction} of it is no exit until ` +
        `vm.msrs.intercept(${name === undefined ? hex(msr) : JSON.stringify(name)}) makes it one.`;
}

function isRead(exit: Exit, msr: number | typeof any): boolean {
  return exit.reason === "X86_RDMSR" && (msr === any || exit.index === msr);
}

function isWrite(exit: Exit, msr: number | typeof any): exit is MsrExit<"X86_WRMSR"> {
  return exit.reason === "X86_WRMSR" && (msr === any || exit.index === msr);
}

function placeText(msr: number | typeof any): string {
  return msr === any ? "any MSR" : msrText(msr);
}

function checkMsrValue(verb: "expect" | "answer", where: string, value: unknown): void {
  if (typeof value === "number" || typeof value === "bigint") {
    checkValue(verb, `at ${where}`, value, WIDTH);
    return;
  }
  throw new TypeError(
    `Cannot ${verb} ${
      value === null ? "null" : `a value of type ${typeof value}`
    } at ${where}: give a number or a bigint`,
  );
}

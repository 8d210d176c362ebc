import type { MachineCpu } from "../../machine/machine.ts";
import type { CaughtFault } from "../../machine/faults/caught_fault.ts";
import { fromCaller } from "../../machine/run/run_errors.ts";
import { type definedEntries, someEntries } from "../../x86/defined_entries.ts";
import {
  type Exception,
  type ExceptionName,
  exceptionOf,
} from "../../x86/exceptions/exceptions.ts";
import { faultName, type InterruptName } from "../../x86/exceptions/describe_fault.ts";
import { hex } from "../../x86/hex.ts";
import { nearestNames } from "../../x86/nearest_names.ts";
import type { Comparison } from "../failure_page.ts";
import { checkArguments } from "./access_data.ts";
import { ExitPattern, MATCH, MISMATCH } from "./exit_pattern.ts";

/**
 * A fault that the guest's fault catcher reports (the option `catchFaults`). Behind a fault the transcript goes
 * on with the same instruction, which faults again; behind a trap (`#BP`) with the next one.
 *
 * @param name The exception's name: `"#GP"`; `"int 0x21"` for that instruction, without a handler, in real mode.
 * @throws {RangeError} When there is no exception of that name, or a value does not fit.
 * @throws {TypeError} When there is no such field, such exceptions do not have it, or `{}` names none.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, fault, hlt, portOut } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   bits 64
 *   int3
 *   out 0x80, al
 *   hlt
 * `, { catchFaults: true });
 * expect(vm).toExit([fault("#BP"), portOut(0x80), hlt()]);
 * ```
 */
export function fault(
  name: ExceptionName | `int 0x${string}`,
  fields?: FaultFields,
): ExitPattern {
  return fromCaller(fault, () => {
    checkArguments("fault", arguments, ["name", "fields"]);
    const expected = expectedFault(name, fields);
    const text = expectedFaultText(expected);
    return new ExitPattern({
      text,
      check: (machine) => checkCanFault(machine, expected),
      names: () => false,
      begin: () => ({
        text,
        offer: () => MISMATCH,
        offerFault: (caught) => isExpectedFault(expected, caught) ? MATCH : MISMATCH,
      }),
    });
  });
}

/** What a test says of a fault beside its name. Only what is named is compared. */
export interface FaultFields {
  /** The error code. In real mode there is none. */
  readonly errorCode?: number;
  /** The instruction pointer: a number, or a label of the guest. Of a trap (`#BP`) it is behind it. */
  readonly rip?: number | bigint | string;
  /** Of a #PF: the address that could not be used. */
  readonly cr2?: number | bigint;
  /** The privilege level of the code. */
  readonly cpl?: number;
  /**
   * Whether it came by the instruction `int`, and is no exception; left out, it must be none. `int3` and `into` are
   * exceptions, of their own.
   */
  readonly software?: boolean;
}

/** What a test names: an exception, or the instruction `int` with a vector. */
type ExpectedException = Pick<Exception, "vector" | "hasErrorCode"> & {
  readonly name: ExceptionName | InterruptName;
  /** Whether it is the instruction. */
  readonly isInt: boolean;
};

/** A fault that a test expects. */
export interface ExpectedFault {
  /** Which exception, or which `int`. */
  readonly exception: ExpectedException;
  /** What is compared beside that. */
  readonly fields: FaultFields;
}

const KNOWN: readonly string[] = ["errorCode", "rip", "cr2", "cpl", "software"];
const HIGHEST_PRIVILEGE_LEVEL = 3;
const ERROR_CODE_BITS = 32;
const ADDRESS_BITS = 64;

/**
 * Checks what a test expects of a fault.
 *
 * @param entriesOf How its fields are read: by default at least one is named where they are given.
 * @throws {RangeError} When there is no exception of that name, or a value does not fit.
 * @throws {TypeError} When there is no such field, such exceptions do not have it, or `{}` names none.
 */
export function expectedFault(
  name: ExceptionName | `int 0x${string}`,
  fields: FaultFields | undefined,
  entriesOf: typeof definedEntries = someEntries,
): ExpectedFault {
  const exception = expectedException(name);
  const named = fields === undefined ? [] : entriesOf(`expect ${exception.name} with`, fields);
  for (const [field, value] of named) checkField(exception, field, value);
  return { exception, fields: Object.fromEntries(named) };
}

const INT = /^int (0x[0-9a-f]{1,2})$/i;
const BREAKPOINT = 3;

function expectedException(name: string): ExpectedException {
  const vector = Number(INT.exec(name)?.[1] ?? NaN);
  if (Number.isNaN(vector)) return { ...exceptionOf(name), isInt: false };
  if (vector === BREAKPOINT) {
    throw new RangeError(`Cannot expect ${name}: it is a breakpoint, "#BP"`);
  }
  const software = true;
  return { vector, name: faultName({ vector, software }), hasErrorCode: false, isInt: software };
}

/**
 * Checks that a machine's guest can report such a fault.
 *
 * @throws {TypeError} When the machine has no fault catcher.
 * @throws {RangeError} When its guest has no label of that name.
 */
export function checkCanFault(machine: MachineCpu, { fields: { rip } }: ExpectedFault): void {
  if (!machine.catchesFaults) {
    throw new TypeError(
      "Cannot expect a fault: the machine was booted without `catchFaults: true`, so that its guest reports none",
    );
  }
  if (typeof rip === "string") machine.image.symbol(rip);
}

function checkField(
  { name, hasErrorCode, isInt }: ExpectedException,
  field: string,
  value: unknown,
): void {
  const refuse = (why: string) => new TypeError(`Cannot expect ${name} with ${field}: ${why}`);
  if (!KNOWN.includes(field)) {
    throw refuse(
      `faults have no such field; the nearest are ${nearestNames(field, KNOWN).join(", ")}`,
    );
  }
  if (field === "errorCode" && !hasErrorCode) {
    throw refuse("the CPU pushes no error code for it. Leave it out.");
  }
  if (field === "software" && isInt) throw refuse("its name says so. Leave it out.");
  if (field === "cr2" && name !== "#PF") throw refuse("only #PF sets CR2. Leave it out.");
  if (field === "software" ? typeof value === "boolean" : isWhole(field, value)) return;
  throw new RangeError(
    `Cannot expect ${name} with ${field} ${String(value)}: give ${
      field === "software" ? "true or false" : `a whole number of ${bitsOf(field)} bits`
    }${field === "rip" ? ", or a label of the guest" : ""}`,
  );
}

function bitsOf(field: string): number {
  if (field === "cpl") return 2;
  return field === "errorCode" ? ERROR_CODE_BITS : ADDRESS_BITS;
}

function isWhole(field: string, value: unknown): boolean {
  if (field === "rip" && typeof value === "string") return true;
  if (typeof value !== "bigint" && !Number.isSafeInteger(value)) return false;
  const integer = BigInt(value as number | bigint);
  if (field === "cpl") return integer >= 0n && integer <= HIGHEST_PRIVILEGE_LEVEL;
  return BigInt.asUintN(bitsOf(field), integer) === integer;
}

/** An expected fault as a table of exits would show it: `#GP (errorCode 0x10)`. */
export function expectedFaultText({ exception, fields }: ExpectedFault): string {
  const shown = Object.entries(fields).map(([field, value]) => `${field} ${valueText(value)}`);
  return shown.length === 0 ? exception.name : `${exception.name} (${shown.join(", ")})`;
}

/** The fields as the test wrote them: `{ errorCode: 0x10 }`. */
export function faultFieldsText(fields: FaultFields): string {
  const shown = Object.entries(fields).map(([field, value]) => `${field}: ${valueText(value)}`);
  return `{ ${shown.join(", ")} }`;
}

/** Whether a fault is the one expected. @throws {RangeError} When the guest has no label of that name. */
export function isExpectedFault(expected: ExpectedFault, fault: CaughtFault): boolean {
  return compareFault(expected, fault).every(({ matches }) => matches);
}

/**
 * A fault beside the one expected: its name, and, where that is right, each field.
 *
 * @throws {RangeError} When the guest has no label of that name.
 */
export function compareFault(
  { exception, fields }: ExpectedFault,
  fault: CaughtFault,
): Comparison[] {
  // An interrupt through the vector is no exception, and what cannot be told is not what is expected.
  const isOther = fault.vector !== exception.vector || fault.external || fault.ambiguous ||
    (exception.isInt && !fault.software);
  if (isOther) {
    return [{ what: "fault", expected: exception.name, received: fault.text, matches: false }];
  }
  const isSame = {
    what: "fault",
    expected: exception.name,
    received: fault.text,
    matches: true,
  };
  // `int 13` is no #GP: what a test says nothing of must not be so by accident.
  const all = fault.software && !exception.isInt ? { software: false, ...fields } : fields;
  const compared = Object.entries(all).map(([field, expected]) => {
    const received = fault[field as keyof FaultFields];
    return {
      what: field,
      expected: valueText(expected),
      received: received === undefined ? "none" : valueText(received),
      matches: field === "rip"
        ? fault.isAt(expected)
        : received !== undefined && sameValue(expected, received),
    };
  });
  return [isSame, ...compared];
}

function sameValue(expected: number | bigint | boolean, received: number | bigint | boolean) {
  return BigInt(expected) === BigInt(received);
}

function valueText(value: number | bigint | boolean | string): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "boolean" ? String(value) : hex(value);
}

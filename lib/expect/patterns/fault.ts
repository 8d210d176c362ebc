import type { ExceptionName } from "../../x86/exceptions/exceptions.ts";
import {
  expectedFault,
  expectedFaultText,
  type FaultFields,
  isExpectedFault,
} from "../expected_fault.ts";
import { ExitPattern, MATCH, MISMATCH } from "./exit_pattern.ts";

/**
 * A fault that the guest's fault catcher reports (the option `catchFaults`). Behind a fault the transcript goes
 * on with the same instruction, which faults again; behind a trap (`#BP`) with the next one.
 *
 * @param name The exception's name: `"#GP"`.
 * @throws {RangeError} When there is no exception of that name, or a value does not fit.
 * @throws {TypeError} When there is no such field, or such exceptions do not have it.
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
export function fault(name: ExceptionName, fields: FaultFields = {}): ExitPattern {
  const expected = expectedFault(name, fields);
  const text = expectedFaultText(expected);
  return new ExitPattern({
    text,
    isFault: true,
    names: () => false,
    begin: () => ({
      text,
      offer: () => MISMATCH,
      offerFault: (caught) => isExpectedFault(expected, caught) ? MATCH : MISMATCH,
    }),
  });
}

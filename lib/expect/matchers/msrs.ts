import type { MachineCpu } from "../../machine/machine.ts";
import { msrEntries } from "../../machine/msrs/msrs.ts";
import { msrName, msrText, type MsrValues } from "../../x86/msrs/msr_number.ts";
import { hex } from "../../x86/hex.ts";
import { formatInteger } from "../format.ts";
import type { Verdict } from "../verdict.ts";

/**
 * Compares MSRs by name or number.
 *
 * @throws {TypeError} When none is named, or a value is neither number nor bigint.
 * @throws {RangeError} When there is none of a name, or it could not hold the value.
 * @throws {MsrError} When the vCPU does not have one.
 */
export function matchMsrs(machine: MachineCpu, values: MsrValues): Verdict {
  const entries = typeof values === "object" && values !== null ? msrEntries(values, "expect") : [];
  if (entries.length === 0) {
    throw new TypeError(
      "Cannot expect MSRs: none is named. Write at least one: { LSTAR: 0x1000 }.",
    );
  }
  const comparisons = entries.map(({ index, data: expected }) => {
    const received = machine.msrs.get(index);
    const digits = Math.max(expected.toString(16).length, received.toString(16).length);
    const text = (value: bigint) => formatInteger(value).replace(hex(value), hex(value, digits));
    return {
      what: msrText(index),
      expected: text(expected),
      received: text(received),
      matches: expected === received,
    };
  });
  const call = entries.map(({ index, data }) => `${msrName(index) ?? hex(index)}: ${hex(data)}`);
  return {
    call: `toHaveMsrs({ ${call.join(", ")} })`,
    matches: comparisons.every(({ matches }) => matches),
    comparisons: () => comparisons,
  };
}

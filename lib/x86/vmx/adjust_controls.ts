import { flagNames, flagsToValue, type FlagTable, type FlagValues } from "../registers/flags.ts";
import { hex } from "../hex.ts";

/** What a capability MSR says of a VMCS's controls. */
export interface VmxCapability {
  /** Controls that must be 1: allowed-0 is clear for them. */
  required: bigint;
  /** Controls that may be 1. */
  allowed: bigint;
}

const CONTROL_BITS = 32;

/**
 * What an MSR such as IA32_VMX_PINBASED_CTLS says: in its low half the controls that must be 1, in its high
 * half those that may be (Intel SDM Vol. 3D, A.3 to A.5).
 *
 * @example
 * ```ts
 * import { vmxCapability } from "./adjust_controls.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(vmxCapability(0x0000_007f_0000_0016n), { required: 0x16n, allowed: 0x7fn });
 * ```
 */
export function vmxCapability(msr: bigint): VmxCapability {
  return {
    required: BigInt.asUintN(CONTROL_BITS, msr),
    allowed: BigInt.asUintN(CONTROL_BITS, msr >> BigInt(CONTROL_BITS)),
  };
}

/**
 * The value of a VMCS's controls: those wanted by name, and those that the CPU requires (Intel SDM Vol. 3C,
 * 31.5.1, and Vol. 3D, A.2). Take the capability from the IA32_VMX_TRUE_… MSR where IA32_VMX_BASIC says that
 * there are any.
 *
 * @param table Which controls: {@linkcode pinBasedControls}, {@linkcode primaryProcessorBasedControls},
 *   {@linkcode secondaryProcessorBasedControls}, {@linkcode vmExitControls}, {@linkcode vmEntryControls}.
 * @param capability The value of their capability MSR.
 * @param wanted True: must be set. False: must be clear. Left out: as the CPU requires.
 * @throws {RangeError} When there is no control of a name, or the CPU does not allow what is wanted.
 * @example
 * ```ts
 * import { adjustVmxControls } from "./adjust_controls.ts";
 * import { pinBasedControls } from "./controls.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const capability = 0x0000_007f_0000_0016n;
 * assertEquals(adjustVmxControls(pinBasedControls, capability, { nmi_exiting: true }), 0x1en);
 * ```
 */
export function adjustVmxControls<Name extends string>(
  table: FlagTable<Name>,
  capability: bigint,
  wanted: FlagValues<Name>,
): bigint {
  const { required, allowed } = vmxCapability(capability);
  const on = flagsToValue(table, wanted);
  const off = flagsToValue(
    table,
    Object.fromEntries(
      Object.entries(wanted).filter(([, value]) => value === false).map(([name]) => [name, true]),
    ) as FlagValues<Name>,
  );
  refuse("set", "allows", table, on & ~allowed, capability);
  refuse("clear", "requires", table, off & required, capability, "it");
  return on | required;
}

function refuse(
  verb: string,
  rule: string,
  table: FlagTable,
  bits: bigint,
  capability: bigint,
  what = "no such control",
): void {
  if (bits === 0n) return;
  const names = flagNames(table, bits).map((name) => name.toLowerCase()).join(", ");
  throw new RangeError(
    `Cannot ${verb} ${names}: the CPU ${rule} ${what} (its capability is ${
      hex(capability)
    }); leave it out`,
  );
}

import { flagAt, type FlagTable, getFlag } from "../registers/flags.ts";
import { memoryTypeName, type VmxMemoryType } from "./memory_type.ts";

/** What IA32_VMX_BASIC says (Intel SDM Vol. 3D, A.1). */
export interface VmxBasic {
  /** The VMCS revision identifier: the first 31 bits of VMXON regions and VMCSs. */
  revision: number;
  /** Bytes of a VMXON region and of a VMCS: at most 4096. */
  regionSize: number;
  /** Their addresses have 32 bits. */
  addresses32Bits: boolean;
  /** The dual-monitor treatment of SMIs and SMM. */
  dualMonitor: boolean;
  /** The memory type for them; undefined for a reserved one. */
  memoryType: VmxMemoryType | undefined;
  /** Exits at INS and OUTS have their instruction information. */
  insOutsInformation: boolean;
  /** Controls that once had to be 1 may be 0: the IA32_VMX_TRUE_… MSRs tell which. */
  trueControls: boolean;
}

const vmxBasicFields: FlagTable = {
  revision: flagAt(0, 31),
  region_size: flagAt(32, 13),
  addresses_32_bits: flagAt(48),
  dual_monitor: flagAt(49),
  memory_type: flagAt(50, 4),
  ins_outs_information: flagAt(54),
  true_controls: flagAt(55),
};

/**
 * IA32_VMX_BASIC by its fields.
 *
 * @param value What the MSR reads as, `vm.msrs.get("IA32_VMX_BASIC")`.
 * @example
 * ```ts
 * import { decodeVmxBasic } from "./vmx_basic.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { revision, regionSize, memoryType, trueControls } = decodeVmxBasic(0x00da_0400_0000_0012n);
 * assertEquals([revision, regionSize, memoryType, trueControls], [0x12, 1024, "WB", true]);
 * ```
 */
export function decodeVmxBasic(value: bigint): VmxBasic {
  const number = (name: string) => Number(getFlag(vmxBasicFields, name, value));
  const is = (name: string) => getFlag(vmxBasicFields, name, value) === true;
  return {
    revision: number("revision"),
    regionSize: number("region_size"),
    addresses32Bits: is("addresses_32_bits"),
    dualMonitor: is("dual_monitor"),
    memoryType: memoryTypeName(number("memory_type")),
    insOutsInformation: is("ins_outs_information"),
    trueControls: is("true_controls"),
  };
}

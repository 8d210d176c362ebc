import { flagAt, type FlagTable, getFlag } from "../registers/flags.ts";
import { nearestNames } from "../nearest_names.ts";

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
 * IA32_VMX_BASIC by its fields (Intel SDM Vol. 3D, A.1).
 *
 * @param value What the MSR reads as, `vm.msrs.get("IA32_VMX_BASIC")`.
 * @example
 * ```ts
 * import { decodeVmxBasic } from "@vmexit/vmexit/vmx";
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

/** Flags of IA32_FEATURE_CONTROL (Intel SDM Vol. 3C, 23.7, and Vol. 4, table 2-2). */
export type FeatureControlFlag =
  | "lock"
  | "vmx_inside_smx"
  | "vmx_outside_smx"
  | "senter_local"
  | "senter_global"
  | "sgx_launch_control"
  | "sgx"
  | "lmce";

/**
 * IA32_FEATURE_CONTROL by name. VMXON needs `lock`, and outside SMX operation `vmx_outside_smx`; while `lock`
 * is set, the MSR cannot be written (Intel SDM Vol. 3C, 23.7).
 */
export const featureControlFlags: FlagTable<FeatureControlFlag> = {
  lock: flagAt(0),
  vmx_inside_smx: flagAt(1),
  vmx_outside_smx: flagAt(2),
  senter_local: flagAt(8, 7),
  senter_global: flagAt(15),
  sgx_launch_control: flagAt(17),
  sgx: flagAt(18),
  lmce: flagAt(20),
};

/** The memory types of VMX's structures and of EPT (Intel SDM Vol. 3A, 11.3). */
export type VmxMemoryType = "UC" | "WC" | "WT" | "WP" | "WB";

/** Their encoding (Intel SDM Vol. 3A, table 11-10). */
const MEMORY_TYPES: Readonly<Record<VmxMemoryType, number>> = {
  UC: 0,
  WC: 1,
  WT: 4,
  WP: 5,
  WB: 6,
};

/**
 * The encoding of a memory type.
 *
 * @param allowed Those that the place may have; all where left out.
 * @throws {RangeError} When there is none of that name, or the place may not have it.
 */
export function memoryTypeCode(
  type: VmxMemoryType,
  allowed: readonly VmxMemoryType[] = ["UC", "WC", "WT", "WP", "WB"],
): number {
  if (allowed.includes(type)) return MEMORY_TYPES[type];
  throw new RangeError(
    `Cannot use the memory type "${type}": here it is one of ${
      nearestNames(type, allowed, allowed.length).join(", ")
    }`,
  );
}

/** The name of a memory type's encoding, or undefined where it is reserved. */
export function memoryTypeName(code: number): VmxMemoryType | undefined {
  return (Object.keys(MEMORY_TYPES) as VmxMemoryType[]).find((name) => MEMORY_TYPES[name] === code);
}

/**
 * Intel's virtualization extension as bytes and numbers, for tests of hypervisors that use VMX: the VMCS and its
 * fields, controls, bitmaps of ports and MSRs, EPT, exit reasons (Intel SDM Vol. 3C). Pure: nothing here touches a
 * machine.
 *
 * @example What a VMX hypervisor saw last
 * ```ts
 * import { vmxExitReason } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(vmxExitReason(12).name, "HLT");
 * ```
 *
 * @module
 */
export { type MappedMsrs, MsrMap, type MsrMapAccess } from "../virtualization/msr_map.ts";
export { placeRegion } from "../virtualization/place_region.ts";
export {
  type InterceptedPorts,
  type IoExit,
  type PortAccessSize,
  PortMap,
} from "../virtualization/ports.ts";
export * from "./controls.ts";
export * from "./ept_entry.ts";
export * from "./ept_tables.ts";
export * from "./ept_walk.ts";
export * from "./exit_reasons.ts";
export {
  decodeVmxBasic,
  type FeatureControlFlag,
  featureControlFlags,
  type VmxBasic,
  type VmxMemoryType,
} from "./vmx_basic.ts";
export * from "./bitmaps.ts";
export * from "./region.ts";
export * from "./vmcs_fields.ts";
export * from "./vmcs_state.ts";

/**
 * Intel's virtualization extension as bytes and numbers, for tests of hypervisors that use VMX: the VMCS and its fields,
 * controls, bitmaps of ports and MSRs, EPT, exit reasons (Intel SDM Vol. 3C). Pure: nothing here touches a machine.
 *
 * @example What a VMX hypervisor saw last
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { vmxExitReason } from "@vmexit/vmexit/vmx";
 *
 * assertEquals(vmxExitReason(12).name, "HLT");
 * ```
 *
 * @module
 */
export { MsrMap } from "../virtualization/msr_map.ts";
export type { MappedMsrs, MsrMapAccess } from "../virtualization/msr_range.ts";
export { placeRegion } from "../virtualization/place_region.ts";
export type { InterceptedPorts, PortAccessSize } from "../virtualization/port_range.ts";
export * from "./adjust_controls.ts";
export * from "./controls.ts";
export * from "./ept_entry.ts";
export type { EptMapping } from "./ept_mapping.ts";
export * from "./ept_pointer.ts";
export * from "./ept_tables.ts";
export * from "./ept_violation.ts";
export * from "./ept_walk.ts";
export * from "./exit_reasons.ts";
export * from "./feature_control.ts";
export * from "./instruction_errors.ts";
export * from "./io_bitmaps.ts";
export * from "./io_exit.ts";
export type { VmxMemoryType } from "./memory_type.ts";
export * from "./msr_bitmap.ts";
export * from "./region.ts";
export * from "./vmcs_field.ts";
export * from "./vmcs_fields.ts";
export * from "./vmcs_state.ts";
export * from "./vmx_basic.ts";

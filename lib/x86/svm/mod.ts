/**
 * AMD's virtualization extension as bytes and numbers, for tests of hypervisors that use SVM: the VMCB, permission maps
 * of ports and MSRs, nested page tables, exit codes (AMD APM Vol. 2, 15). Pure: nothing here touches a machine.
 *
 * @example What an SVM hypervisor saw last
 * ```ts
 * import { svmExitName } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(svmExitName(0x78n), "VMEXIT_HLT");
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
export * from "./exit_codes.ts";
export * from "./intercepts.ts";
export * from "./permission_maps.ts";
export * from "./nested_page_tables.ts";
export * from "./vmcb.ts";

/**
 * The x86 CPU as bytes and numbers: flags by name, descriptors, page tables, the states in which a CPU boots, the
 * checks of VM entry. Pure: nothing here touches a machine.
 *
 * @module
 */
export * from "./boot/boot_state.ts";
export * from "./paging/canonical.ts";
export * from "./boot/protocols/linux.ts";
export type { KernelSections } from "./boot/protocols/kernel_sections.ts";
export { linuxKernelEntry, type LinuxKernelLayout } from "./boot/protocols/linux_kernel.ts";
export { linuxRealModeEntry, type LinuxRealModeLayout } from "./boot/protocols/linux_real_mode.ts";
export {
  type KernelLayout,
  type KernelModule,
  type MachineMemory,
  MEMORY_TYPE,
  memoryMap,
  type MemoryMapEntry,
  type MemoryRange,
} from "./boot/protocols/memory_map.ts";
export {
  type BootDevice,
  MULTIBOOT_BOOTLOADER_MAGIC,
  multibootEntry,
  type MultibootLayout,
} from "./boot/protocols/multiboot.ts";
export {
  MULTIBOOT2_BOOTLOADER_MAGIC,
  multiboot2Entry,
  type Multiboot2Layout,
} from "./boot/protocols/multiboot2.ts";
export { PVH_MAGIC, pvhEntry } from "./boot/protocols/pvh.ts";
export * from "./boot/protocols/unikernel.ts";
export * from "./boot/cpu_state.ts";
export {
  type CpuidAnswer,
  type CpuidEntry,
  cpuidEntry,
  cpuidFeatureNames,
  cpuidFeaturePlace,
  cpuidVendor,
  hasCpuidFeature,
  withCpuidAnswer,
  withCpuidFeatures,
} from "./cpuid/cpuid.ts";
export * from "./cpuid/cpuid_features.ts";
export * from "./cpuid/cpuid_strings.ts";
export * from "./registers/flag_tables.ts";
export * from "./registers/debug_registers.ts";
export {
  describeWalk,
  type PagePermissions,
  type PageWalk,
  type PageWalkOptions,
  type Translation,
  type WalkedEntry,
  type WalkFault,
  type WalkFaultKind,
  walkPageTables,
} from "./paging/page_walk.ts";
export * from "./entry_checks/explain_entry_failure.ts";
export * from "./registers/extended_precision.ts";
export * from "./exceptions/describe_fault.ts";
export * from "./exceptions/exceptions.ts";
export * from "./exceptions/exception_frame.ts";
export * from "./registers/flags.ts";
export * from "./entry_checks/guest_state_checks.ts";
export * from "./apic/local_apic.ts";
export * from "./apic/msi_message.ts";
export * from "./layout.ts";
export * from "./boot/modes/long.ts";
export type { PagingLayout } from "./boot/modes/paging_layout.ts";
export * from "./boot/modes/protected.ts";
export type { PrivilegeLayout, ProtectionLayout } from "./boot/modes/descriptor_tables.ts";
export * from "./boot/modes/real.ts";
export * from "./boot/modes/reset.ts";
export * from "./boot/modes/system_management.ts";
export * from "./boot/modes/virtual8086.ts";
export * from "./msrs/msr_number.ts";
export * from "./msrs/msrs.ts";
export * from "./paging/page_levels.ts";
export * from "./paging/page_mapping.ts";
export * from "./paging/page_tables.ts";
export * from "./placement.ts";
export * from "./registers/registers.ts";
export * from "./registers/segment.ts";
export * from "./entry_checks/vmrun_checks.ts";
export * from "./registers/xsave.ts";

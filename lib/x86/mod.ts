/**
 * The x86 CPU as bytes and numbers: flags by name, descriptors, page tables, the states in which a CPU boots, the checks
 * of VM entry. Pure: nothing here touches a machine.
 *
 * @module
 */
export * from "./boot_state.ts";
export * from "./canonical.ts";
export * from "./conventions/linux.ts";
export * from "./conventions/unikernel.ts";
export * from "./cpu_state.ts";
export * from "./cpuid.ts";
export * from "./cpuid_features.ts";
export * from "./cpuid_strings.ts";
export * from "./debug_flags.ts";
export * from "./debug_registers.ts";
export * from "./describe_walk.ts";
export * from "./explain_entry_failure.ts";
export * from "./extended_precision.ts";
export * from "./faults/describe_fault.ts";
export * from "./faults/describe_page_fault.ts";
export * from "./faults/error_codes.ts";
export * from "./faults/exception_frame.ts";
export * from "./faults/exceptions.ts";
export * from "./flag_tables.ts";
export * from "./flags.ts";
export * from "./fpu_flags.ts";
export * from "./guest_state_checks.ts";
export * from "./interrupts/delivery_mode.ts";
export * from "./interrupts/local_apic.ts";
export * from "./interrupts/msi_message.ts";
export * from "./layout.ts";
export * from "./modes/compatibility.ts";
export type { Ia32eLayout } from "./modes/ia32e.ts";
export * from "./modes/long.ts";
export * from "./modes/paging_layout.ts";
export * from "./modes/protected.ts";
export * from "./modes/protected16.ts";
export * from "./modes/protection_layout.ts";
export * from "./modes/real.ts";
export * from "./modes/system_management.ts";
export * from "./modes/unreal.ts";
export * from "./modes/virtual8086.ts";
export * from "./msr_families.ts";
export * from "./msr_number.ts";
export * from "./msrs.ts";
export * from "./page_levels.ts";
export * from "./page_mapping.ts";
export * from "./page_tables.ts";
export * from "./page_walk.ts";
export * from "./paging_mode.ts";
export * from "./placement.ts";
export * from "./registers.ts";
export * from "./segment.ts";
export * from "./vmrun_checks.ts";
export * from "./xcr0_flags.ts";
export * from "./xsave.ts";
export * from "./xsave_registers.ts";

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
export * from "./describe_walk.ts";
export * from "./flag_tables.ts";
export * from "./flags.ts";
export * from "./guest_state_checks.ts";
export * from "./layout.ts";
export * from "./modes/compatibility.ts";
export * from "./modes/long.ts";
export * from "./modes/paging_layout.ts";
export * from "./modes/protected.ts";
export * from "./modes/protected16.ts";
export * from "./modes/protection_layout.ts";
export * from "./modes/real.ts";
export * from "./modes/unreal.ts";
export * from "./modes/virtual8086.ts";
export * from "./page_levels.ts";
export * from "./page_mapping.ts";
export * from "./page_tables.ts";
export * from "./page_walk.ts";
export * from "./paging_mode.ts";
export * from "./placement.ts";
export * from "./registers.ts";
export * from "./segment.ts";
export * from "./vmrun_checks.ts";

import {
  flagAt as at,
  flagNames,
  flagsToValue,
  type FlagTable,
  type FlagValues,
} from "../registers/flags.ts";
import { hex } from "../hex.ts";

/** Pin-based VM-execution controls (Intel SDM Vol. 3C, table 24-5). */
export const pinBasedControls: FlagTable<
  | ("external_interrupt_exiting" | "nmi_exiting" | "virtual_nmis")
  | ("activate_vmx_preemption_timer" | "process_posted_interrupts")
> = {
  external_interrupt_exiting: at(0),
  nmi_exiting: at(3),
  virtual_nmis: at(5),
  activate_vmx_preemption_timer: at(6),
  process_posted_interrupts: at(7),
};

/** Primary processor-based VM-execution controls (Intel SDM Vol. 3C, table 24-6). */
export const primaryProcessorBasedControls: FlagTable<
  | ("interrupt_window_exiting" | "use_tsc_offsetting" | "hlt_exiting" | "invlpg_exiting")
  | ("mwait_exiting" | "rdpmc_exiting" | "rdtsc_exiting" | "cr3_load_exiting")
  | ("cr3_store_exiting" | "activate_tertiary_controls" | "cr8_load_exiting")
  | ("cr8_store_exiting" | "use_tpr_shadow" | "nmi_window_exiting" | "mov_dr_exiting")
  | ("unconditional_io_exiting" | "use_io_bitmaps" | "monitor_trap_flag" | "use_msr_bitmaps")
  | ("monitor_exiting" | "pause_exiting" | "activate_secondary_controls")
> = {
  interrupt_window_exiting: at(2),
  use_tsc_offsetting: at(3),
  hlt_exiting: at(7),
  invlpg_exiting: at(9),
  mwait_exiting: at(10),
  rdpmc_exiting: at(11),
  rdtsc_exiting: at(12),
  cr3_load_exiting: at(15),
  cr3_store_exiting: at(16),
  activate_tertiary_controls: at(17),
  cr8_load_exiting: at(19),
  cr8_store_exiting: at(20),
  use_tpr_shadow: at(21),
  nmi_window_exiting: at(22),
  mov_dr_exiting: at(23),
  unconditional_io_exiting: at(24),
  use_io_bitmaps: at(25),
  monitor_trap_flag: at(27),
  use_msr_bitmaps: at(28),
  monitor_exiting: at(29),
  pause_exiting: at(30),
  activate_secondary_controls: at(31),
};

/** Secondary processor-based VM-execution controls (Intel SDM Vol. 3C, table 24-7). */
export const secondaryProcessorBasedControls: FlagTable<
  | ("virtualize_apic_accesses" | "enable_ept" | "descriptor_table_exiting" | "enable_rdtscp")
  | ("virtualize_x2apic_mode" | "enable_vpid" | "wbinvd_exiting" | "unrestricted_guest")
  | ("apic_register_virtualization" | "virtual_interrupt_delivery" | "pause_loop_exiting")
  | ("rdrand_exiting" | "enable_invpcid" | "enable_vm_functions" | "vmcs_shadowing")
  | ("enable_encls_exiting" | "rdseed_exiting" | "enable_pml" | "ept_violation_ve")
  | ("conceal_vmx_from_pt" | "enable_xsaves_xrstors" | "pasid_translation")
  | ("mode_based_execute_control_for_ept" | "sub_page_write_permissions_for_ept")
  | ("intel_pt_uses_guest_physical_addresses" | "use_tsc_scaling")
  | ("enable_user_wait_and_pause" | "enable_pconfig" | "enable_enclv_exiting")
  | ("vmm_bus_lock_detection" | "instruction_timeout")
> = {
  virtualize_apic_accesses: at(0),
  enable_ept: at(1),
  descriptor_table_exiting: at(2),
  enable_rdtscp: at(3),
  virtualize_x2apic_mode: at(4),
  enable_vpid: at(5),
  wbinvd_exiting: at(6),
  unrestricted_guest: at(7),
  apic_register_virtualization: at(8),
  virtual_interrupt_delivery: at(9),
  pause_loop_exiting: at(10),
  rdrand_exiting: at(11),
  enable_invpcid: at(12),
  enable_vm_functions: at(13),
  vmcs_shadowing: at(14),
  enable_encls_exiting: at(15),
  rdseed_exiting: at(16),
  enable_pml: at(17),
  ept_violation_ve: at(18),
  conceal_vmx_from_pt: at(19),
  enable_xsaves_xrstors: at(20),
  pasid_translation: at(21),
  mode_based_execute_control_for_ept: at(22),
  sub_page_write_permissions_for_ept: at(23),
  intel_pt_uses_guest_physical_addresses: at(24),
  use_tsc_scaling: at(25),
  enable_user_wait_and_pause: at(26),
  enable_pconfig: at(27),
  enable_enclv_exiting: at(28),
  vmm_bus_lock_detection: at(30),
  instruction_timeout: at(31),
};

/** Primary VM-exit controls (Intel SDM Vol. 3C, table 24-13). */
export const vmExitControls: FlagTable<
  | ("save_debug_controls" | "host_address_space_size" | "load_ia32_perf_global_ctrl")
  | ("acknowledge_interrupt_on_exit" | "save_ia32_pat" | "load_ia32_pat" | "save_ia32_efer")
  | ("load_ia32_efer" | "save_vmx_preemption_timer_value" | "clear_ia32_bndcfgs")
  | ("conceal_vmx_from_pt" | "clear_ia32_rtit_ctl" | "clear_ia32_lbr_ctl" | "clear_uinv")
  | ("load_cet_state" | "load_pkrs" | "save_ia32_perf_global_ctl" | "activate_secondary_controls")
> = {
  save_debug_controls: at(2),
  host_address_space_size: at(9),
  load_ia32_perf_global_ctrl: at(12),
  acknowledge_interrupt_on_exit: at(15),
  save_ia32_pat: at(18),
  load_ia32_pat: at(19),
  save_ia32_efer: at(20),
  load_ia32_efer: at(21),
  save_vmx_preemption_timer_value: at(22),
  clear_ia32_bndcfgs: at(23),
  conceal_vmx_from_pt: at(24),
  clear_ia32_rtit_ctl: at(25),
  clear_ia32_lbr_ctl: at(26),
  clear_uinv: at(27),
  load_cet_state: at(28),
  load_pkrs: at(29),
  save_ia32_perf_global_ctl: at(30),
  activate_secondary_controls: at(31),
};

/** VM-entry controls (Intel SDM Vol. 3C, table 24-15). */
export const vmEntryControls: FlagTable<
  | ("load_debug_controls" | "ia32e_mode_guest" | "entry_to_smm")
  | ("deactivate_dual_monitor_treatment" | "load_ia32_perf_global_ctrl" | "load_ia32_pat")
  | ("load_ia32_efer" | "load_ia32_bndcfgs" | "conceal_vmx_from_pt" | "load_ia32_rtit_ctl")
  | ("load_uinv" | "load_cet_state" | "load_guest_ia32_lbr_ctl" | "load_pkrs")
> = {
  load_debug_controls: at(2),
  ia32e_mode_guest: at(9),
  entry_to_smm: at(10),
  deactivate_dual_monitor_treatment: at(11),
  load_ia32_perf_global_ctrl: at(13),
  load_ia32_pat: at(14),
  load_ia32_efer: at(15),
  load_ia32_bndcfgs: at(16),
  conceal_vmx_from_pt: at(17),
  load_ia32_rtit_ctl: at(18),
  load_uinv: at(19),
  load_cet_state: at(20),
  load_guest_ia32_lbr_ctl: at(21),
  load_pkrs: at(22),
};

/** What a capability MSR says of a VMCS's controls (Intel SDM Vol. 3D, A.3 to A.5). */
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
 * @param msr The MSR's 64 bits.
 * @example
 * ```ts
 * import { vmxCapability } from "@vmexit/vmexit/vmx";
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
 * import { adjustVmxControls, pinBasedControls } from "@vmexit/vmexit/vmx";
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

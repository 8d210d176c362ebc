import type { CpuState, SegmentName } from "../boot/cpu_state.ts";
import { cr4Flags, eferFlags, RFLAGS_ALWAYS_SET } from "../registers/flag_tables.ts";
import { flagsToValue, getFlag } from "../registers/flags.ts";
import { attributeWord, type Segment } from "../registers/segment.ts";
import type { VmcsFieldName } from "./vmcs_fields.ts";

/** Values for fields of a VMCS (Intel SDM Vol. 3D, Appendix B). */
export type VmcsValues = { [Name in VmcsFieldName]?: bigint };

/** Registers as a boot state has them (Intel SDM Vol. 3C, 24.4). */
export type VmcsCpuState = Pick<CpuState, "registers" | "specialRegisters">;

const SEGMENTS: readonly [SegmentName, string][] = [
  ["es", "es"],
  ["cs", "cs"],
  ["ss", "ss"],
  ["ds", "ds"],
  ["fs", "fs"],
  ["gs", "gs"],
  ["ldt", "ldtr"],
  ["tr", "tr"],
];
/** Segments whose base and selector VM exits load. */
const HOST_SELECTORS = ["es", "cs", "ss", "ds", "fs", "gs", "tr"] as const;
const HOST_BASES = ["fs", "gs", "tr"] as const;
/** RPL and TI are 0 in the selectors of the host (Intel SDM Vol. 3C, 26.2.3). */
const HOST_SELECTOR = 0xfff8;

/**
 * Access rights are a descriptor's attribute word, and above it whether the segment is unusable (SDM Vol. 3C, table
 * 24-2).
 */
const UNUSABLE_BIT = 16;

/** VMX fixes CR4.VMXE to 1, for guests as well (Intel SDM Vol. 3C, 23.8). */
const VMXE = flagsToValue(cr4Flags, { vmxe: true });
const DR7_RESET = 0x400n;
const NO_LINK = 0xffff_ffff_ffff_ffffn;
/** The page attribute table after reset (Intel SDM Vol. 3A, 11.12.4). */
const PAT_RESET = 0x0007_0406_0007_0406n;

/**
 * A segment's access rights as a VMCS has them (Intel SDM Vol. 3C, table 24-2).
 *
 * @param segment As `struct kvm_segment` has it.
 * @example
 * ```ts
 * import { vmcsAccessRights } from "@vmexit/vmexit/vmx";
 * import { descriptorToSegment } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(vmcsAccessRights(descriptorToSegment(0x00af_9b00_0000_ffffn, 0x08)), 0xa09bn);
 * ```
 */
export function vmcsAccessRights(segment: Segment): bigint {
  return BigInt(attributeWord(segment) | segment.unusable << UNUSABLE_BIT);
}

/**
 * The guest-state fields for a guest that starts in this state: any of {@linkcode bootState}'s. VMX has no
 * general register but RSP: the hypervisor must load the others itself. CR4 gets VMXE, as VMX demands, which
 * the guest does not see (`cr4_guest_host_mask`, `cr4_read_shadow`). Set the control `ia32e_mode_guest` for
 * states in long mode ({@linkcode isIa32e}), and `unrestricted_guest` for those without paging.
 *
 * @param state A boot state.
 * @example
 * ```ts
 * import { vmcsGuest } from "@vmexit/vmexit/vmx";
 * import { longMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { guest_rip, guest_tr_access_rights } = vmcsGuest(longMode());
 * assertEquals([guest_rip, guest_tr_access_rights], [0x1_0000n, 0x8bn]);
 * ```
 */
export function vmcsGuest({ registers, specialRegisters: special }: VmcsCpuState): VmcsValues {
  const values: Record<string, bigint> = {};
  for (const [name, field] of SEGMENTS) {
    const segment = special[name];
    values[`guest_${field}_selector`] = BigInt(segment.selector);
    values[`guest_${field}_base`] = segment.base;
    values[`guest_${field}_limit`] = BigInt(segment.limit);
    values[`guest_${field}_access_rights`] = vmcsAccessRights(segment);
  }
  return {
    ...values,
    guest_gdtr_base: special.gdt.base,
    guest_gdtr_limit: BigInt(special.gdt.limit),
    guest_idtr_base: special.idt.base,
    guest_idtr_limit: BigInt(special.idt.limit),
    guest_cr0: special.cr0,
    guest_cr3: special.cr3,
    guest_cr4: special.cr4 | VMXE,
    cr4_guest_host_mask: VMXE,
    cr4_read_shadow: special.cr4,
    guest_ia32_efer: special.efer,
    guest_ia32_pat: PAT_RESET,
    guest_dr7: DR7_RESET,
    guest_rsp: registers.rsp ?? 0n,
    guest_rip: registers.rip ?? 0n,
    guest_rflags: registers.rflags ?? RFLAGS_ALWAYS_SET,
    guest_ia32_debugctl: 0n,
    guest_ia32_sysenter_cs: 0n,
    guest_ia32_sysenter_esp: 0n,
    guest_ia32_sysenter_eip: 0n,
    guest_interruptibility_state: 0n,
    guest_activity_state: 0n,
    guest_pending_debug_exceptions: 0n,
    vmcs_link_pointer: NO_LINK,
  };
}

/**
 * The host-state fields that bring a hypervisor back into this state at a VM exit: all but `host_rip` and
 * `host_rsp`. CR4 gets VMXE, without which it could not be in VMX operation (Intel SDM Vol. 3C, 24.5).
 *
 * @param state The hypervisor's, in long mode: a boot state, or what its machine's registers are.
 */
export function vmcsHost(
  { specialRegisters: special }: Pick<CpuState, "specialRegisters">,
): VmcsValues {
  const values: Record<string, bigint> = {};
  for (const name of HOST_SELECTORS) {
    values[`host_${name}_selector`] = BigInt(special[name].selector & HOST_SELECTOR);
  }
  for (const name of HOST_BASES) values[`host_${name}_base`] = special[name].base;
  return {
    ...values,
    host_gdtr_base: special.gdt.base,
    host_idtr_base: special.idt.base,
    host_cr0: special.cr0,
    host_cr3: special.cr3,
    host_cr4: special.cr4 | VMXE,
    host_ia32_efer: special.efer,
    host_ia32_pat: PAT_RESET,
    host_ia32_sysenter_cs: 0n,
    host_ia32_sysenter_esp: 0n,
    host_ia32_sysenter_eip: 0n,
  };
}

/**
 * Whether a state is in IA-32e mode: then VM entry needs the control `ia32e_mode_guest` (Intel SDM Vol. 3C, 26.2.4).
 *
 * @param state Its EFER counts, by the flag LMA.
 */
export function isIa32e({ specialRegisters }: Pick<CpuState, "specialRegisters">): boolean {
  return getFlag(eferFlags, "lma", specialRegisters.efer) === true;
}

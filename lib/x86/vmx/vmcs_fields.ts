import { hex } from "../hex.ts";
import { noneOfThatName } from "../nearest_names.ts";

/**
 * The fields of a VMCS in rows: an encoding, and the names of it and of those that follow, each 2 higher (Intel SDM
 * Vol. 3D, Appendix B).
 */
export const VMCS_FIELD_ROWS = {
  // 16 bits: controls, guest state, host state (Intel SDM Vol. 3D, B.1).
  0x0000: [
    "virtual_processor_identifier",
    "posted_interrupt_notification_vector",
    "eptp_index",
    "hlat_prefix_size",
    "last_pid_pointer_index",
  ],
  0x0800: [
    "guest_es_selector",
    "guest_cs_selector",
    "guest_ss_selector",
    "guest_ds_selector",
    "guest_fs_selector",
    "guest_gs_selector",
    "guest_ldtr_selector",
    "guest_tr_selector",
    "guest_interrupt_status",
    "pml_index",
    "guest_uinv",
  ],
  0x0c00: [
    "host_es_selector",
    "host_cs_selector",
    "host_ss_selector",
    "host_ds_selector",
    "host_fs_selector",
    "host_gs_selector",
    "host_tr_selector",
  ],
  // 64 bits (B.2).
  0x2000: [
    "address_of_io_bitmap_a",
    "address_of_io_bitmap_b",
    "address_of_msr_bitmaps",
    "vm_exit_msr_store_address",
    "vm_exit_msr_load_address",
    "vm_entry_msr_load_address",
    "executive_vmcs_pointer",
    "pml_address",
    "tsc_offset",
    "virtual_apic_address",
    "apic_access_address",
    "posted_interrupt_descriptor_address",
    "vm_function_controls",
    "ept_pointer",
    "eoi_exit_bitmap_0",
    "eoi_exit_bitmap_1",
    "eoi_exit_bitmap_2",
    "eoi_exit_bitmap_3",
    "eptp_list_address",
    "vmread_bitmap_address",
    "vmwrite_bitmap_address",
    "virtualization_exception_information_address",
    "xss_exiting_bitmap",
    "encls_exiting_bitmap",
    "sub_page_permission_table_pointer",
    "tsc_multiplier",
    "tertiary_processor_based_vm_execution_controls",
    "enclv_exiting_bitmap",
    "low_pasid_directory_address",
    "high_pasid_directory_address",
    "shared_ept_pointer",
    "pconfig_exiting_bitmap",
    "hlatp",
    "pid_pointer_table_address",
    "secondary_vm_exit_controls",
  ],
  0x2400: ["guest_physical_address"],
  0x2800: [
    "vmcs_link_pointer",
    "guest_ia32_debugctl",
    "guest_ia32_pat",
    "guest_ia32_efer",
    "guest_ia32_perf_global_ctrl",
    "guest_pdpte0",
    "guest_pdpte1",
    "guest_pdpte2",
    "guest_pdpte3",
    "guest_ia32_bndcfgs",
    "guest_ia32_rtit_ctl",
    "guest_ia32_lbr_ctl",
    "guest_ia32_pkrs",
  ],
  0x2c00: ["host_ia32_pat", "host_ia32_efer", "host_ia32_perf_global_ctrl", "host_ia32_pkrs"],
  // 32 bits (B.3).
  0x4000: [
    "pin_based_vm_execution_controls",
    "primary_processor_based_vm_execution_controls",
    "exception_bitmap",
    "page_fault_error_code_mask",
    "page_fault_error_code_match",
    "cr3_target_count",
    "vm_exit_controls",
    "vm_exit_msr_store_count",
    "vm_exit_msr_load_count",
    "vm_entry_controls",
    "vm_entry_msr_load_count",
    "vm_entry_interruption_information",
    "vm_entry_exception_error_code",
    "vm_entry_instruction_length",
    "tpr_threshold",
    "secondary_processor_based_vm_execution_controls",
    "ple_gap",
    "ple_window",
    "instruction_timeout_control",
  ],
  0x4400: [
    "vm_instruction_error",
    "exit_reason",
    "vm_exit_interruption_information",
    "vm_exit_interruption_error_code",
    "idt_vectoring_information",
    "idt_vectoring_error_code",
    "vm_exit_instruction_length",
    "vm_exit_instruction_information",
  ],
  0x4800: [
    "guest_es_limit",
    "guest_cs_limit",
    "guest_ss_limit",
    "guest_ds_limit",
    "guest_fs_limit",
    "guest_gs_limit",
    "guest_ldtr_limit",
    "guest_tr_limit",
    "guest_gdtr_limit",
    "guest_idtr_limit",
    "guest_es_access_rights",
    "guest_cs_access_rights",
    "guest_ss_access_rights",
    "guest_ds_access_rights",
    "guest_fs_access_rights",
    "guest_gs_access_rights",
    "guest_ldtr_access_rights",
    "guest_tr_access_rights",
    "guest_interruptibility_state",
    "guest_activity_state",
    "guest_smbase",
    "guest_ia32_sysenter_cs",
  ],
  0x482e: ["vmx_preemption_timer_value"],
  0x4c00: ["host_ia32_sysenter_cs"],
  // The CPU's own width (B.4).
  0x6000: [
    "cr0_guest_host_mask",
    "cr4_guest_host_mask",
    "cr0_read_shadow",
    "cr4_read_shadow",
    "cr3_target_value_0",
    "cr3_target_value_1",
    "cr3_target_value_2",
    "cr3_target_value_3",
  ],
  0x6400: ["exit_qualification", "io_rcx", "io_rsi", "io_rdi", "io_rip", "guest_linear_address"],
  0x6800: [
    "guest_cr0",
    "guest_cr3",
    "guest_cr4",
    "guest_es_base",
    "guest_cs_base",
    "guest_ss_base",
    "guest_ds_base",
    "guest_fs_base",
    "guest_gs_base",
    "guest_ldtr_base",
    "guest_tr_base",
    "guest_gdtr_base",
    "guest_idtr_base",
    "guest_dr7",
    "guest_rsp",
    "guest_rip",
    "guest_rflags",
    "guest_pending_debug_exceptions",
    "guest_ia32_sysenter_esp",
    "guest_ia32_sysenter_eip",
    "guest_ia32_s_cet",
    "guest_ssp",
    "guest_ia32_interrupt_ssp_table_addr",
  ],
  0x6c00: [
    "host_cr0",
    "host_cr3",
    "host_cr4",
    "host_fs_base",
    "host_gs_base",
    "host_tr_base",
    "host_gdtr_base",
    "host_idtr_base",
    "host_ia32_sysenter_esp",
    "host_ia32_sysenter_eip",
    "host_rsp",
    "host_rip",
    "host_ia32_s_cet",
    "host_ssp",
    "host_ia32_interrupt_ssp_table_addr",
  ],
} as const;

/** A field of a VMCS by the manual's name (Intel SDM Vol. 3D, Appendix B). */
export type VmcsFieldName = (typeof VMCS_FIELD_ROWS)[keyof typeof VMCS_FIELD_ROWS][number];

const STRIDE = 2;

/** The encoding of every field, for VMREAD and VMWRITE (Intel SDM Vol. 3D, Appendix B). */
export const vmcsEncodings: ReadonlyMap<string, number> = new Map(
  Object.entries(VMCS_FIELD_ROWS).flatMap(([first, names]) =>
    names.map((name: string, index: number): [string, number] => [
      name,
      Number(first) + index * STRIDE,
    ])
  ),
);

/** How wide a field is; natural width is that of the CPU's registers (Intel SDM Vol. 3C, 24.11.2). */
export type VmcsFieldWidth = 16 | 32 | 64 | "natural";

/** What a field is for (Intel SDM Vol. 3C, 24.11.2). */
export type VmcsFieldType = "control" | "VM-exit information" | "guest state" | "host state";

/** An encoding by its parts (Intel SDM Vol. 3C, table 24-21). */
export interface VmcsField {
  /** The manual's name; undefined for an encoding that has none here. */
  name: VmcsFieldName | undefined;
  /** What VMREAD and VMWRITE take. */
  encoding: number;
  /** How wide it is. */
  width: VmcsFieldWidth;
  /** What it is for; VM-exit information is read-only, on most CPUs. */
  type: VmcsFieldType;
  /** Its number among those of the same width and type. */
  index: number;
  /** The high half of a field of 64 bits. */
  high: boolean;
}

const HIGH = 1;
const INDEX_SHIFT = 1;
const INDEX_MASK = 0x1ff;
const TYPE_SHIFT = 10;
const WIDTH_SHIFT = 13;
const TWO_BITS = 3;
/** Bit 12, and those from 15 on. */
const RESERVED = ~0x6fff;
const WIDTHS: readonly VmcsFieldWidth[] = [16, 64, 32, "natural"];
const TYPES: readonly VmcsFieldType[] = [
  "control",
  "VM-exit information",
  "guest state",
  "host state",
];

const names: ReadonlyMap<number, string> = new Map(
  [...vmcsEncodings].map(([name, encoding]) => [encoding, name]),
);

/**
 * A field of the VMCS, by its name or its encoding (Intel SDM Vol. 3D, Appendix B).
 *
 * @param field `"guest_rip"`, or 0x681e.
 * @throws {RangeError} When there is no field of that name, or the encoding has a reserved bit.
 * @example
 * ```ts
 * import { vmcsField } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * const { encoding, width, type } = vmcsField("guest_rip");
 * assertEquals([encoding, width, type], [0x681e, "natural", "guest state"]);
 * assertEquals(vmcsField(0x4402).name, "exit_reason");
 * ```
 */
export function vmcsField(field: VmcsFieldName | number): VmcsField {
  const encoding = typeof field === "number" ? checkEncoding(field) : encodingOf(field);
  return {
    name: names.get(encoding & ~HIGH) as VmcsFieldName | undefined,
    encoding,
    width: WIDTHS[encoding >> WIDTH_SHIFT & TWO_BITS],
    type: TYPES[encoding >> TYPE_SHIFT & TWO_BITS],
    index: encoding >> INDEX_SHIFT & INDEX_MASK,
    high: (encoding & HIGH) !== 0,
  };
}

function encodingOf(name: string): number {
  const encoding = vmcsEncodings.get(name);
  if (encoding !== undefined) return encoding;
  throw new RangeError(
    `Cannot find the VMCS field "${name}": ${noneOfThatName(name, vmcsEncodings.keys())}`,
  );
}

function checkEncoding(encoding: number): number {
  if (Number.isInteger(encoding) && encoding >= 0 && (encoding & RESERVED) === 0) return encoding;
  throw new RangeError(
    `Cannot read ${
      Number.isInteger(encoding) ? hex(encoding) : encoding
    } as the encoding of a VMCS field: bits 12 and 31:15 are 0 in one; give a field's name`,
  );
}

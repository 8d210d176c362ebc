import {
  array,
  bitfields,
  hoisted,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
} from "../../ffi/struct.ts";
import { reserved } from "./vmcb_reserved.ts";

/** The VMCB's control area by the manual's names, in lower case. Names of one bit are 0 or 1. */
export interface VmcbControlArea {
  /** Six words of intercepts; {@linkcode svmInterceptWords} makes them from names. */
  intercepts: number[];
  /** PAUSE filter threshold. */
  pause_filter_threshold: number;
  /** PAUSE filter count. */
  pause_filter_count: number;
  /** Where the I/O permission map lies. */
  iopm_base_pa: bigint;
  /** Where the MSR permission map lies. */
  msrpm_base_pa: bigint;
  /** What RDTSC adds. */
  tsc_offset: bigint;
  /** Guest ASID; 0 is the host's and refused. */
  guest_asid: number;
  /** What VMRUN flushes: 0 nothing, 1 the TLB, 3 this guest's entries, 7 its non-global ones. */
  tlb_control: number;
  /** The guest's task priority. */
  v_tpr: number;
  /** A virtual interrupt is pending. */
  v_irq: number;
  /** The virtual GIF. */
  vgif: number;
  /** A virtual NMI is pending. */
  v_nmi: number;
  /** Virtual NMIs are masked. */
  v_nmi_mask: number;
  /** The virtual interrupt's priority. */
  v_intr_prio: number;
  /** The virtual interrupt ignores the task priority. */
  v_ign_tpr: number;
  /** RFLAGS.IF of the guest masks virtual interrupts only. */
  v_intr_masking: number;
  /** The virtual GIF is in use. */
  vgif_enable: number;
  /** Virtual NMIs are in use. */
  v_nmi_enable: number;
  /** x2AVIC is in use. */
  x2avic_enable: number;
  /** AVIC is in use. */
  avic_enable: number;
  /** The virtual interrupt's vector. */
  v_intr_vector: number;
  /** The guest is in an interrupt shadow. */
  interrupt_shadow: number;
  /** The guest's RFLAGS.IF. */
  guest_interrupt_mask: number;
  /** Why VMRUN ended; {@linkcode svmExitName} has its name. */
  exitcode: bigint;
  /** What the exit has to tell, first part. */
  exitinfo1: bigint;
  /** What the exit has to tell, second part. */
  exitinfo2: bigint;
  /** The event that was being delivered at the exit. */
  exitintinfo: bigint;
  /** Nested paging is in use. */
  np_enable: number;
  /** Secure encrypted virtualization. */
  sev_enable: number;
  /** Its encrypted state. */
  sev_es_enable: number;
  /** Guest mode execute trap. */
  gmet_enable: number;
  /** Supervisor shadow-stack checks. */
  sss_check_enable: number;
  /** Virtual transparent encryption. */
  vte_enable: number;
  /** The address of AVIC's registers. */
  avic_apic_bar: bigint;
  /** The guest's GHCB. */
  ghcb_gpa: bigint;
  /** The event to deliver at VMRUN. */
  eventinj: bigint;
  /** CR3 of nested paging: the root of its tables. */
  n_cr3: bigint;
  /** Last-branch records belong to the guest. */
  lbr_virtualization_enable: number;
  /** VMLOAD and VMSAVE are virtualized. */
  virtualized_vmload_vmsave: number;
  /** Instruction-based sampling is virtualized. */
  ibs_virtualization_enable: number;
  /** VMCB clean bits: what VMRUN may take from its cache. */
  vmcb_clean: number;
  /** Address of the instruction behind the intercepted one, on CPUs that save it. */
  nrip: bigint;
  /** How many bytes of the instruction were fetched. */
  number_of_bytes_fetched: number;
  /** Those bytes. */
  guest_instruction_bytes: Uint8Array;
  /** AVIC's backing page. */
  avic_apic_backing_page: bigint;
  /** AVIC's logical table. */
  avic_logical_table: bigint;
  /** AVIC's physical table, and its last index. */
  avic_physical_table: bigint;
  /** The save area of an encrypted guest. */
  vmsa_pointer: bigint;
  /** RAX at VMGEXIT. */
  vmgexit_rax: bigint;
  /** CPL at VMGEXIT. */
  vmgexit_cpl: number;
  /** Bytes left to the hypervisor. */
  host_reserved: Uint8Array;
}

const INTERCEPT_WORDS = 6;
const INSTRUCTION_BYTES = 15;

/** The VMCB's control area, 1024 bytes (AMD APM Vol. 2, table B-1). */
export const vmcb_control_area: Struct<VmcbControlArea> = struct("vmcb_control_area", {
  intercepts: array(u32, INTERCEPT_WORDS),
  at018: reserved(0x24),
  pause_filter_threshold: u16,
  pause_filter_count: u16,
  iopm_base_pa: u64,
  msrpm_base_pa: u64,
  tsc_offset: u64,
  guest_asid: u32,
  tlb_control: u8,
  at05d: reserved(3),
  at060: hoisted(bitfields(u32, {
    v_tpr: 8,
    v_irq: 1,
    vgif: 1,
    reserved_10: 1,
    v_nmi: 1,
    v_nmi_mask: 1,
    reserved_13: 3,
    v_intr_prio: 4,
    v_ign_tpr: 1,
    reserved_21: 3,
    v_intr_masking: 1,
    vgif_enable: 1,
    v_nmi_enable: 1,
    reserved_27: 3,
    x2avic_enable: 1,
    avic_enable: 1,
  })),
  v_intr_vector: u8,
  at065: reserved(3),
  at068: hoisted(bitfields(u32, { interrupt_shadow: 1, guest_interrupt_mask: 1 })),
  at06c: reserved(4),
  exitcode: u64,
  exitinfo1: u64,
  exitinfo2: u64,
  exitintinfo: u64,
  at090: hoisted(bitfields(u32, {
    np_enable: 1,
    sev_enable: 1,
    sev_es_enable: 1,
    gmet_enable: 1,
    sss_check_enable: 1,
    vte_enable: 1,
  })),
  at094: reserved(4),
  avic_apic_bar: u64,
  ghcb_gpa: u64,
  eventinj: u64,
  n_cr3: u64,
  at0b8: hoisted(bitfields(u32, {
    lbr_virtualization_enable: 1,
    virtualized_vmload_vmsave: 1,
    ibs_virtualization_enable: 1,
  })),
  at0bc: reserved(4),
  vmcb_clean: u32,
  at0c4: reserved(4),
  nrip: u64,
  number_of_bytes_fetched: u8,
  guest_instruction_bytes: array(u8, INSTRUCTION_BYTES),
  avic_apic_backing_page: u64,
  at0e8: reserved(8),
  avic_logical_table: u64,
  avic_physical_table: u64,
  at100: reserved(8),
  vmsa_pointer: u64,
  vmgexit_rax: u64,
  vmgexit_cpl: u8,
  at119: reserved(0x2c7),
  host_reserved: array(u8, 0x20),
});

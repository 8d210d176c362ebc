import {
  array,
  bitfields,
  type CType,
  type Hoisted,
  hoisted,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
  type Writable,
} from "../../ffi/struct.ts";
import { attributesOf, attributeWord, type Segment } from "../registers/segment.ts";
import type { CpuState } from "../boot/cpu_state.ts";
import { eferFlags, RFLAGS_ALWAYS_SET } from "../registers/flag_tables.ts";
import { flagsToValue } from "../registers/flags.ts";

/** The value of bytes that have no name: nothing. */
type NoMembers = Record<never, never>;

/**
 * Bytes that the manual reserves: they are neither read nor written, and have no name in a structure's value.
 */
function reserved(size: number): Hoisted<NoMembers> {
  const type: CType<NoMembers> = {
    size,
    alignment: 1,
    fields: [],
    read: () => ({}),
    write: () => {},
  };
  return hoisted(type);
}

/** A segment register in a VMCB (AMD APM Vol. 2, 15.5.1 and Appendix B). */
export interface VmcbSegment {
  /** What the guest sees in the register. */
  selector: number;
  /** Bits 47:40 of the descriptor in bits 7:0, bits 55:52 in bits 11:8. */
  attrib: number;
  /** The highest offset, in bytes. */
  limit: number;
  /** The linear address. */
  base: bigint;
}

/** A segment register in a VMCB, 16 bytes (AMD APM Vol. 2, table B-2). */
export const vmcb_seg: Struct<VmcbSegment> = struct("vmcb_seg", {
  selector: u16,
  attrib: u16,
  limit: u32,
  base: u64,
});

/** A VMCB has the descriptor's attribute word without the four bits of the limit in its middle (APM Vol. 2, 15.5.1). */
const BELOW_LIMIT = 0x0ff;
const ABOVE_LIMIT = 0xf00;
const LIMIT_BITS = 4;

/**
 * A segment register as a VMCB has it. One that is unusable is not present there (AMD APM Vol. 2, Appendix B).
 *
 * @param segment As `struct kvm_segment` has it.
 * @example
 * ```ts
 * import { segmentToVmcb } from "@vmexit/vmexit/svm";
 * import { descriptorToSegment } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const code = descriptorToSegment(0x00af_9b00_0000_ffffn, 0x08);
 * assertEquals(segmentToVmcb(code), { selector: 8, attrib: 0xa9b, limit: 0xffff_ffff, base: 0n });
 * ```
 */
export function segmentToVmcb(segment: Segment): VmcbSegment {
  const { selector, limit, base, unusable } = segment;
  const word = attributeWord(segment);
  const attrib = (word & BELOW_LIMIT) | (word >> LIMIT_BITS & ABOVE_LIMIT);
  return { selector, attrib: unusable ? 0 : attrib, limit, base };
}

/**
 * A segment register as `struct kvm_segment` has it; unusable where the VMCB's is not present.
 *
 * @param segment As the save area has it.
 */
export function vmcbToSegment({ selector, attrib, limit, base }: VmcbSegment): Segment {
  const word = (attrib & BELOW_LIMIT) | (attrib & ABOVE_LIMIT) << LIMIT_BITS;
  const attributes = attributesOf(word);
  return { base, limit, selector, ...attributes, unusable: attributes.present ? 0 : 1 };
}

/**
 * The VMCB's control area by the manual's names, in lower case. Names of one bit are 0 or 1 (AMD APM Vol. 2,
 * Appendix B).
 */
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
  /** Reserved. */
  reserved_10: number;
  /** A virtual NMI is pending. */
  v_nmi: number;
  /** Virtual NMIs are masked. */
  v_nmi_mask: number;
  /** Reserved. */
  reserved_13: number;
  /** The virtual interrupt's priority. */
  v_intr_prio: number;
  /** The virtual interrupt ignores the task priority. */
  v_ign_tpr: number;
  /** Reserved. */
  reserved_21: number;
  /** RFLAGS.IF of the guest masks virtual interrupts only. */
  v_intr_masking: number;
  /** The virtual GIF is in use. */
  vgif_enable: number;
  /** Virtual NMIs are in use. */
  v_nmi_enable: number;
  /** Reserved. */
  reserved_27: number;
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

/** The segment and table registers of a VMCB, in its order (AMD APM Vol. 2, table B-2). */
export type VmcbSegmentName =
  | ("es" | "cs" | "ss" | "ds" | "fs" | "gs")
  | ("gdtr" | "ldtr" | "idtr" | "tr");

/** The registers of 64 bits in a VMCB (AMD APM Vol. 2, table B-2). */
export type VmcbRegisterName =
  | ("efer" | "cr4" | "cr3" | "cr0" | "dr7" | "dr6" | "rflags" | "rip" | "rsp" | "rax" | "cr2")
  | ("s_cet" | "ssp" | "isst_addr" | "star" | "lstar" | "cstar" | "sfmask" | "kernel_gs_base")
  | ("sysenter_cs" | "sysenter_esp" | "sysenter_eip" | "g_pat" | "dbgctl" | "br_from" | "br_to")
  | ("lastexcpfrom" | "lastexcpto" | "dbgextncfg");

/** The VMCB's state save area by the manual's names, in lower case (AMD APM Vol. 2, Appendix B). */
export interface VmcbSaveArea
  extends Record<VmcbSegmentName, VmcbSegment>, Record<VmcbRegisterName, bigint> {
  /** The guest's privilege level. */
  cpl: number;
  /** IA32_SPEC_CTRL. */
  spec_ctrl: number;
}

/**
 * The VMCB's state save area, from offset 0x400 to the end of the VMCB (AMD APM Vol. 2, table B-2). VMLOAD
 * and VMSAVE move FS, GS, TR, LDTR, `kernel_gs_base`, STAR and its kin, and SYSENTER's registers; VMRUN the
 * others.
 */
export const vmcb_save_area: Struct<VmcbSaveArea> = struct("vmcb_save_area", {
  es: vmcb_seg,
  cs: vmcb_seg,
  ss: vmcb_seg,
  ds: vmcb_seg,
  fs: vmcb_seg,
  gs: vmcb_seg,
  gdtr: vmcb_seg,
  ldtr: vmcb_seg,
  idtr: vmcb_seg,
  tr: vmcb_seg,
  at0a0: reserved(0x2b),
  cpl: u8,
  at0cc: reserved(4),
  efer: u64,
  at0d8: reserved(0x70),
  cr4: u64,
  cr3: u64,
  cr0: u64,
  dr7: u64,
  dr6: u64,
  rflags: u64,
  rip: u64,
  at180: reserved(0x58),
  rsp: u64,
  s_cet: u64,
  ssp: u64,
  isst_addr: u64,
  rax: u64,
  star: u64,
  lstar: u64,
  cstar: u64,
  sfmask: u64,
  kernel_gs_base: u64,
  sysenter_cs: u64,
  sysenter_esp: u64,
  sysenter_eip: u64,
  cr2: u64,
  at248: reserved(0x20),
  g_pat: u64,
  dbgctl: u64,
  br_from: u64,
  br_to: u64,
  lastexcpfrom: u64,
  lastexcpto: u64,
  dbgextncfg: u64,
  at2a0: reserved(0x40),
  spec_ctrl: u32,
  at2e4: reserved(0x91c),
});

/** A virtual machine control block, by the manual's names (AMD APM Vol. 2, Appendix B). */
export interface Vmcb {
  /** How the guest runs, and why it left. */
  control: VmcbControlArea;
  /** The guest's registers. */
  save: VmcbSaveArea;
}

/**
 * SVM's virtual machine control block, 4096 bytes: what VMRUN's RAX leads to (AMD APM Vol. 2, 15.5 and
 * Appendix B). Reserved bytes have no name; writing leaves them, and all that is not given, as it was.
 *
 * {@linkcode readVmcb} and {@linkcode writeVmcb} take bytes in place of a `DataView`.
 */
export const vmcb: Struct<Vmcb> = struct("vmcb", {
  control: vmcb_control_area,
  save: vmcb_save_area,
});

/**
 * A VMCB's fields, from its bytes.
 *
 * @param bytes 4096 of them, such as `vm.memory.read(gpa, vmcb.size)`.
 * @throws {RangeError} When there are fewer.
 * @example
 * ```ts
 * import { readVmcb, svmExitName, vmcb, writeVmcb } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = new Uint8Array(vmcb.size);
 * writeVmcb(bytes, { control: { guest_asid: 1, exitcode: 0x7b }, save: { rip: 0x7c00 } });
 * const { control, save } = readVmcb(bytes);
 * assertEquals([svmExitName(control.exitcode), save.rip], ["VMEXIT_IOIO", 0x7c00n]);
 * ```
 */
export function readVmcb(bytes: Uint8Array): Vmcb {
  return vmcb.read(viewOf(bytes));
}

/**
 * Writes fields of a VMCB, and leaves all others as they are.
 *
 * @param bytes 4096 of them: new ones, or `vm.memory.view(gpa, vmcb.size)`, a guest's own.
 * @param value Any fields of both areas, by the manual's names; numbers of 64 bits are bigints or numbers.
 * @throws {RangeError} When there are fewer, or a value does not fit its field.
 * @throws {TypeError} When a name is no field's, or a value of the wrong kind.
 */
export function writeVmcb(bytes: Uint8Array, value: Writable<Vmcb>): void {
  vmcb.write(viewOf(bytes), 0, value);
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** What DR6 and DR7 hold after reset (AMD APM Vol. 2, 13.1.1). */
const DR6_RESET = 0xffff_0ff0n;
const DR7_RESET = 0x400n;
/** The page attribute table after reset (AMD APM Vol. 2, 7.8.1). */
const PAT_RESET = 0x0007_0406_0007_0406n;
/** VMRUN refuses a guest without it (AMD APM Vol. 2, 15.5.1). */
const SVME = flagsToValue(eferFlags, { svme: true });

/**
 * The VMCB's save area for a guest that starts in this state: any of {@linkcode bootState}'s, so that a guest
 * hypervisor's guest begins in any mode. EFER gets SVME, which VMRUN asks for. Of the general registers a
 * VMCB holds RAX, RSP, RIP and RFLAGS; the hypervisor must load the others itself. The state's `writes`
 * belong into the guest's memory.
 *
 * @param state A boot state.
 * @example
 * ```ts
 * import { readVmcb, vmcb, vmcbGuest, writeVmcb } from "@vmexit/vmexit/svm";
 * import { realMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = new Uint8Array(vmcb.size);
 * writeVmcb(bytes, { save: vmcbGuest(realMode({ entry: 0x7c00 })) });
 * assertEquals(readVmcb(bytes).save.rip, 0x7c00n);
 * ```
 */
export function vmcbGuest(
  { registers, specialRegisters: special }: Pick<CpuState, "registers" | "specialRegisters">,
): Writable<VmcbSaveArea> {
  return {
    es: segmentToVmcb(special.es),
    cs: segmentToVmcb(special.cs),
    ss: segmentToVmcb(special.ss),
    ds: segmentToVmcb(special.ds),
    fs: segmentToVmcb(special.fs),
    gs: segmentToVmcb(special.gs),
    gdtr: { selector: 0, attrib: 0, ...special.gdt },
    ldtr: segmentToVmcb(special.ldt),
    idtr: { selector: 0, attrib: 0, ...special.idt },
    tr: segmentToVmcb(special.tr),
    cpl: special.ss.dpl,
    efer: special.efer | SVME,
    cr4: special.cr4,
    cr3: special.cr3,
    cr2: special.cr2,
    cr0: special.cr0,
    dr7: DR7_RESET,
    dr6: DR6_RESET,
    rflags: registers.rflags ?? RFLAGS_ALWAYS_SET,
    rip: registers.rip ?? 0n,
    rsp: registers.rsp ?? 0n,
    rax: registers.rax ?? 0n,
    g_pat: PAT_RESET,
  };
}

import { type Struct, struct, u32, u64, u8 } from "../../ffi/struct.ts";
import { reserved } from "./vmcb_reserved.ts";
import { vmcb_seg, type VmcbSegment } from "./vmcb_segment.ts";

/** The segment and table registers of a VMCB, in its order. */
export type VmcbSegmentName =
  | ("es" | "cs" | "ss" | "ds" | "fs" | "gs")
  | ("gdtr" | "ldtr" | "idtr" | "tr");

/** The registers of 64 bits in a VMCB. */
export type VmcbRegisterName =
  | ("efer" | "cr4" | "cr3" | "cr0" | "dr7" | "dr6" | "rflags" | "rip" | "rsp" | "rax" | "cr2")
  | ("s_cet" | "ssp" | "isst_addr" | "star" | "lstar" | "cstar" | "sfmask" | "kernel_gs_base")
  | ("sysenter_cs" | "sysenter_esp" | "sysenter_eip" | "g_pat" | "dbgctl" | "br_from" | "br_to")
  | ("lastexcpfrom" | "lastexcpto" | "dbgextncfg");

/** The VMCB's state save area by the manual's names, in lower case. */
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

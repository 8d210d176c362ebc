import {
  array,
  hoisted,
  since,
  struct,
  u16,
  u32,
  u64,
  u8,
  ulong,
  union,
} from "../../../ffi/struct.ts";
import { kvm_debug_exit_arch } from "./registers.ts";
import { kvm_exit_snp_req_certs } from "./encryption.ts";
import { kvm_hyperv_exit, kvm_xen_exit } from "./enlightenments.ts";

/** The members of `kvm_run`'s union that x86 fills, each named in the exit that it belongs to (api.rst 5). */
export const run_exits = {
  hw: struct("", { hardware_exit_reason: u64 }),
  fail_entry: struct("", { hardware_entry_failure_reason: u64, cpu: u32 }),
  ex: struct("", { exception: u32, error_code: u32 }),
  io: struct("", { direction: u8, size: u8, port: u16, count: u32, data_offset: u64 }),
  debug: struct("", { arch: kvm_debug_exit_arch }),
  mmio: struct("", { phys_addr: u64, data: array(u8, 8), len: u32, is_write: u8 }),
  hypercall: struct("", {
    nr: u64,
    args: array(u64, 6),
    ret: u64,
    mode: hoisted(union({ longmode: u32, flags: since("6.4", u64) })),
  }),
  tpr_access: struct("", { rip: u64, is_write: u32, pad: u32 }),
  internal: struct("", { suberror: u32, ndata: u32, data: array(u64, 16) }),
  emulation_failure: struct("", {
    suberror: u32,
    ndata: u32,
    flags: u64,
    insn_size: u8,
    insn_bytes: array(u8, 15),
  }),
  system_event: struct("", {
    type: u32,
    ndata: u32,
    payload: hoisted(union({ flags: u64, data: array(u64, 16) })),
  }),
  eoi: struct("", { vector: u8 }),
  hyperv: kvm_hyperv_exit,
  msr: struct("", { error: u8, pad: array(u8, 7), reason: u32, index: u32, data: u64 }),
  xen: kvm_xen_exit,
  notify: struct("", { flags: u32 }),
  memory_fault: since("6.8", struct("", { flags: u64, gpa: u64, size: u64 })),
  tdx: since(
    "6.16",
    struct("", {
      flags: u64,
      nr: u64,
      call: hoisted(union({
        unknown: struct("", { ret: u64, data: array(u64, 5) }),
        get_quote: struct("", { ret: u64, gpa: u64, size: u64 }),
        get_tdvmcall_info: struct("", {
          ret: u64,
          leaf: u64,
          r11: u64,
          r12: u64,
          r13: u64,
          r14: u64,
        }),
        setup_event_notify: struct("", { ret: u64, vector: u64 }),
      })),
    }),
  ),
  snp_req_certs: kvm_exit_snp_req_certs,
};

/**
 * The members of `kvm_run`'s union that other architectures fill (api.rst 5): here for their offsets only.
 */
export const run_exits_of_others = {
  iocsr_io: since(
    "6.7",
    struct("", { phys_addr: u64, data: array(u8, 8), len: u32, is_write: u8 }),
  ),
  s390_sieic: struct("", { icptcode: u8, ipa: u16, ipb: u32 }),
  s390_reset_flags: u64,
  s390_ucontrol: struct("", { trans_exc_code: u64, pgm_code: u32 }),
  dcr: struct("", { dcrn: u32, data: u32, is_write: u8 }),
  osi: struct("", { gprs: array(u64, 32) }),
  papr_hcall: struct("", { nr: u64, ret: u64, args: array(u64, 9) }),
  s390_tsch: struct("", {
    subchannel_id: u16,
    subchannel_nr: u16,
    io_int_parm: u32,
    io_int_word: u32,
    ipb: u32,
    dequeued: u8,
  }),
  epr: struct("", { epr: u32 }),
  s390_stsi: struct("", { addr: u64, ar: u8, reserved: u8, fc: u8, sel1: u8, sel2: u16 }),
  arm_nisv: struct("", { esr_iss: u64, fault_ipa: u64 }),
  riscv_sbi: struct("", {
    extension_id: ulong,
    function_id: ulong,
    args: array(ulong, 6),
    ret: array(ulong, 2),
  }),
  riscv_csr: struct("", { csr_num: ulong, new_value: ulong, write_mask: ulong, ret_value: ulong }),
  arm_sea: since("6.19", struct("", { flags: u64, esr: u64, gva: u64, gpa: u64 })),
};

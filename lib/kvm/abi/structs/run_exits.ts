import { array, hoisted, since, struct, u16, u32, u64, u8, union } from "../../../ffi/struct.ts";
import { kvm_debug_exit_arch } from "./debug.ts";
import { kvm_exit_snp_req_certs } from "./encryption.ts";
import { kvm_hyperv_exit } from "./hyperv.ts";
import { kvm_xen_exit } from "./xen.ts";

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

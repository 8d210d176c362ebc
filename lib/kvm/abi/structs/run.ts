import {
  array,
  hoisted,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
  union,
} from "../../../ffi/struct.ts";
import {
  kvm_regs,
  kvm_sregs,
  type KvmDebugExitArch,
  type KvmRegs,
  type KvmSregs,
} from "./registers.ts";
import type { KvmExitSnpReqCerts } from "./encryption.ts";
import { kvm_vcpu_events, type KvmVcpuEvents } from "./vcpu.ts";
import type { KvmHypervExit, KvmXenExit } from "./enlightenments.ts";
import { run_exits, run_exits_of_others } from "./run_exits.ts";

/** What {@linkcode kvm_sync_regs} reads as. */
export type KvmSyncRegs = {
  regs: KvmRegs;
  sregs: KvmSregs;
  events: KvmVcpuEvents;
};

/** `struct kvm_sync_regs`: the registers that KVM_CAP_SYNC_REGS shares through `kvm_run.s` (api.rst 6). */
export const kvm_sync_regs: Struct<KvmSyncRegs> = struct("kvm_sync_regs", {
  regs: kvm_regs,
  sregs: kvm_sregs,
  events: kvm_vcpu_events,
});

/** What {@linkcode kvm_run} reads as. */
export type KvmRun = {
  request_interrupt_window: number;
  immediate_exit: number;
  padding1: Uint8Array;
  exit_reason: number;
  ready_for_interrupt_injection: number;
  if_flag: number;
  flags: number;
  cr8: bigint;
  apic_base: bigint;
  hw: { hardware_exit_reason: bigint };
  fail_entry: { hardware_entry_failure_reason: bigint; cpu: number };
  ex: { exception: number; error_code: number };
  io: { direction: number; size: number; port: number; count: number; data_offset: bigint };
  debug: { arch: KvmDebugExitArch };
  mmio: { phys_addr: bigint; data: Uint8Array; len: number; is_write: number };
  hypercall: { nr: bigint; args: bigint[]; ret: bigint; longmode: number; flags: bigint };
  tpr_access: { rip: bigint; is_write: number; pad: number };
  internal: { suberror: number; ndata: number; data: bigint[] };
  emulation_failure: {
    suberror: number;
    ndata: number;
    flags: bigint;
    insn_size: number;
    insn_bytes: Uint8Array;
  };
  system_event: { type: number; ndata: number; flags: bigint; data: bigint[] };
  eoi: { vector: number };
  hyperv: KvmHypervExit;
  msr: { error: number; pad: Uint8Array; reason: number; index: number; data: bigint };
  xen: KvmXenExit;
  notify: { flags: number };
  memory_fault: { flags: bigint; gpa: bigint; size: bigint };
  tdx: {
    flags: bigint;
    nr: bigint;
    unknown: { ret: bigint; data: bigint[] };
    get_quote: { ret: bigint; gpa: bigint; size: bigint };
    get_tdvmcall_info: {
      ret: bigint;
      leaf: bigint;
      r11: bigint;
      r12: bigint;
      r13: bigint;
      r14: bigint;
    };
    setup_event_notify: { ret: bigint; vector: bigint };
  };
  snp_req_certs: KvmExitSnpReqCerts;
  iocsr_io: { phys_addr: bigint; data: Uint8Array; len: number; is_write: number };
  s390_sieic: { icptcode: number; ipa: number; ipb: number };
  s390_reset_flags: bigint;
  s390_ucontrol: { trans_exc_code: bigint; pgm_code: number };
  dcr: { dcrn: number; data: number; is_write: number };
  osi: { gprs: bigint[] };
  papr_hcall: { nr: bigint; ret: bigint; args: bigint[] };
  s390_tsch: {
    subchannel_id: number;
    subchannel_nr: number;
    io_int_parm: number;
    io_int_word: number;
    ipb: number;
    dequeued: number;
  };
  epr: { epr: number };
  s390_stsi: { addr: bigint; ar: number; reserved: number; fc: number; sel1: number; sel2: number };
  arm_nisv: { esr_iss: bigint; fault_ipa: bigint };
  riscv_sbi: { extension_id: bigint; function_id: bigint; args: bigint[]; ret: bigint[] };
  riscv_csr: { csr_num: bigint; new_value: bigint; write_mask: bigint; ret_value: bigint };
  arm_sea: { flags: bigint; esr: bigint; gva: bigint; gpa: bigint };
  padding: Uint8Array;
  kvm_valid_regs: bigint;
  kvm_dirty_regs: bigint;
  s: { regs: KvmSyncRegs; padding: Uint8Array };
};

/** `struct kvm_run`: the page that a vCPU shares with its process, at offset 0 of its mapping (api.rst 5). */
export const kvm_run: Struct<KvmRun> = struct("kvm_run", {
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: array(u8, 6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
  exit: hoisted(union({ ...run_exits, ...run_exits_of_others, padding: array(u8, 256) })),
  kvm_valid_regs: u64,
  kvm_dirty_regs: u64,
  s: union({ regs: kvm_sync_regs, padding: array(u8, 2048) }),
});

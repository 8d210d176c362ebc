import { type Struct, struct, u64 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_regs} reads as. */
export type KvmRegs = {
  rax: bigint;
  rbx: bigint;
  rcx: bigint;
  rdx: bigint;
  rsi: bigint;
  rdi: bigint;
  rsp: bigint;
  rbp: bigint;
  r8: bigint;
  r9: bigint;
  r10: bigint;
  r11: bigint;
  r12: bigint;
  r13: bigint;
  r14: bigint;
  r15: bigint;
  rip: bigint;
  rflags: bigint;
};

/**
 * `struct kvm_regs`: the general registers, `rip` and `rflags`.
 * KVM_GET_REGS, KVM_SET_REGS; also in `kvm_run.s.regs` (api.rst 4.11, 4.12).
 */
export const kvm_regs: Struct<KvmRegs> = struct("kvm_regs", {
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});

import {
  array,
  flexible,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
  u8UpTo,
} from "../../../ffi/struct.ts";

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

/** A field that is one bit in the descriptor: KVM would cut a larger value off without a word. */
const bit = u8UpTo(1);

/** What {@linkcode kvm_segment} reads as. */
export type KvmSegment = {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  s: number;
  l: number;
  g: number;
  avl: number;
  unusable: number;
  padding: number;
};

/** `struct kvm_segment`: a segment register with the hidden part that a descriptor gave it (api.rst 4.13). */
export const kvm_segment: Struct<KvmSegment> = struct("kvm_segment", {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8UpTo(15),
  present: bit,
  dpl: u8UpTo(3),
  db: bit,
  s: bit,
  l: bit,
  g: bit,
  avl: bit,
  unusable: bit,
  padding: u8,
});

/** What {@linkcode kvm_dtable} reads as. */
export type KvmDtable = {
  base: bigint;
  limit: number;
  padding: number[];
};

/** `struct kvm_dtable`: GDTR or IDTR (api.rst 4.13). */
export const kvm_dtable: Struct<KvmDtable> = struct("kvm_dtable", {
  base: u64,
  limit: u16,
  padding: array(u16, 3),
});

const special = {
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
};

/** What {@linkcode kvm_sregs} reads as. */
export type KvmSregs = {
  cs: KvmSegment;
  ds: KvmSegment;
  es: KvmSegment;
  fs: KvmSegment;
  gs: KvmSegment;
  ss: KvmSegment;
  tr: KvmSegment;
  ldt: KvmSegment;
  gdt: KvmDtable;
  idt: KvmDtable;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  apic_base: bigint;
  interrupt_bitmap: bigint[];
};

/**
 * `struct kvm_sregs`: segments, tables, control registers and pending interrupts.
 * KVM_GET_SREGS, KVM_SET_SREGS; also in `kvm_run.s.regs` (api.rst 4.13, 4.14).
 */
export const kvm_sregs: Struct<KvmSregs> = struct("kvm_sregs", {
  ...special,
  interrupt_bitmap: array(u64, 4),
});

/** What {@linkcode kvm_sregs2} reads as. */
export type KvmSregs2 = Omit<KvmSregs, "interrupt_bitmap"> & {
  flags: bigint;
  pdptrs: bigint[];
};

/**
 * `struct kvm_sregs2`: as `kvm_sregs`, with the PAE page-directory pointers in place of the interrupts.
 * KVM_GET_SREGS2, KVM_SET_SREGS2 (api.rst 4.131, 4.132).
 */
export const kvm_sregs2: Struct<KvmSregs2> = struct("kvm_sregs2", {
  ...special,
  flags: u64,
  pdptrs: array(u64, 4),
});

/** What {@linkcode kvm_debugregs} reads as. */
export type KvmDebugregs = {
  db: bigint[];
  dr6: bigint;
  dr7: bigint;
  flags: bigint;
  reserved: bigint[];
};

/**
 * `struct kvm_debugregs`: DR0–DR3, DR6 and DR7. KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS (api.rst 4.33, 4.34).
 */
export const kvm_debugregs: Struct<KvmDebugregs> = struct("kvm_debugregs", {
  db: array(u64, 4),
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: array(u64, 9),
});

/** What {@linkcode kvm_guest_debug_arch} reads as. */
export type KvmGuestDebugArch = {
  debugreg: bigint[];
};

/** `struct kvm_guest_debug_arch`: the debug registers that KVM_GUESTDBG_USE_HW_BP puts in force. */
export const kvm_guest_debug_arch: Struct<KvmGuestDebugArch> = struct("kvm_guest_debug_arch", {
  debugreg: array(u64, 8),
});

/** What {@linkcode kvm_guest_debug} reads as. */
export type KvmGuestDebug = {
  control: number;
  pad: number;
  arch: KvmGuestDebugArch;
};

/** `struct kvm_guest_debug`: `control` is of `KVM_GUESTDBG`. KVM_SET_GUEST_DEBUG (api.rst 4.87). */
export const kvm_guest_debug: Struct<KvmGuestDebug> = struct("kvm_guest_debug", {
  control: u32,
  pad: u32,
  arch: kvm_guest_debug_arch,
});

/** What {@linkcode kvm_debug_exit_arch} reads as. */
export type KvmDebugExitArch = {
  exception: number;
  pad: number;
  pc: bigint;
  dr6: bigint;
  dr7: bigint;
};

/** `struct kvm_debug_exit_arch`: what a KVM_EXIT_DEBUG carries (api.rst 5). */
export const kvm_debug_exit_arch: Struct<KvmDebugExitArch> = struct("kvm_debug_exit_arch", {
  exception: u32,
  pad: u32,
  pc: u64,
  dr6: u64,
  dr7: u64,
});

/** What {@linkcode kvm_fpu} reads as. */
export type KvmFpu = {
  fpr: Uint8Array[];
  fcw: number;
  fsw: number;
  ftwx: number;
  pad1: number;
  last_opcode: number;
  last_ip: bigint;
  last_dp: bigint;
  xmm: Uint8Array[];
  mxcsr: number;
  pad2: number;
};

/** `struct kvm_fpu`: x87 and SSE state. KVM_GET_FPU, KVM_SET_FPU (api.rst 4.22, 4.23). */
export const kvm_fpu: Struct<KvmFpu> = struct("kvm_fpu", {
  fpr: array(array(u8, 16), 8),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  pad1: u8,
  last_opcode: u16,
  last_ip: u64,
  last_dp: u64,
  xmm: array(array(u8, 16), 16),
  mxcsr: u32,
  pad2: u32,
});

/** What {@linkcode kvm_xsave} reads as. */
export type KvmXsave = {
  region: number[];
  extra: number[];
};

/**
 * `struct kvm_xsave`: the XSAVE area in the layout of CPUID leaf 0xD. KVM_CHECK_EXTENSION of KVM_CAP_XSAVE2
 * says how long it is; `extra` is what goes beyond 4096 bytes, to the end of the view. KVM_GET_XSAVE,
 * KVM_GET_XSAVE2, KVM_SET_XSAVE (api.rst 4.42, 4.43, 4.134).
 */
export const kvm_xsave: Struct<KvmXsave> = struct("kvm_xsave", {
  region: array(u32, 1024),
  extra: flexible(u32),
});

/** What {@linkcode kvm_xcr} reads as. */
export type KvmXcr = {
  xcr: number;
  reserved: number;
  value: bigint;
};

/** `struct kvm_xcr`: an extended control register; `xcr` 0 is XCR0. */
export const kvm_xcr: Struct<KvmXcr> = struct("kvm_xcr", { xcr: u32, reserved: u32, value: u64 });

/** What {@linkcode kvm_xcrs} reads as. */
export type KvmXcrs = {
  nr_xcrs: number;
  flags: number;
  xcrs: KvmXcr[];
  padding: bigint[];
};

/** `struct kvm_xcrs`: KVM_GET_XCRS, KVM_SET_XCRS (api.rst 4.44, 4.45). */
export const kvm_xcrs: Struct<KvmXcrs> = struct("kvm_xcrs", {
  nr_xcrs: u32,
  flags: u32,
  xcrs: array(kvm_xcr, 16),
  padding: array(u64, 16),
});

import { array, flexible, type Struct, struct, u32, u64, u8 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_translation} reads as. */
export type KvmTranslation = {
  linear_address: bigint;
  physical_address: bigint;
  valid: number;
  writeable: number;
  usermode: number;
  pad: Uint8Array;
};

/**
 * `struct kvm_translation`: a linear address and where the guest's page tables put it. KVM_TRANSLATE (api.rst
 * 4.15).
 */
export const kvm_translation: Struct<KvmTranslation> = struct("kvm_translation", {
  linear_address: u64,
  physical_address: u64,
  valid: u8,
  writeable: u8,
  usermode: u8,
  pad: array(u8, 5),
});

/** What {@linkcode kvm_signal_mask} reads as. */
export type KvmSignalMask = {
  len: number;
  sigset: Uint8Array;
};

/** `struct kvm_signal_mask`: the signals blocked during KVM_RUN. KVM_SET_SIGNAL_MASK (api.rst 4.21). */
export const kvm_signal_mask: Struct<KvmSignalMask> = struct("kvm_signal_mask", {
  len: u32,
  sigset: flexible(u8, "len"),
});

/** What {@linkcode kvm_enable_cap} reads as. */
export type KvmEnableCap = {
  cap: number;
  flags: number;
  args: bigint[];
  pad: Uint8Array;
};

/** `struct kvm_enable_cap`: a capability with its arguments. KVM_ENABLE_CAP (api.rst 4.37). */
export const kvm_enable_cap: Struct<KvmEnableCap> = struct("kvm_enable_cap", {
  cap: u32,
  flags: u32,
  args: array(u64, 4),
  pad: array(u8, 64),
});

/** What {@linkcode kvm_one_reg} reads as. */
export type KvmOneReg = {
  id: bigint;
  addr: bigint;
};

/**
 * `struct kvm_one_reg`: a register by its id, and where its value lies. KVM_GET_ONE_REG, KVM_SET_ONE_REG
 * (api.rst 4.69, 4.68).
 */
export const kvm_one_reg: Struct<KvmOneReg> = struct("kvm_one_reg", { id: u64, addr: u64 });

/** What {@linkcode kvm_reg_list} reads as. */
export type KvmRegList = {
  n: bigint;
  reg: bigint[];
};

/** `struct kvm_reg_list`: the ids that KVM_GET_ONE_REG takes. KVM_GET_REG_LIST (api.rst 4.84). */
export const kvm_reg_list: Struct<KvmRegList> = struct("kvm_reg_list", {
  n: u64,
  reg: flexible(u64, "n"),
});

/** What {@linkcode kvm_vcpu_events} reads as. */
export type KvmVcpuEvents = {
  exception: {
    injected: number;
    nr: number;
    has_error_code: number;
    pending: number;
    error_code: number;
  };
  interrupt: { injected: number; nr: number; soft: number; shadow: number };
  nmi: { injected: number; pending: number; masked: number; pad: number };
  sipi_vector: number;
  flags: number;
  smi: { smm: number; pending: number; smm_inside_nmi: number; latched_init: number };
  triple_fault: { pending: number };
  reserved: Uint8Array;
  exception_has_payload: number;
  exception_payload: bigint;
};

/**
 * `struct kvm_vcpu_events`: exceptions, interrupts, NMIs and SMIs that are pending or being injected.
 * KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS; also in `kvm_run.s.regs` (api.rst 4.31, 4.32).
 */
export const kvm_vcpu_events: Struct<KvmVcpuEvents> = struct("kvm_vcpu_events", {
  exception: struct("", {
    injected: u8,
    nr: u8,
    has_error_code: u8,
    pending: u8,
    error_code: u32,
  }),
  interrupt: struct("", { injected: u8, nr: u8, soft: u8, shadow: u8 }),
  nmi: struct("", { injected: u8, pending: u8, masked: u8, pad: u8 }),
  sipi_vector: u32,
  flags: u32,
  smi: struct("", { smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }),
  triple_fault: struct("", { pending: u8 }),
  reserved: array(u8, 26),
  exception_has_payload: u8,
  exception_payload: u64,
});

/** What {@linkcode kvm_interrupt} reads as. */
export type KvmInterrupt = {
  irq: number;
};

/** `struct kvm_interrupt`: KVM_INTERRUPT, without an in-kernel interrupt controller (api.rst 4.16). */
export const kvm_interrupt: Struct<KvmInterrupt> = struct("kvm_interrupt", { irq: u32 });

/** What {@linkcode kvm_mp_state} reads as. */
export type KvmMpState = {
  mp_state: number;
};

/** `struct kvm_mp_state`: one of `KVM_MP_STATE`. KVM_GET_MP_STATE, KVM_SET_MP_STATE (api.rst 4.38, 4.39). */
export const kvm_mp_state: Struct<KvmMpState> = struct("kvm_mp_state", { mp_state: u32 });

/** What {@linkcode kvm_x86_mce} reads as. */
export type KvmX86Mce = {
  status: bigint;
  addr: bigint;
  misc: bigint;
  mcg_status: bigint;
  bank: number;
  pad1: Uint8Array;
  pad2: bigint[];
};

/** `struct kvm_x86_mce`: a machine check for KVM_X86_SET_MCE (api.rst 4.106). */
export const kvm_x86_mce: Struct<KvmX86Mce> = struct("kvm_x86_mce", {
  status: u64,
  addr: u64,
  misc: u64,
  mcg_status: u64,
  bank: u8,
  pad1: array(u8, 7),
  pad2: array(u64, 3),
});

/** What {@linkcode kvm_clock_data} reads as. */
export type KvmClockData = {
  clock: bigint;
  flags: number;
  pad0: number;
  realtime: bigint;
  host_tsc: bigint;
  pad: number[];
};

/**
 * `struct kvm_clock_data`: kvmclock in nanoseconds; `flags` are `KVM_CLOCK`'s. KVM_GET_CLOCK, KVM_SET_CLOCK
 * (api.rst 4.29, 4.30).
 */
export const kvm_clock_data: Struct<KvmClockData> = struct("kvm_clock_data", {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: array(u32, 4),
});

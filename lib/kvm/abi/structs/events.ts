import { array, type Struct, struct, u32, u64, u8 } from "../../../ffi/struct.ts";

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

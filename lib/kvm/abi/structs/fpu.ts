import { array, flexible, type Struct, struct, u16, u32, u64, u8 } from "../../../ffi/struct.ts";

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

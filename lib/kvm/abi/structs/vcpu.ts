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

import { array, type Struct, struct, u32, u64 } from "../../../ffi/struct.ts";

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
  arch: { debugreg: bigint[] };
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

/**
 * KVM's ABI as data: numbers of ioctls, capabilities and exit reasons, constants, and the structures of `linux/kvm.h`,
 * with the place of each field.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { IOCTLS, kvm_regs } from "@vmexit/vmexit/abi";
 *
 * assertEquals(IOCTLS.KVM_RUN.number, 0xae80);
 * assertEquals(kvm_regs.offsetOf("rip"), 128);
 * ```
 *
 * @module
 */
export * from "./capabilities.ts";
export * from "./constants.ts";
export * from "./exit_reasons.ts";
export * from "./ioctls.ts";
export type { IoctlReferences } from "./ioctl_references.ts";
export * from "./ioctls_of_vcpu.ts";
export * from "./ioctls_of_vm.ts";
export * from "./structs/mod.ts";

// A structure of the tables is of these types.
export type {
  CType,
  Field,
  FieldPath,
  InnerPath,
  Struct,
  StructLayout,
  Writable,
} from "../../ffi/struct.ts";

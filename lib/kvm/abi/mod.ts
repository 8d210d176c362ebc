export * from "./capabilities.ts";
export * from "./capability_numbers.ts";
export * from "./constants.ts";
export * from "./exit_reasons.ts";
export * from "./ioctl_number.ts";
export * from "./ioctls.ts";
export type { IoctlReferences } from "./ioctl_references.ts";
export * from "./ioctls_of_device.ts";
export * from "./ioctls_of_system.ts";
export * from "./ioctls_of_vcpu.ts";
export * from "./ioctls_of_vm.ts";
export * from "./structs/mod.ts";

// A structure of the tables is of these types.
export type * from "../../ffi/struct.ts";

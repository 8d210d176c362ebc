import type { StructLayout } from "../../ffi/struct.ts";
import type { CapabilityName } from "./capabilities.ts";
import { type IoctlMacro, ioctlNumber } from "./ioctl_number.ts";
import { type IoctlReferences, ioctlReferences } from "./ioctl_references.ts";
import { IOCTLS_OF_DEVICE } from "./ioctls_of_device.ts";
import { IOCTLS_OF_SYSTEM } from "./ioctls_of_system.ts";
import { IOCTLS_OF_VCPU } from "./ioctls_of_vcpu.ts";
import { IOCTLS_OF_VM } from "./ioctls_of_vm.ts";
import { STRUCTS } from "./structs/mod.ts";

/** A kind of file descriptor that takes ioctls: `/dev/kvm`, a VM, a vCPU, or what KVM_CREATE_DEVICE made. */
export type IoctlLevel = "system" | "vm" | "vcpu" | "device";

/** The name of an ioctl as in `<linux/kvm.h>`: `"KVM_CREATE_VM"`. */
export type IoctlName =
  | keyof typeof IOCTLS_OF_SYSTEM
  | keyof typeof IOCTLS_OF_VM
  | keyof typeof IOCTLS_OF_DEVICE
  | keyof typeof IOCTLS_OF_VCPU;

/** An ioctl of KVM as data. */
export interface Ioctl {
  /** The header's name: `"KVM_GET_REGS"`. */
  readonly name: IoctlName;
  /** What `ioctl(2)` takes as its request. */
  readonly number: number;
  /**
   * Which way the argument goes, by the macro. Some of KVM's macros say it wrong; the number needs them so.
   */
  readonly macro: IoctlMacro;
  /**
   * Bytes of the argument as the number counts them, without a flexible array's elements. 0 where there is
   * none.
   */
  readonly size: number;
  /** The argument's layout, where it is a structure. */
  readonly struct?: StructLayout;
  /** What it refers to beyond its argument's bytes: undefined for most. */
  readonly references?: IoctlReferences;
  /** The file descriptors that take it, the usual one first. */
  readonly levels: readonly IoctlLevel[];
  /** The capability that tells whether the kernel has it. Undefined where every kernel has. */
  readonly capability?: CapabilityName;
  /** The kernel version that brought it, where that is newer than 5.10. */
  readonly since?: string;
}

/** The arguments that are no structures, by size. */
const SCALAR_SIZES: Readonly<Record<string, number>> = { u64: 8, ulong: 8 };

interface Declaration {
  readonly levels: readonly IoctlLevel[];
  readonly number: readonly [macro: IoctlMacro, nr: number, argument?: string];
  readonly capability?: CapabilityName;
  readonly since?: string;
}

function build(name: IoctlName, declaration: Declaration): Ioctl {
  const { levels, number: [macro, nr, argument], capability, since } = declaration;
  const struct = argument === undefined ? undefined : STRUCTS.get(argument);
  const size = argument === undefined ? 0 : struct?.size ?? SCALAR_SIZES[argument];
  const number = ioctlNumber(macro, nr, size);
  const references = ioctlReferences(name, struct);
  return { name, number, macro, size, struct, references, levels, capability, since };
}

/**
 * Every ioctl that KVM takes on x86, by the header's name.
 *
 * @example
 * ```ts
 * import { IOCTLS } from "@vmexit/vmexit/abi";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(IOCTLS.KVM_RUN.number, 0xae80);
 * assertEquals(IOCTLS.KVM_GET_REGS.struct?.name, "kvm_regs");
 * assertEquals(IOCTLS.KVM_SET_SREGS2.capability, "KVM_CAP_SREGS2");
 * ```
 */
export const IOCTLS: Readonly<Record<IoctlName, Ioctl>> = Object.fromEntries(
  Object.entries({
    ...IOCTLS_OF_SYSTEM,
    ...IOCTLS_OF_VM,
    ...IOCTLS_OF_DEVICE,
    ...IOCTLS_OF_VCPU,
  }).map(([name, declaration]) => [name, build(name as IoctlName, declaration)]),
) as Record<IoctlName, Ioctl>;

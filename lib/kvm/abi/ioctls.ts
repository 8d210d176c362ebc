import type { StructLayout } from "../../ffi/struct.ts";
import type { CapabilityName } from "./capabilities.ts";
import { type IoctlReferences, ioctlReferences } from "./ioctl_references.ts";
import { IOCTLS_OF_VCPU } from "./ioctls_of_vcpu.ts";
import { IOCTLS_OF_VM } from "./ioctls_of_vm.ts";
import { STRUCTS } from "./structs/mod.ts";

/** The ioctl type of `/dev/kvm` and of every fd that comes from it (`<linux/kvm.h>`). */
export const KVMIO = 0xae;

/** Which way an ioctl's argument goes, by the macro that builds its number. */
export type IoctlMacro = "_IO" | "_IOW" | "_IOR" | "_IOWR";

/** `_IOC_NONE`, `_IOC_WRITE`, `_IOC_READ` of `<asm-generic/ioctl.h>`, seen from the process. */
const DIRECTION: Record<IoctlMacro, number> = { _IO: 0, _IOW: 1, _IOR: 2, _IOWR: 3 };

const NR_BITS = 8;
const TYPE_BITS = 8;
const SIZE_BITS = 14;
const TYPE_SHIFT = NR_BITS;
const SIZE_SHIFT = TYPE_SHIFT + TYPE_BITS;
const DIRECTION_SHIFT = SIZE_SHIFT + SIZE_BITS;

/**
 * The number of a KVM ioctl, as the macros of `<linux/ioctl.h>` build it: direction, size of the argument,
 * `KVMIO`, number.
 *
 * @param nr 0 to 255.
 * @param size Of the argument in bytes, 0 to 16383.
 * @throws {RangeError} When one is out of range.
 *
 * @example
 * ```ts
 * import { ioctlNumber } from "@vmexit/vmexit/abi";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(ioctlNumber("_IO", 0x80, 0), 0xae80); // KVM_RUN
 * ```
 */
export function ioctlNumber(macro: IoctlMacro, nr: number, size: number): number {
  if (!Number.isInteger(nr) || nr < 0 || nr >= 1 << NR_BITS) {
    throw new RangeError(`Cannot build an ioctl number from nr ${nr}: it takes 0 to 255`);
  }
  if (!Number.isInteger(size) || size < 0 || size >= 1 << SIZE_BITS) {
    throw new RangeError(
      `Cannot build an ioctl number for an argument of ${size} bytes: it takes 0 to 16383`,
    );
  }
  const bits = DIRECTION[macro] << DIRECTION_SHIFT | size << SIZE_SHIFT | KVMIO << TYPE_SHIFT | nr;
  return bits >>> 0;
}

/**
 * The ioctls that a device of KVM_CREATE_DEVICE takes, and the other levels for attributes of their own, by
 * the header's name: the file descriptors that take them, the macro, number and argument that each value is
 * built from, the capability that gates it, and the kernel version that brought it where that is newer than
 * 5.10 (`<linux/kvm.h>`; api.rst 4).
 */
export const IOCTLS_OF_DEVICE = {
  KVM_SET_DEVICE_ATTR: {
    levels: ["device", "vm", "vcpu"],
    number: ["_IOW", 0xe1, "kvm_device_attr"],
    capability: "KVM_CAP_DEVICE_CTRL",
  },
  KVM_GET_DEVICE_ATTR: {
    levels: ["device", "system", "vm", "vcpu"],
    number: ["_IOW", 0xe2, "kvm_device_attr"],
    capability: "KVM_CAP_DEVICE_CTRL",
  },
  KVM_HAS_DEVICE_ATTR: {
    levels: ["device", "system", "vm", "vcpu"],
    number: ["_IOW", 0xe3, "kvm_device_attr"],
    capability: "KVM_CAP_DEVICE_CTRL",
  },
} as const;

/**
 * The ioctls that `/dev/kvm` takes, by the header's name: the file descriptors that take them, the macro,
 * number and argument that each value is built from, the capability that gates it, and the kernel version
 * that brought it where that is newer than 5.10 (`<linux/kvm.h>`; api.rst 4).
 */
export const IOCTLS_OF_SYSTEM = {
  KVM_GET_API_VERSION: { levels: ["system"], number: ["_IO", 0x00] },
  KVM_CREATE_VM: { levels: ["system"], number: ["_IO", 0x01] },
  KVM_GET_MSR_INDEX_LIST: { levels: ["system"], number: ["_IOWR", 0x02, "kvm_msr_list"] },
  KVM_CHECK_EXTENSION: { levels: ["system", "vm"], number: ["_IO", 0x03] },
  KVM_GET_VCPU_MMAP_SIZE: { levels: ["system"], number: ["_IO", 0x04] },
  KVM_GET_SUPPORTED_CPUID: {
    levels: ["system"],
    number: ["_IOWR", 0x05, "kvm_cpuid2"],
    capability: "KVM_CAP_EXT_CPUID",
  },
  KVM_GET_EMULATED_CPUID: {
    levels: ["system"],
    number: ["_IOWR", 0x09, "kvm_cpuid2"],
    capability: "KVM_CAP_EXT_EMUL_CPUID",
  },
  KVM_GET_MSR_FEATURE_INDEX_LIST: {
    levels: ["system"],
    number: ["_IOWR", 0x0a, "kvm_msr_list"],
    capability: "KVM_CAP_GET_MSR_FEATURES",
  },
  KVM_X86_GET_MCE_CAP_SUPPORTED: {
    levels: ["system"],
    number: ["_IOR", 0x9d, "u64"],
    capability: "KVM_CAP_MCE",
  },
  KVM_GET_SUPPORTED_HV_CPUID: {
    levels: ["system", "vcpu"],
    number: ["_IOWR", 0xc1, "kvm_cpuid2"],
    capability: "KVM_CAP_HYPERV_CPUID",
  },
} as const;

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

import type { StructLayout } from "../../ffi/struct.ts";
import { KVM_CREATE_DEVICE } from "./constants.ts";

/**
 * What an ioctl refers to beyond the bytes of its argument. Where KVM is in another machine, these mean something else
 * there, and are translated.
 */
export interface IoctlReferences {
  /** Offsets of the addresses in the argument: 64-bit numbers. */
  readonly addresses: readonly number[];
  /** Offsets of the file descriptors in it: 32-bit numbers. */
  readonly descriptors: readonly number[];
  /** The offset of a file descriptor that the kernel puts into it, unless a flag in it says that it only tries. */
  readonly newDescriptor:
    | {
      readonly offset: number;
      readonly unless: { readonly offset: number; readonly flag: number };
    }
    | undefined;
  /** Whether the call returns a file descriptor. */
  readonly returnsDescriptor: boolean;
}

/** How many ranges a `struct kvm_msr_filter` has (`KVM_MSR_FILTER_MAX_RANGES`). */
const MSR_FILTER_RANGES = 16;

interface Paths {
  readonly addresses?: readonly string[];
  readonly descriptors?: readonly string[];
  readonly newDescriptor?: { path: string; unless: { path: string; flag: number } };
}

/** The members of KVM's structures that are addresses or file descriptors of the process (`<linux/kvm.h>`). */
const PATHS: Readonly<Record<string, Paths>> = {
  kvm_userspace_memory_region: { addresses: ["userspace_addr"] },
  kvm_userspace_memory_region2: {
    addresses: ["userspace_addr"],
    descriptors: ["guest_memfd"],
  },
  kvm_dirty_log: { addresses: ["dirty_bitmap"] },
  kvm_clear_dirty_log: { addresses: ["dirty_bitmap"] },
  kvm_one_reg: { addresses: ["addr"] },
  kvm_device_attr: { addresses: ["addr"] },
  kvm_msr_filter: {
    addresses: Array.from({ length: MSR_FILTER_RANGES }, (_, index) => `ranges[${index}].bitmap`),
  },
  kvm_xen_hvm_config: { addresses: ["blob_addr_32", "blob_addr_64"] },
  kvm_enc_region: { addresses: ["addr"] },
  kvm_irqfd: { descriptors: ["fd", "resamplefd"] },
  kvm_ioeventfd: { descriptors: ["fd"] },
  kvm_hyperv_eventfd: { descriptors: ["fd"] },
  kvm_xen_hvm_attr: { descriptors: ["u.evtchn.deliver.eventfd.fd"] },
  kvm_create_device: {
    newDescriptor: { path: "fd", unless: { path: "flags", flag: KVM_CREATE_DEVICE.TEST } },
  },
};

/** The ioctls that return a file descriptor. */
const RETURNS_DESCRIPTOR: ReadonlySet<string> = new Set([
  "KVM_CREATE_VM",
  "KVM_CREATE_VCPU",
  "KVM_GET_STATS_FD",
  "KVM_CREATE_GUEST_MEMFD",
]);

/**
 * What an ioctl refers to beyond its argument's bytes.
 *
 * @param name The header's name.
 * @param struct The argument's layout, where it is a structure.
 */
export function ioctlReferences(
  name: string,
  struct: StructLayout | undefined,
): IoctlReferences | undefined {
  const paths = struct === undefined ? undefined : PATHS[struct.name];
  const returnsDescriptor = RETURNS_DESCRIPTOR.has(name);
  if (paths === undefined && !returnsDescriptor) return undefined;
  const offset = (path: string) => struct!.offsetOf(path);
  const made = paths?.newDescriptor;
  return {
    addresses: (paths?.addresses ?? []).map(offset),
    descriptors: (paths?.descriptors ?? []).map(offset),
    newDescriptor: made && {
      offset: offset(made.path),
      unless: { offset: offset(made.unless.path), flag: made.unless.flag },
    },
    returnsDescriptor,
  };
}

import type { Writable } from "../../ffi/struct.ts";
import { kvm_cpuid2, type KvmCpuidEntry2 } from "../abi/structs/cpuid.ts";
import { type IoctlOptions, type IoctlTarget, structBytes } from "../ioctl_target.ts";
import { ERRNO } from "../../ffi/errors.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import type { IoctlName } from "../abi/ioctls.ts";
import { KvmError } from "../errors.ts";

/**
 * What CPUID answers on a vCPU. Each throws a KvmError when the kernel refuses, and a CapabilityError when
 * it lacks the capability.
 */
export class VcpuCpuid {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.cpuid}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /** The leaves that were set, as the vCPU answers them now (`KVM_GET_CPUID2`, api.rst 4.46). */
  getCpuid2(): KvmCpuidEntry2[] {
    return cpuidEntries(this.#target, "KVM_GET_CPUID2");
  }

  /**
   * Replaces all leaves, before the first run (`KVM_SET_CPUID2`, api.rst 4.46).
   *
   * @param entries A leaf and a subleaf each, in any order; or the bytes of a `struct kvm_cpuid2` with them.
   */
  setCpuid2(entries: readonly Writable<KvmCpuidEntry2>[] | Uint8Array<ArrayBuffer>): void {
    const bytes = entries instanceof Uint8Array ? entries : cpuidBytesOf(entries);
    this.#target.call("KVM_SET_CPUID2", bytes);
  }

  /** The Hyper-V leaves that this vCPU could have (`KVM_GET_SUPPORTED_HV_CPUID`, api.rst 4.118). */
  getSupportedHvCpuid(): KvmCpuidEntry2[] {
    return cpuidEntries(this.#target, "KVM_GET_SUPPORTED_HV_CPUID");
  }
}

/** A `struct kvm_cpuid2` with these entries. */
export function cpuidBytesOf(
  entries: readonly Writable<KvmCpuidEntry2>[],
): Uint8Array<ArrayBuffer> {
  return structBytes(kvm_cpuid2, { entries }, entries.length);
}

/** CPUID entries to ask for at first; the kernel says E2BIG as long as there are more. */
const CPUID_ENTRIES = 128;

/** Far more than KVM ever has (its KVM_MAX_CPUID_ENTRIES is 256): asking for yet more would never end. */
const MOST_CPUID_ENTRIES = 4096;

/** A leaf that no CPU has, in entries that the kernel has not written. */
const UNWRITTEN = 0xffff_ffff;

/** The bytes of it, which may be more than the entries take. */
function cpuidBytes(
  target: IoctlTarget,
  name: IoctlName,
  options: IoctlOptions,
): Uint8Array<ArrayBuffer> {
  for (let entries = CPUID_ENTRIES;; entries *= 2) {
    const bytes = structBytes(kvm_cpuid2, { nent: entries }, entries);
    if (name === "KVM_GET_CPUID2") bytes.fill(0xff, kvm_cpuid2.size);
    try {
      target.call(name, bytes, options);
      return bytes;
    } catch (error) {
      const tooFew = error instanceof KvmError && error.errno === ERRNO.E2BIG;
      if (!tooFew || entries >= MOST_CPUID_ENTRIES) throw error;
    }
  }
}

/** Asks for a `struct kvm_cpuid2`, with more room as long as the kernel says that there are more entries. */
export function cpuidEntries(
  target: IoctlTarget,
  name: IoctlName,
  options: IoctlOptions = {},
): KvmCpuidEntry2[] {
  return entriesOf(cpuidBytes(target, name, options));
}

/** What the kernel has answered last to {@linkcode supportedCpuid}, and what was read from it. */
let latest: { readonly bytes: Uint8Array<ArrayBuffer>; readonly entries: SharedCpuid } | undefined;

/** Entries that nobody can change. */
export type SharedCpuid = readonly Readonly<KvmCpuidEntry2>[];

/** See {@linkcode Kvm.getSupportedCpuid}. */
export function supportedCpuid(target: IoctlTarget): SharedCpuid {
  const bytes = cpuidBytes(target, "KVM_GET_SUPPORTED_CPUID", {});
  if (latest?.bytes.length !== bytes.length || !processCalls().equal(latest.bytes, bytes)) {
    const entries = entriesOf(bytes).map((entry) => Object.freeze(entry));
    latest = { bytes, entries: Object.freeze(entries) };
  }
  return latest.entries;
}

function entriesOf(bytes: Uint8Array<ArrayBuffer>): KvmCpuidEntry2[] {
  const { entries } = kvm_cpuid2.read(new DataView(bytes.buffer));
  // Linux 6.1 does not say how many entries KVM_GET_CPUID2 has written.
  const end = entries.findIndex((entry) => entry.function === UNWRITTEN);
  return end < 0 ? entries : entries.slice(0, end);
}

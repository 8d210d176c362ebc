import { array, flexible, type Struct, struct, u32 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_cpuid_entry} reads as. */
export type KvmCpuidEntry = {
  function: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
  padding: number;
};

/** `struct kvm_cpuid_entry`: a CPUID leaf for the legacy KVM_SET_CPUID. */
export const kvm_cpuid_entry: Struct<KvmCpuidEntry> = struct("kvm_cpuid_entry", {
  function: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: u32,
});

/** What {@linkcode kvm_cpuid} reads as. */
export type KvmCpuid = {
  nent: number;
  padding: number;
  entries: KvmCpuidEntry[];
};

/** `struct kvm_cpuid`: the legacy KVM_SET_CPUID (api.rst 4.20). */
export const kvm_cpuid: Struct<KvmCpuid> = struct("kvm_cpuid", {
  nent: u32,
  padding: u32,
  entries: flexible(kvm_cpuid_entry, "nent"),
});

/** What {@linkcode kvm_cpuid_entry2} reads as. */
export type KvmCpuidEntry2 = {
  function: number;
  index: number;
  flags: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
  padding: number[];
};

/**
 * `struct kvm_cpuid_entry2`: a CPUID leaf; `index` is ECX where `flags` has KVM_CPUID_FLAG_SIGNIFCANT_INDEX.
 */
export const kvm_cpuid_entry2: Struct<KvmCpuidEntry2> = struct("kvm_cpuid_entry2", {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});

/** What {@linkcode kvm_cpuid2} reads as. */
export type KvmCpuid2 = {
  nent: number;
  padding: number;
  entries: KvmCpuidEntry2[];
};

/**
 * `struct kvm_cpuid2`: KVM_SET_CPUID2, KVM_GET_CPUID2, KVM_GET_SUPPORTED_CPUID, KVM_GET_EMULATED_CPUID,
 * KVM_GET_SUPPORTED_HV_CPUID. Where KVM fills it, `nent` says first how many fit (api.rst 4.46, 4.88, 4.118).
 */
export const kvm_cpuid2: Struct<KvmCpuid2> = struct("kvm_cpuid2", {
  nent: u32,
  padding: u32,
  entries: flexible(kvm_cpuid_entry2, "nent"),
});

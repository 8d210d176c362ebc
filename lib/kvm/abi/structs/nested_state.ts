import {
  array,
  since,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
  union,
} from "../../../ffi/struct.ts";

/** What {@linkcode kvm_vmx_nested_state_hdr} reads as. */
export type KvmVmxNestedStateHdr = {
  vmxon_pa: bigint;
  vmcs12_pa: bigint;
  smm: { flags: number };
  pad: number;
  flags: number;
  preemption_timer_deadline: bigint;
};

/** `struct kvm_vmx_nested_state_hdr`: where a VMX guest hypervisor stands. */
export const kvm_vmx_nested_state_hdr: Struct<KvmVmxNestedStateHdr> = struct(
  "kvm_vmx_nested_state_hdr",
  {
    vmxon_pa: u64,
    vmcs12_pa: u64,
    smm: struct("", { flags: u16 }),
    pad: u16,
    flags: u32,
    preemption_timer_deadline: u64,
  },
);

/** What {@linkcode kvm_svm_nested_state_hdr} reads as. */
export type KvmSvmNestedStateHdr = {
  vmcb_pa: bigint;
  gpat: bigint;
};

/** `struct kvm_svm_nested_state_hdr`: where an SVM guest hypervisor stands. */
export const kvm_svm_nested_state_hdr: Struct<KvmSvmNestedStateHdr> = struct(
  "kvm_svm_nested_state_hdr",
  { vmcb_pa: u64, gpat: since("7.1", u64) },
);

/** What {@linkcode kvm_vmx_nested_state_data} reads as. */
export type KvmVmxNestedStateData = {
  vmcs12: Uint8Array;
  shadow_vmcs12: Uint8Array;
};

/** `struct kvm_vmx_nested_state_data`: the VMCS of the nested guest, and its shadow. */
export const kvm_vmx_nested_state_data: Struct<KvmVmxNestedStateData> = struct(
  "kvm_vmx_nested_state_data",
  { vmcs12: array(u8, 0x1000), shadow_vmcs12: array(u8, 0x1000) },
);

/** What {@linkcode kvm_svm_nested_state_data} reads as. */
export type KvmSvmNestedStateData = {
  vmcb12: Uint8Array;
};

/** `struct kvm_svm_nested_state_data`: the VMCB of the nested guest. */
export const kvm_svm_nested_state_data: Struct<KvmSvmNestedStateData> = struct(
  "kvm_svm_nested_state_data",
  { vmcb12: array(u8, 0x1000) },
);

/** What {@linkcode kvm_nested_state} reads as. */
export type KvmNestedState = {
  flags: number;
  format: number;
  size: number;
  hdr: {
    vmx: KvmVmxNestedStateHdr;
    svm: KvmSvmNestedStateHdr;
    pad: Uint8Array;
  };
  data: { vmx: KvmVmxNestedStateData[]; svm: KvmSvmNestedStateData[] };
};

/**
 * `struct kvm_nested_state`: the header; `format` is of `KVM_STATE_NESTED_FORMAT`, and the data of that
 * format follows it up to `size`. KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE (api.rst 4.114, 4.115).
 */
export const kvm_nested_state: Struct<KvmNestedState> = struct("kvm_nested_state", {
  flags: u16,
  format: u16,
  size: u32,
  hdr: union({ vmx: kvm_vmx_nested_state_hdr, svm: kvm_svm_nested_state_hdr, pad: array(u8, 120) }),
  data: union({
    vmx: array(kvm_vmx_nested_state_data, 0),
    svm: array(kvm_svm_nested_state_data, 0),
  }),
});

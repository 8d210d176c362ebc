import { flagAt, type FlagTable } from "../registers/flags.ts";

/** Flags of IA32_FEATURE_CONTROL (Intel SDM Vol. 3C, 23.7, and Vol. 4, table 2-2). */
export type FeatureControlFlag =
  | "lock"
  | "vmx_inside_smx"
  | "vmx_outside_smx"
  | "senter_local"
  | "senter_global"
  | "sgx_launch_control"
  | "sgx"
  | "lmce";

/**
 * IA32_FEATURE_CONTROL by name. VMXON needs `lock`, and outside SMX operation `vmx_outside_smx`; while `lock`
 * is set, the MSR cannot be written.
 */
export const featureControlFlags: FlagTable<FeatureControlFlag> = {
  lock: flagAt(0),
  vmx_inside_smx: flagAt(1),
  vmx_outside_smx: flagAt(2),
  senter_local: flagAt(8, 7),
  senter_global: flagAt(15),
  sgx_launch_control: flagAt(17),
  sgx: flagAt(18),
  lmce: flagAt(20),
};

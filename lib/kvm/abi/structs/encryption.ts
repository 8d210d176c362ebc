import { since, type Struct, struct, u32, u64 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_enc_region} reads as. */
export type KvmEncRegion = {
  addr: bigint;
  size: bigint;
};

/** `struct kvm_enc_region`: KVM_MEMORY_ENCRYPT_REG_REGION and …_UNREG_REGION (api.rst 4.111, 4.112). */
export const kvm_enc_region: Struct<KvmEncRegion> = struct("kvm_enc_region", {
  addr: u64,
  size: u64,
});

/** What {@linkcode kvm_sev_cmd} reads as. */
export type KvmSevCmd = {
  id: number;
  pad0: number;
  data: bigint;
  error: number;
  sev_fd: number;
};

/** `struct kvm_sev_cmd`: an SEV command for KVM_MEMORY_ENCRYPT_OP (x86/amd-memory-encryption.rst). */
export const kvm_sev_cmd: Struct<KvmSevCmd> = struct("kvm_sev_cmd", {
  id: u32,
  pad0: since("6.9", u32),
  data: u64,
  error: u32,
  sev_fd: u32,
});

/** What {@linkcode kvm_tdx_cmd} reads as. */
export type KvmTdxCmd = {
  id: number;
  flags: number;
  data: bigint;
  hw_error: bigint;
};

/** `struct kvm_tdx_cmd`: a TDX command for KVM_MEMORY_ENCRYPT_OP (x86/intel-tdx.rst). */
export const kvm_tdx_cmd: Struct<KvmTdxCmd> = since(
  "6.16",
  struct("kvm_tdx_cmd", { id: u32, flags: u32, data: u64, hw_error: u64 }),
);

/** What {@linkcode kvm_exit_snp_req_certs} reads as. */
export type KvmExitSnpReqCerts = {
  gpa: bigint;
  npages: bigint;
  ret: bigint;
};

/** `struct kvm_exit_snp_req_certs`: what a KVM_EXIT_SNP_REQ_CERTS carries (api.rst 5). */
export const kvm_exit_snp_req_certs: Struct<KvmExitSnpReqCerts> = since(
  "7.0",
  struct("kvm_exit_snp_req_certs", { gpa: u64, npages: u64, ret: u64 }),
);

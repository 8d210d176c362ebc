import type { Pages } from "../../ffi/libc.ts";
import { kvm_enc_region } from "../abi/structs/encryption.ts";
import type { IoctlTarget } from "../ioctl_target.ts";

/**
 * The memory of confidential VMs. No capability tells whether the host has them: where it has not, the
 * kernel refuses with ENOTTY.
 */
export class VmEncryption {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vm.encryption}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * Gives a command to the host's platform (`KVM_MEMORY_ENCRYPT_OP`, api.rst 4.110).
   *
   * @param command A `struct kvm_sev_cmd` (x86/amd-memory-encryption.rst) or `kvm_tdx_cmd`
   * (x86/intel-tdx.rst), which the kernel changes. What its `data` points to must live as long as the call.
   * @throws {KvmError} ENOTTY where the host has no such platform, or the VM is not confidential.
   */
  memoryEncryptOp(command: Uint8Array<ArrayBuffer>): void {
    this.#target.call("KVM_MEMORY_ENCRYPT_OP", command);
  }

  /**
   * Pins memory that will be encrypted (`KVM_MEMORY_ENCRYPT_REG_REGION`, api.rst 4.111).
   *
   * @param pages Memory of this process.
   * @throws {KvmError} When the kernel refuses.
   */
  memoryEncryptRegRegion(pages: Pages): void {
    this.#target.set("KVM_MEMORY_ENCRYPT_REG_REGION", kvm_enc_region, region(pages));
  }

  /**
   * Takes that back (`KVM_MEMORY_ENCRYPT_UNREG_REGION`, api.rst 4.112).
   *
   * @param pages The same.
   * @throws {KvmError}
   */
  memoryEncryptUnregRegion(pages: Pages): void {
    this.#target.set("KVM_MEMORY_ENCRYPT_UNREG_REGION", kvm_enc_region, region(pages));
  }
}

function region({ address, bytes }: Pages): { addr: bigint; size: number } {
  return { addr: address, size: bytes.length };
}

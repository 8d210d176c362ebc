import type { Writable } from "../../ffi/struct.ts";
import {
  kvm_fpu,
  kvm_xcrs,
  kvm_xsave,
  type KvmFpu,
  type KvmXcrs,
} from "../abi/structs/registers.ts";
import { buffer, type IoctlTarget } from "../ioctl_target.ts";

/**
 * The state of the floating-point and vector units of a vCPU. Each throws a KvmError when the kernel
 * refuses.
 */
export class VcpuFpu {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.fpu}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * x87 state and the XMM registers (`KVM_GET_FPU`, api.rst 4.22). KVM leaves `mxcsr` 0: it is in the XSAVE
   * area only.
   */
  getFpu(): KvmFpu {
    return this.#target.get("KVM_GET_FPU", kvm_fpu);
  }

  /**
   * Sets it whole; what is left out becomes 0 (`KVM_SET_FPU`, api.rst 4.23). KVM ignores `mxcsr`: set it in
   * the XSAVE area.
   *
   * @param fpu The registers; `fpr` and `xmm` have 16 bytes each.
   */
  setFpu(fpu: Writable<KvmFpu>): void {
    this.#target.set("KVM_SET_FPU", kvm_fpu, fpu);
  }

  /**
   * The first 4096 bytes of the XSAVE area, in the layout of CPUID leaf 0xD (`KVM_GET_XSAVE`, api.rst
   * 4.42).
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getXsave(): Uint8Array<ArrayBuffer> {
    const bytes = buffer(kvm_xsave.size);
    this.#target.call("KVM_GET_XSAVE", bytes);
    return bytes;
  }

  /**
   * The XSAVE area whole, {@linkcode VcpuFpu.xsaveSize} bytes (`KVM_GET_XSAVE2`, api.rst 4.134).
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getXsave2(): Uint8Array<ArrayBuffer> {
    const bytes = buffer(this.xsaveSize);
    this.#target.call("KVM_GET_XSAVE2", bytes);
    return bytes;
  }

  /**
   * Sets the XSAVE area (`KVM_SET_XSAVE`, api.rst 4.43).
   *
   * @param area {@linkcode VcpuFpu.xsaveSize} bytes, in the layout of CPUID leaf 0xD.
   * @throws {RangeError} When it has another size.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  setXsave(area: Uint8Array): void {
    const size = this.xsaveSize;
    if (area.length !== size) {
      throw new RangeError(
        `Cannot set the XSAVE area from ${area.length} bytes: this KVM takes ${size} (KVM_CAP_XSAVE2); ` +
          "change what getXsave2() gives",
      );
    }
    const bytes = buffer(size);
    bytes.set(area);
    this.#target.call("KVM_SET_XSAVE", bytes);
  }

  /**
   * How many bytes the XSAVE area has: what `KVM_CHECK_EXTENSION` says of `KVM_CAP_XSAVE2`, and 4096 at the
   * least.
   */
  get xsaveSize(): number {
    return Math.max(kvm_xsave.size, this.#target.capability("KVM_CAP_XSAVE2"));
  }

  /**
   * The extended control registers, of which x86 has XCR0 (`KVM_GET_XCRS`, api.rst 4.44).
   *
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  getXcrs(): KvmXcrs {
    return this.#target.get("KVM_GET_XCRS", kvm_xcrs);
  }

  /**
   * Sets extended control registers (`KVM_SET_XCRS`, api.rst 4.45).
   *
   * @param xcrs Those to set, by number and value.
   * @throws {RangeError} When they are more than 16.
   * @throws {CapabilityError} When the kernel lacks the capability.
   */
  setXcrs(xcrs: readonly { readonly xcr: number; readonly value: number | bigint }[]): void {
    this.#target.set("KVM_SET_XCRS", kvm_xcrs, { nr_xcrs: xcrs.length, xcrs });
  }
}

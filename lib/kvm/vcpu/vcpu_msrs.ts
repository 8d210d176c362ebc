import type { KvmMsrEntry } from "../abi/structs/msr.ts";
import type { IoctlTarget } from "../ioctl_target.ts";
import { readMsrs, writeMsrs } from "../msr_list.ts";

/** The model-specific registers of a vCPU. */
export class VcpuMsrs {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.msrs}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * MSRs by their numbers, in the order of the list (`KVM_GET_MSRS`, api.rst 4.18).
   *
   * @throws {MsrError} When one of them cannot be read; it says which.
   */
  getMsrs(indices: readonly number[]): KvmMsrEntry[] {
    return readMsrs(this.#target, indices);
  }

  /**
   * Sets MSRs in the order of the list (`KVM_SET_MSRS`, api.rst 4.19).
   *
   * @throws {MsrError} When one of them is refused; it says which. Those before it are set, those behind it
   * are not.
   */
  setMsrs(entries: readonly { readonly index: number; readonly data: number | bigint }[]): void {
    writeMsrs(this.#target, entries);
  }
}

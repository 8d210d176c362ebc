import type { Writable } from "../../ffi/struct.ts";
import { kvm_nested_state, type KvmNestedState } from "../abi/structs/nested_state.ts";
import { buffer, type IoctlTarget, structBytes } from "../ioctl_target.ts";

/** Where a guest hypervisor stands: {@linkcode VcpuNested.getNestedState}. */
export interface NestedState extends Omit<KvmNestedState, "size" | "data"> {
  /**
   * What follows the header: the VMCSs or the VMCB of the nested guest, in the layouts of
   * `kvm_vmx_nested_state_data` and `kvm_svm_nested_state_data`. Empty outside of a nested guest.
   */
  readonly data: Uint8Array;
}

/** What of it {@linkcode VcpuNested.setNestedState} takes: all but `format` may be left out, and is 0. */
export interface NestedStateToSet {
  /** `KVM_STATE_NESTED.FORMAT_VMX` or `FORMAT_SVM`. */
  readonly format: number;
  /** Of `KVM_STATE_NESTED`. */
  readonly flags?: number;
  /** By format. */
  readonly hdr?: Writable<KvmNestedState["hdr"]>;
  /** What follows the header. */
  readonly data?: Uint8Array;
}

/**
 * The state of the virtualization inside the guest. Each throws a KvmError when the kernel refuses, and a
 * CapabilityError when it lacks the capability.
 */
export class VcpuNested {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.nested}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /** Where a guest hypervisor on this vCPU stands (`KVM_GET_NESTED_STATE`, api.rst 4.114). */
  getNestedState(): NestedState {
    // The kernel says of the capability how much it can be.
    const size = Math.max(
      kvm_nested_state.size,
      this.#target.capability("KVM_CAP_NESTED_STATE"),
    );
    const bytes = buffer(size);
    kvm_nested_state.write(new DataView(bytes.buffer), 0, { size });
    this.#target.call("KVM_GET_NESTED_STATE", bytes);
    const { size: filled, data: _, ...state } = kvm_nested_state.read(new DataView(bytes.buffer));
    return { ...state, data: bytes.slice(kvm_nested_state.size, filled) };
  }

  /**
   * Sets where it stands (`KVM_SET_NESTED_STATE`, api.rst 4.115).
   *
   * @param state What {@linkcode VcpuNested.getNestedState} gave, or as much of it as is meant.
   */
  setNestedState({ format, flags, hdr, data = new Uint8Array() }: NestedStateToSet): void {
    const size = kvm_nested_state.size + data.length;
    const bytes = buffer(size);
    bytes.set(structBytes(kvm_nested_state, { format, flags, hdr, size }));
    bytes.set(data, kvm_nested_state.size);
    this.#target.call("KVM_SET_NESTED_STATE", bytes);
  }
}

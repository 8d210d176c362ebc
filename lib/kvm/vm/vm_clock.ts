import type { Writable } from "../../ffi/struct.ts";
import { kvm_clock_data, type KvmClockData } from "../abi/structs/clock.ts";
import type { IoctlTarget } from "../ioctl_target.ts";

/**
 * The time of a VM. Each throws a KvmError when the kernel refuses, and a CapabilityError when it lacks the
 * capability.
 */
export class VmClock {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vm.clock}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * kvmclock in nanoseconds; `flags` of `KVM_CLOCK` say what else counts (`KVM_GET_CLOCK`, api.rst 4.29).
   */
  getClock(): KvmClockData {
    return this.#target.get("KVM_GET_CLOCK", kvm_clock_data);
  }

  /** Sets kvmclock (`KVM_SET_CLOCK`, api.rst 4.30). */
  setClock(clock: Writable<Pick<KvmClockData, "clock" | "flags" | "realtime">>): void {
    this.#target.set("KVM_SET_CLOCK", kvm_clock_data, clock);
  }

  /** How fast the TSC of a new vCPU will count, in kHz (`KVM_GET_TSC_KHZ`, api.rst 4.56). */
  getTscKhz(): number {
    return this.#target.call("KVM_GET_TSC_KHZ");
  }

  /**
   * Sets how fast the TSC of new vCPUs counts, in kHz, before the first (`KVM_SET_TSC_KHZ`, api.rst 4.55).
   */
  setTscKhz(kilohertz: number): void {
    this.#target.call("KVM_SET_TSC_KHZ", kilohertz, {
      capability: "KVM_CAP_VM_TSC_CONTROL",
      context: `with ${kilohertz} kHz`,
    });
  }
}

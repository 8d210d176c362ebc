import type { Writable } from "../../ffi/struct.ts";
import { kvm_clock_data, type KvmClockData } from "../abi/structs/vcpu.ts";
import type { IoctlTarget } from "../ioctl_target.ts";
import {
  kvm_pit_config,
  kvm_pit_state2,
  kvm_reinject_control,
  type KvmPitState2,
} from "../abi/structs/irqchip.ts";

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

  /**
   * Sets kvmclock (`KVM_SET_CLOCK`, api.rst 4.30).
   *
   * @param clock `clock` in nanoseconds.
   */
  setClock(clock: Writable<Pick<KvmClockData, "clock" | "flags" | "realtime">>): void {
    this.#target.set("KVM_SET_CLOCK", kvm_clock_data, clock);
  }

  /** How fast the TSC of a new vCPU will count, in kHz (`KVM_GET_TSC_KHZ`, api.rst 4.56). */
  getTscKhz(): number {
    return this.#target.call("KVM_GET_TSC_KHZ");
  }

  /**
   * Sets how fast the TSC of new vCPUs counts, in kHz, before the first (`KVM_SET_TSC_KHZ`, api.rst 4.55).
   *
   * @param kilohertz The frequency.
   */
  setTscKhz(kilohertz: number): void {
    this.#target.call("KVM_SET_TSC_KHZ", kilohertz, {
      capability: "KVM_CAP_VM_TSC_CONTROL",
      context: `with ${kilohertz} kHz`,
    });
  }
}

/**
 * The interval timer (8254) that the kernel keeps. Each throws a KvmError when the kernel refuses, and a
 * CapabilityError when it lacks the capability.
 */
export class VmPit {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vm.pit}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * Creates it (`KVM_CREATE_PIT2`, api.rst 4.71). After the interrupt controllers.
   *
   * @param flags `KVM_PIT.SPEAKER_DUMMY`, or none.
   * @throws {KvmError} EEXIST where there is one, and in newer kernels ENOENT without interrupt
   *   controllers.
   */
  createPit2(flags = 0): void {
    this.#target.set("KVM_CREATE_PIT2", kvm_pit_config, { flags });
  }

  /** Its counters (`KVM_GET_PIT2`, api.rst 4.72). @throws {KvmError} ENXIO where there is none. */
  getPit2(): KvmPitState2 {
    return this.#target.get("KVM_GET_PIT2", kvm_pit_state2);
  }

  /**
   * Sets its counters (`KVM_SET_PIT2`, api.rst 4.73).
   *
   * @param state What is left out becomes 0.
   * @throws {KvmError} ENXIO where there is none.
   */
  setPit2(state: Writable<KvmPitState2>): void {
    this.#target.set("KVM_SET_PIT2", kvm_pit_state2, state);
  }

  /**
   * Whether ticks that the guest missed are made up for (`KVM_REINJECT_CONTROL`; the kernel's documentation
   * has no section for it).
   *
   * @param reinject Whether they are.
   * @throws {KvmError} ENXIO where there is no PIT.
   */
  reinjectControl(reinject: boolean): void {
    const value = { pit_reinject: reinject ? 1 : 0 };
    this.#target.set("KVM_REINJECT_CONTROL", kvm_reinject_control, value);
  }
}

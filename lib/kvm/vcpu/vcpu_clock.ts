import { KVM_VCPU_TSC } from "../abi/constants.ts";
import type { DeviceAttributes } from "../device.ts";
import type { IoctlTarget } from "../ioctl_target.ts";

const OFFSET = { group: KVM_VCPU_TSC.CTRL, attr: KVM_VCPU_TSC.OFFSET };
const U64_SIZE = 8;

/**
 * The time of a vCPU. Each throws a KvmError when the kernel refuses, and a CapabilityError when it lacks
 * the capability.
 */
export class VcpuClock {
  readonly #target: IoctlTarget;
  readonly #attributes: DeviceAttributes;

  /** Use {@linkcode Vcpu.clock}. */
  constructor(target: IoctlTarget, attributes: DeviceAttributes) {
    this.#target = target;
    this.#attributes = attributes;
  }

  /** How fast its TSC counts, in kHz (`KVM_GET_TSC_KHZ`, api.rst 4.56). */
  getTscKhz(): number {
    return this.#target.call("KVM_GET_TSC_KHZ");
  }

  /**
   * Sets how fast its TSC counts, in kHz (`KVM_SET_TSC_KHZ`, api.rst 4.55).
   *
   * @param kilohertz The frequency.
   */
  setTscKhz(kilohertz: number): void {
    this.#target.call("KVM_SET_TSC_KHZ", kilohertz, { context: `with ${kilohertz} kHz` });
  }

  /**
   * What is added to the host's TSC, modulo 2^64 (`KVM_GET_DEVICE_ATTR` of `KVM_VCPU_TSC_OFFSET`,
   * devices/vcpu.rst 4.1).
   */
  getTscOffset(): bigint {
    const bytes = this.#attributes.getDeviceAttr(OFFSET, U64_SIZE);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  /**
   * Sets what is added to the host's TSC (`KVM_SET_DEVICE_ATTR` of `KVM_VCPU_TSC_OFFSET`, devices/vcpu.rst
   * 4.1).
   *
   * @param offset In cycles, modulo 2^64.
   */
  setTscOffset(offset: bigint): void {
    const bytes = new Uint8Array(U64_SIZE);
    new DataView(bytes.buffer).setBigUint64(0, offset, true);
    this.#attributes.setDeviceAttr(OFFSET, bytes);
  }

  /**
   * Tells a guest with kvmclock that it was paused (`KVM_KVMCLOCK_CTRL`, api.rst 4.70).
   *
   * @throws {KvmError} EINVAL where it has none.
   */
  kvmclockCtrl(): void {
    this.#target.call("KVM_KVMCLOCK_CTRL");
  }
}

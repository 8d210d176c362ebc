import type { Libc } from "../ffi/libc.ts";
import { OwnedFd } from "../ffi/handles.ts";
import type { CapabilityName } from "./abi/capabilities.ts";
import { type IoctlOptions, IoctlTarget, structWithData } from "./ioctl_target.ts";
import { kvm_device_attr } from "./abi/structs/device.ts";
import { ERRNO } from "../ffi/errors.ts";
import { KvmError } from "./errors.ts";

/**
 * A device inside the kernel: the file descriptor that `KVM_CREATE_DEVICE` returned. On x86 that is VFIO's.
 */
export class Device implements Disposable {
  readonly #fd: OwnedFd;
  /** All that can be done with it. */
  readonly attributes: DeviceAttributes;

  /** Use {@linkcode Vm.createDevice}. Takes ownership of `fd`. */
  constructor(libc: Libc, fd: number, type: number, ask: (name: CapabilityName) => number) {
    this.#fd = new OwnedFd(libc, fd, `the device of type ${type}`);
    // KVM_CAP_DEVICE_CTRL is not reported by every kernel that has devices.
    this.attributes = new DeviceAttributes(new IoctlTarget(libc, this.#fd, ask), null);
  }

  /** Closes it; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** Which attribute: its group, and its number there (Documentation/virt/kvm/devices/). */
export interface AttributeName {
  /** The group. */
  readonly group: number;
  /** The attribute in the group. */
  readonly attr: number | bigint;
}

/** The attributes that a device has, and `/dev/kvm`, VMs and vCPUs of their own (api.rst 4.80, 4.81). */
export class DeviceAttributes {
  readonly #target: IoctlTarget;
  readonly #options: IoctlOptions;

  /** Attributes of what `target` stands for, gated by `capability`, or by none where none tells. */
  constructor(target: IoctlTarget, capability: CapabilityName | null) {
    this.#target = target;
    this.#options = { capability };
  }

  /**
   * Whether there is such an attribute (`KVM_HAS_DEVICE_ATTR`, api.rst 4.81).
   *
   * @param attribute Its group and number.
   * @throws {CapabilityError} When the kernel has no attributes here.
   */
  hasDeviceAttr({ group, attr }: AttributeName): boolean {
    try {
      this.#target.set("KVM_HAS_DEVICE_ATTR", kvm_device_attr, { group, attr }, this.#options);
      return true;
    } catch (error) {
      if (error instanceof KvmError && error.errno === ERRNO.ENXIO) return false;
      throw error;
    }
  }

  /**
   * An attribute's bytes (`KVM_GET_DEVICE_ATTR`, api.rst 4.80).
   *
   * @param size How many bytes the attribute has: no ioctl tells, and the kernel writes all of them.
   * @throws {CapabilityError} When the kernel has no attributes here.
   * @throws {KvmError} When the kernel refuses: ENXIO where there is no such attribute.
   */
  getDeviceAttr(attribute: AttributeName, size: number): Uint8Array<ArrayBuffer> {
    const { bytes, dataStart } = this.#argument(attribute, size);
    this.#target.call("KVM_GET_DEVICE_ATTR", bytes, this.#options);
    return bytes.slice(dataStart);
  }

  /**
   * Sets an attribute from its bytes (`KVM_SET_DEVICE_ATTR`, api.rst 4.80).
   *
   * @param attribute Its group and number.
   * @param value Its bytes, as many as the attribute has.
   * @throws {CapabilityError} When the kernel has no attributes here.
   * @throws {KvmError} When the kernel refuses: ENXIO where there is no such attribute.
   */
  setDeviceAttr(attribute: AttributeName, value: Uint8Array): void {
    const { bytes, dataStart } = this.#argument(attribute, value.length);
    bytes.set(value, dataStart);
    this.#target.call("KVM_SET_DEVICE_ATTR", bytes, this.#options);
  }

  #argument({ group, attr }: AttributeName, size: number) {
    const place = structWithData(this.#target.libc, kvm_device_attr.size, size);
    const view = new DataView(place.bytes.buffer);
    kvm_device_attr.write(view, 0, { group, attr, addr: place.dataAddress });
    return place;
  }
}

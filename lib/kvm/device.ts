import type { Libc } from "../ffi/libc.ts";
import { OwnedFd } from "../ffi/owned_fd.ts";
import type { CapabilityName } from "./abi/capabilities.ts";
import { DeviceAttributes } from "./device_attributes.ts";
import { IoctlTarget } from "./ioctl_target.ts";

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

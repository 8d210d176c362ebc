import { HostError } from "../ffi/host_error.ts";
import { CAPABILITIES, type CapabilityName } from "./abi/capabilities.ts";
import { type IoctlName, IOCTLS } from "./abi/ioctls.ts";

/**
 * An ioctl was refused before the kernel was asked: `KVM_CHECK_EXTENSION` says that this host's KVM lacks
 * the capability that the ioctl needs. A test can catch it to skip by name and reason.
 *
 * @example
 * ```ts
 * import { CapabilityError } from "@vmexit/vmexit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const error = new CapabilityError("KVM_GET_SREGS2", "KVM_CAP_SREGS2");
 * assertStringIncludes(error.message, "KVM_GET_SREGS2: this host's KVM lacks KVM_CAP_SREGS2");
 * ```
 */
export class CapabilityError extends HostError {
  /** The ioctl, by the name it has in `<linux/kvm.h>`. */
  readonly ioctl: IoctlName;
  /** What the host's KVM lacks. */
  readonly capability: CapabilityName;

  /** The refusal of one ioctl. */
  constructor(ioctl: IoctlName, capability: CapabilityName) {
    const since = IOCTLS[ioctl].since ?? CAPABILITIES[capability].since;
    super(
      `Cannot call ${ioctl}: this host's KVM lacks ${capability}. ` +
        (since === undefined
          ? "Its CPU, or the kernel's configuration, does not offer it."
          : `It takes Linux ${since} or newer, and a CPU and a kernel configuration that offer it.`),
    );
    this.ioctl = ioctl;
    this.capability = capability;
  }
}

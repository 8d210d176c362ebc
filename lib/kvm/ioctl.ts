import { ERRNO } from "../ffi/errno.ts";
import type { Libc } from "../ffi/libc.ts";
import type { OwnedFd } from "../ffi/owned_fd.ts";
import { type IoctlName, IOCTLS } from "./abi/ioctls.ts";
import { KvmError } from "./kvm_error.ts";

/**
 * Makes one ioctl, by name; again where a signal interrupts it. That of a machine's timer does, where `boot` is called
 * in a handler: `KVM_CREATE_VM` gives up when a signal waits. (`KVM_RUN`, whose EINTR is a result, is made by
 * {@linkcode Vcpu.run}.)
 *
 * @param argument The third argument: a number by value, or the structure's bytes.
 * @returns What the ioctl returned: 0, or a file descriptor, or a count.
 * @throws {KvmError} When the kernel refuses.
 */
export function ioctl(
  libc: Libc,
  fd: OwnedFd,
  name: IoctlName,
  argument: number | Uint8Array<ArrayBuffer> = 0,
  context?: string,
): number {
  const request = IOCTLS[name].number;
  for (;;) {
    const result = typeof argument === "number"
      ? libc.ioctl(fd.number, request, argument)
      : libc.ioctlBuffer(fd.number, request, argument);
    if (result >= 0) return result;
    const errno = libc.errno();
    if (errno !== ERRNO.EINTR) throw new KvmError(name, errno, context);
  }
}

/**
 * A thread that runs one vCPU until it comes to an exit: the module of a worker. The descriptor is the worker's name, since a
 * message would reach it only when the thread that has made it is back in its event loop.
 *
 * @module
 */

import { ERRNO } from "../../ffi/errors.ts";
import { libc } from "../../ffi/real_libc.ts";
import { IOCTLS } from "../../kvm/abi/ioctls.ts";

const vcpu = Number(self.name);
const calls = libc();
const INTERRUPTED: ReadonlySet<number> = new Set([ERRNO.EINTR, ERRNO.EAGAIN]);
while (calls.ioctl(vcpu, IOCTLS.KVM_RUN.number, 0) !== 0) {
  // Any other error ends the thread: whoever waits for its exit finds that there is none.
  if (!INTERRUPTED.has(calls.errno())) break;
}
self.close();

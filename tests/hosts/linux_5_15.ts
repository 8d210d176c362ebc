import { CAPABILITIES, IOCTLS } from "@vmexit/vmexit/abi";
import { ERRNO, type Libc } from "@vmexit/vmexit/kvm";

/** The newest capability of Linux 5.15 is KVM_CAP_ARM_MTE: they are numbered in the order in which they came. */
const NEWEST = CAPABILITIES.KVM_CAP_ARM_MTE.number;

/** What a kernel without CONFIG_KVM_HYPERV and CONFIG_KVM_XEN lacks. */
const OPTIONAL = /^KVM_CAP_(SYS_)?(HYPERV|XEN)(_|$)/;

const LACKING: ReadonlySet<number> = new Set(
  Object.values(CAPABILITIES).filter(({ name, number }) => number > NEWEST || OPTIONAL.test(name))
    .map(({ number }) => number),
);

const LACKING_IOCTLS: ReadonlySet<number> = new Set(
  Object.values(IOCTLS).flatMap(({ number, capability }) =>
    capability !== undefined && LACKING.has(CAPABILITIES[capability].number) ? [number] : []
  ),
);

/**
 * A C library whose KVM is that of Linux 5.15, built without Hyper-V and Xen: it has no capability that came later, refuses
 * to enable one (EINVAL), and does not know the ioctls that came with them (ENOTTY).
 *
 * @param real The one whose KVM is used.
 */
export function linux515(real: Libc): Libc {
  let failed: number | undefined;
  const fail = (errno: number) => {
    failed = errno;
    return -1;
  };
  const made = <Result>(result: Result) => {
    failed = undefined;
    return result;
  };
  return {
    ...real,
    errno: () => failed ?? real.errno(),
    ioctl(fd, request, argument) {
      if (request === IOCTLS.KVM_CHECK_EXTENSION.number && LACKING.has(argument)) return made(0);
      if (LACKING_IOCTLS.has(request)) return fail(ERRNO.ENOTTY);
      return made(real.ioctl(fd, request, argument));
    },
    ioctlBuffer(fd, request, buffer) {
      if (LACKING_IOCTLS.has(request)) return fail(ERRNO.ENOTTY);
      if (request === IOCTLS.KVM_ENABLE_CAP.number && LACKING.has(capabilityIn(buffer))) {
        return fail(ERRNO.EINVAL);
      }
      return made(real.ioctlBuffer(fd, request, buffer));
    },
    open: (...args) => made(real.open(...args)),
    mmap: (...args) => made(real.mmap(...args)),
    read: (...args) => made(real.read(...args)),
    pread: (...args) => made(real.pread(...args)),
    lseek: (...args) => made(real.lseek(...args)),
    eventfd: (...args) => made(real.eventfd(...args)),
    madvise: (...args) => made(real.madvise(...args)),
    sigaction: (...args) => made(real.sigaction(...args)),
    timer_create: (...args) => made(real.timer_create(...args)),
    timer_settime: (...args) => made(real.timer_settime(...args)),
  };
}

/** `cap` of a `struct kvm_enable_cap`. */
function capabilityIn(buffer: Uint8Array<ArrayBuffer>): number {
  return new DataView(buffer.buffer, buffer.byteOffset).getUint32(0, true);
}

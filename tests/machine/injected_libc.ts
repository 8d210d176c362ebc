import { CAPABILITIES } from "../../lib/kvm/abi/capabilities.ts";
import { IOCTLS } from "../../lib/kvm/abi/ioctls.ts";
import { MAP_FAILED } from "../../lib/ffi/mman.ts";
import { kvmLibc, type Libc } from "@vmexit/vmexit/kvm";

const IOCTL_NAMES = new Map<number, string>(
  Object.values(IOCTLS).map(({ number, name }) => [number, name]),
);

/** The number of the ioctl that enters the guest. */
export const KVM_RUN: number = IOCTLS.KVM_RUN.number;

/** The real libc with some of its functions replaced; the replacements can call the real ones. */
export function injected(replace: (real: Libc) => Partial<Libc>): Libc {
  const real = kvmLibc();
  return { ...real, ...replace(real) };
}

/** A libc one of whose calls fails, and what is known of it afterwards. */
export interface FailingLibc extends Libc {
  /** The calls that were made, by name: `"open"`, `"mmap"`, and ioctls by theirs. */
  readonly calls: readonly string[];
  /** The call that failed, or undefined as long as none has. */
  readonly failed: string | undefined;
}

/** The real libc, whose `nth` call that can fail (from 1) fails with `errno` and is not made. */
export function failingAt(nth: number, errno: number): FailingLibc {
  const calls: string[] = [];
  let pending = false;
  const fails = (name: string) => {
    calls.push(name);
    pending = calls.length === nth;
    return pending;
  };
  const ioctlName = (request: number) => IOCTL_NAMES.get(request) ?? `ioctl ${request}`;
  return {
    ...injected((real) => ({
      errno: () => pending ? errno : real.errno(),
      open: (...args) => fails("open") ? -1 : real.open(...args),
      mmap: (...args) => fails("mmap") ? MAP_FAILED : real.mmap(...args),
      sigaction: (...args) => fails("sigaction") ? -1 : real.sigaction(...args),
      timer_create: (...args) => fails("timer_create") ? -1 : real.timer_create(...args),
      timer_settime: (...args) => fails("timer_settime") ? -1 : real.timer_settime(...args),
      ioctl: (fd, request, argument) =>
        fails(ioctlName(request)) ? -1 : real.ioctl(fd, request, argument),
      ioctlBuffer: (fd, request, buffer) =>
        fails(ioctlName(request)) ? -1 : real.ioctlBuffer(fd, request, buffer),
    })),
    calls,
    get failed() {
      return calls[nth - 1];
    },
  };
}

/** How many file descriptors this process has, whoever opened them. */
export function openFds(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

/** How many mappings this process has: those of vCPUs, and all, of which the JavaScript engine makes and drops some all the time. */
export function mappings(): { vcpus: number; all: number } {
  const lines = Deno.readTextFileSync("/proc/self/maps").trimEnd().split("\n");
  return { vcpus: lines.filter((line) => line.includes("kvm-vcpu")).length, all: lines.length };
}

/** The same on a kernel that takes no registers from `kvm_run`. */
export function withoutSyncRegs(libc: Libc): Libc {
  const asks = IOCTLS.KVM_CHECK_EXTENSION.number;
  const { number } = CAPABILITIES.KVM_CAP_SYNC_REGS;
  return {
    ...libc,
    ioctl: (fd, request, argument) =>
      request === asks && argument === number ? 0 : libc.ioctl(fd, request, argument),
  };
}

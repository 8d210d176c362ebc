import {
  CAPABILITIES,
  EXIT_REASON,
  IOCTLS,
  kvm_dirty_gfn,
  kvm_dirty_log,
  kvm_enable_cap,
  kvm_regs,
  kvm_run,
  kvm_sregs,
  kvm_vcpu_events,
} from "@vmexit/vmexit/abi";
import { ERRNO, type Libc } from "@vmexit/vmexit/kvm";

/**
 * Entries of a dirty ring that KVM keeps for itself where the processor logs page modifications: 512 of the processor's log
 * and 64 (`kvm_dirty_ring_get_rsvd_entries` in virt/kvm/dirty_ring.c, `KVM_DIRTY_RING_RSVD_ENTRIES`).
 */
export const RESERVED_ENTRIES = 576;

const DIRTY_RINGS: readonly number[] = [
  CAPABILITIES.KVM_CAP_DIRTY_LOG_RING.number,
  CAPABILITIES.KVM_CAP_DIRTY_LOG_RING_ACQ_REL.number,
];

/** The VM entry failed for an invalid guest state: basic reason 33 with bit 31 (Intel SDM Vol. 3D, appendix C). */
const INVALID_GUEST_STATE = 0x8000_0021n;

const PAGE_SIZE = 4096;
const HUGE_PAGE_SIZE = 0x20_0000;
/** Where the modes with paging have their page tables: 0x1000 to 0x4fff. */
const PAGE_TABLE_PAGES = [1, 2, 3, 4];

/** The ioctls after which no page of a slot is dirty. */
const CLEARING: readonly number[] = [
  IOCTLS.KVM_SET_USER_MEMORY_REGION.number,
  IOCTLS.KVM_CLEAR_DIRTY_LOG.number,
];

/** `slot` of the structures that begin with it. */
function slotIn(buffer: Uint8Array<ArrayBuffer>): number {
  return new DataView(buffer.buffer, buffer.byteOffset).getUint32(0, true);
}

/**
 * A C library whose KVM does what that of Intel processors does and AMD's does not:
 *
 * - a dirty ring of less than {@linkcode RESERVED_ENTRIES} entries is refused (EINVAL);
 * - after a triple fault the registers stay (AMD's are reset): they are those of the last entry into the guest;
 * - an external interrupt that is injected in the shadow of STI fails the entry;
 * - the page tables that the processor walks are among the pages that it logs as written;
 * - the host gives all memory large pages, as with transparent huge pages set to "always".
 *
 * @param real The one whose KVM is used.
 */
export function intelHost(real: Libc): Libc {
  /** The `kvm_run` of each vCPU, by its descriptor. */
  const runs = new Map<number, DataView>();
  let refused = false;
  /** Whether the guest has run since its writes are logged, or since the log was cleared. */
  let walked = false;
  const fill = <Layout extends { size: number }>(fd: number, request: number, { size }: Layout) => {
    const bytes = new Uint8Array(new ArrayBuffer(size));
    return real.ioctlBuffer(fd, request, bytes) === 0 ? bytes : undefined;
  };

  function failsEntry(fd: number): boolean {
    const bytes = fill(fd, IOCTLS.KVM_GET_VCPU_EVENTS.number, kvm_vcpu_events);
    if (bytes === undefined) return false;
    const { injected, soft, shadow } = kvm_vcpu_events.read(new DataView(bytes.buffer)).interrupt;
    return injected !== 0 && soft === 0 && shadow !== 0;
  }

  function run(fd: number, argument: number, view: DataView): number {
    if (view.getUint8(kvm_run.offsetOf("immediate_exit")) === 0 && failsEntry(fd)) {
      kvm_run.write(view, 0, {
        exit_reason: EXIT_REASON.FAIL_ENTRY,
        fail_entry: { hardware_entry_failure_reason: INVALID_GUEST_STATE, cpu: 0 },
      });
      return 0;
    }
    walked = true;
    const general = fill(fd, IOCTLS.KVM_GET_REGS.number, kvm_regs);
    const special = fill(fd, IOCTLS.KVM_GET_SREGS.number, kvm_sregs);
    const result = real.ioctl(fd, IOCTLS.KVM_RUN.number, argument);
    const shutDown = result === 0 &&
      view.getUint32(kvm_run.offsetOf("exit_reason"), true) === EXIT_REASON.SHUTDOWN;
    if (shutDown && general !== undefined && special !== undefined) {
      real.ioctlBuffer(fd, IOCTLS.KVM_SET_SREGS.number, special);
      real.ioctlBuffer(fd, IOCTLS.KVM_SET_REGS.number, general);
    }
    return result;
  }

  function isTooSmallARing(buffer: Uint8Array<ArrayBuffer>): boolean {
    const { cap, args } = kvm_enable_cap.read(new DataView(buffer.buffer, buffer.byteOffset));
    return DIRTY_RINGS.includes(cap) && args[0] < RESERVED_ENTRIES * kvm_dirty_gfn.size;
  }

  /** The bitmap lies behind the structure, in the same buffer. */
  function addPageTables(buffer: Uint8Array<ArrayBuffer>): void {
    if (!walked || slotIn(buffer) !== 0) return;
    for (const page of PAGE_TABLE_PAGES) {
      buffer[kvm_dirty_log.size + (page >> 3)] |= 1 << (page & 7);
    }
    // Who asks for the log clears it.
    walked = false;
  }

  return {
    ...real,
    errno: () => refused ? ERRNO.EINVAL : real.errno(),
    mmap(length, protection, flags, fd, offset) {
      const address = real.mmap(length, protection, flags, fd, offset);
      // A vCPU's mapping has at least kvm_run and the port's data; its dirty ring is mapped at an offset.
      if (fd >= 0 && offset === 0 && length >= 2 * PAGE_SIZE && address !== 2n ** 64n - 1n) {
        runs.set(fd, new DataView(real.memory(address, length)));
      }
      return address;
    },
    close(fd) {
      runs.delete(fd);
      return real.close(fd);
    },
    ioctl(fd, request, argument) {
      refused = false;
      const view = request === IOCTLS.KVM_RUN.number ? runs.get(fd) : undefined;
      return view === undefined ? real.ioctl(fd, request, argument) : run(fd, argument, view);
    },
    ioctlBuffer(fd, request, buffer) {
      refused = request === IOCTLS.KVM_ENABLE_CAP.number && isTooSmallARing(buffer);
      if (refused) return -1;
      const result = real.ioctlBuffer(fd, request, buffer);
      if (CLEARING.includes(request) && slotIn(buffer) === 0) walked = false;
      if (result === 0 && request === IOCTLS.KVM_GET_DIRTY_LOG.number) addPageTables(buffer);
      return result;
    },
    allocatePages: (size) => real.allocatePages(size, HUGE_PAGE_SIZE, 0),
  };
}

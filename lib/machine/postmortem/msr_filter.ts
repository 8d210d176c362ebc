import type { Libc } from "../../ffi/libc.ts";
import { IOCTLS } from "../../kvm/abi/ioctls.ts";
import { kvm_msr_filter } from "../../kvm/abi/structs/msr.ts";

/** The only ioctl whose addresses are those of bytes behind its structure. */
export const MSR_FILTER = "KVM_X86_SET_MSR_FILTER";

const U64_SIZE = 8;

/** Lets a filter of MSRs point to its bitmaps, which lie behind it, where they are now. */
export function pointBehind(bytes: Uint8Array<ArrayBuffer>, libc: Libc): void {
  const view = new DataView(bytes.buffer);
  const { addresses } = IOCTLS[MSR_FILTER].references!;
  const given = addresses.filter((offset) => view.getBigUint64(offset, true) !== 0n);
  if (given.length === 0) return;
  // The first bitmap lies at the first multiple of 8 behind the structure, and the others behind that.
  const data = Math.ceil(kvm_msr_filter.size / U64_SIZE) * U64_SIZE;
  const before = view.getBigUint64(given[0], true);
  const now = libc.addressOf(bytes) + BigInt(data);
  for (const offset of given) {
    view.setBigUint64(offset, view.getBigUint64(offset, true) - before + now, true);
  }
}

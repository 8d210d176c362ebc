/** The ioctl type of `/dev/kvm` and of every fd that comes from it (`<linux/kvm.h>`). */
export const KVMIO = 0xae;

/** Which way an ioctl's argument goes, by the macro that builds its number. */
export type IoctlMacro = "_IO" | "_IOW" | "_IOR" | "_IOWR";

/** `_IOC_NONE`, `_IOC_WRITE`, `_IOC_READ` of `<asm-generic/ioctl.h>`, seen from the process. */
const DIRECTION: Record<IoctlMacro, number> = { _IO: 0, _IOW: 1, _IOR: 2, _IOWR: 3 };

const NR_BITS = 8;
const TYPE_BITS = 8;
const SIZE_BITS = 14;
const TYPE_SHIFT = NR_BITS;
const SIZE_SHIFT = TYPE_SHIFT + TYPE_BITS;
const DIRECTION_SHIFT = SIZE_SHIFT + SIZE_BITS;

/**
 * The number of a KVM ioctl, as the macros of `<linux/ioctl.h>` build it: direction, size of the argument,
 * `KVMIO`, number.
 *
 * @param nr 0 to 255.
 * @param size Of the argument in bytes, 0 to 16383.
 * @throws {RangeError} When one is out of range.
 *
 * @example
 * ```ts
 * import { ioctlNumber } from "@vmexit/vmexit/abi";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(ioctlNumber("_IO", 0x80, 0), 0xae80); // KVM_RUN
 * ```
 */
export function ioctlNumber(macro: IoctlMacro, nr: number, size: number): number {
  if (!Number.isInteger(nr) || nr < 0 || nr >= 1 << NR_BITS) {
    throw new RangeError(`Cannot build an ioctl number from nr ${nr}: it takes 0 to 255`);
  }
  if (!Number.isInteger(size) || size < 0 || size >= 1 << SIZE_BITS) {
    throw new RangeError(
      `Cannot build an ioctl number for an argument of ${size} bytes: it takes 0 to 16383`,
    );
  }
  const bits = DIRECTION[macro] << DIRECTION_SHIFT | size << SIZE_SHIFT | KVMIO << TYPE_SHIFT | nr;
  return bits >>> 0;
}

/** An IN, OUT, INS or OUTS that left the guest. */
export interface SvmIoExit {
  /** The port. */
  port: number;
  /** IN and INS read, OUT and OUTS write. */
  direction: "in" | "out";
  /** Bytes of one element. */
  size: number;
  /** INS or OUTS. */
  string: boolean;
  /** With a REP prefix. */
  repeated: boolean;
}

const TYPE_IN = 1;
const STRING = 1 << 2;
const REPEATED = 1 << 3;
const SIZE_SHIFT = 4;
const SIZE_MASK = 7;
const PORT_SHIFT = 16;

/**
 * What `exitinfo1` says of a `VMEXIT_IOIO` (AMD APM Vol. 2, figure 15-2); `exitinfo2` is the address of the
 * instruction behind it.
 *
 * @example
 * ```ts
 * import { svmIoExit } from "@vmexit/vmexit/svm";
 * import { assertEquals } from "@std/assert";
 *
 * const { port, direction, size } = svmIoExit(0x3f8_0010n);
 * assertEquals([port, direction, size], [0x3f8, "out", 1]);
 * ```
 */
export function svmIoExit(exitinfo1: bigint): SvmIoExit {
  const info = Number(BigInt.asUintN(32, exitinfo1));
  return {
    port: info >>> PORT_SHIFT,
    direction: info & TYPE_IN ? "in" : "out",
    // Of the three bits one is set, and it weighs what it means: 1, 2 or 4 bytes.
    size: info >>> SIZE_SHIFT & SIZE_MASK,
    string: (info & STRING) !== 0,
    repeated: (info & REPEATED) !== 0,
  };
}

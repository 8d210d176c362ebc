/** An IN, OUT, INS or OUTS that left the guest. */
export interface VmxIoExit {
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
  /** The port is the instruction's operand, and not DX. */
  immediate: boolean;
}

const SIZE_MASK = 7n;
const IN = 1n << 3n;
const STRING = 1n << 4n;
const REPEATED = 1n << 5n;
const IMMEDIATE = 1n << 6n;
const PORT_SHIFT = 16n;
const PORT_BITS = 16;

/**
 * What `exit_qualification` says of an exit at an I/O instruction (Intel SDM Vol. 3C, table 27-5).
 *
 * @example
 * ```ts
 * import { vmxIoExit } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * const { port, direction, size } = vmxIoExit(0x3f8_0008n);
 * assertEquals([port, direction, size], [0x3f8, "in", 1]);
 * ```
 */
export function vmxIoExit(qualification: bigint): VmxIoExit {
  return {
    port: Number(BigInt.asUintN(PORT_BITS, qualification >> PORT_SHIFT)),
    direction: qualification & IN ? "in" : "out",
    size: Number(qualification & SIZE_MASK) + 1,
    string: (qualification & STRING) !== 0n,
    repeated: (qualification & REPEATED) !== 0n,
    immediate: (qualification & IMMEDIATE) !== 0n,
  };
}

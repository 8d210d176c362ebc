import { PROTECTED_MODE, SELECTOR } from "../../layout.ts";

/** Bytes of a TSS of 32 or 64 bits without an I/O permission map. */
const TSS_SIZE = 104;

/** A bit for each of 65,536 ports, and the byte of ones that must follow (Intel SDM Vol. 1, 19.5.2). */
const IO_MAP_SIZE = 65_536 / 8;
const IO_MAP_END = 0xff;
/** Where a TSS keeps the offset of its I/O permission map (Intel SDM Vol. 3A, 7.2.1 and 7.7). */
const IO_MAP_BASE = 102;
/** ESP0, followed by SS0, and RSP0: the stack for CPL 0, at the same offset in TSSs of 32 and 64 bits. */
const STACK_0 = 4;
const STACK_SEGMENT_0 = 8;
/** IST1 in a TSS of 64 bits (Intel SDM Vol. 3A, 7.7). */
const FAULT_STACK = 36;

/** What a task-state segment is to have. */
export interface TaskState {
  /** Whether it is one of long mode. */
  is64Bit: boolean;
  /** Whether there is a stack for handlers that CPL 3 enters. */
  hasKernelStack: boolean;
  /** Whether the fault catcher's stubs have a stack of their own (IST1), which long mode alone can give them. */
  hasFaultStack: boolean;
  /** Whether code at CPL 3 may use all ports. */
  opensPorts: boolean;
}

/** The bytes of a task-state segment. */
export function taskState(
  { is64Bit, hasKernelStack, hasFaultStack, opensPorts }: TaskState,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(TSS_SIZE + (opensPorts ? IO_MAP_SIZE + 1 : 0));
  const view = new DataView(bytes.buffer);
  if (hasKernelStack) {
    view.setUint32(STACK_0, PROTECTED_MODE.kernelStackTop, true);
    if (!is64Bit) view.setUint16(STACK_SEGMENT_0, SELECTOR.data, true);
  }
  if (hasFaultStack) view.setBigUint64(FAULT_STACK, BigInt(PROTECTED_MODE.faultStackTop), true);
  // Without a map this offset is past the limit: then no port is open to CPL 3.
  view.setUint16(IO_MAP_BASE, TSS_SIZE, true);
  if (opensPorts) bytes[bytes.length - 1] = IO_MAP_END;
  return bytes;
}

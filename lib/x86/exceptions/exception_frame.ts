import { rflagsFlags } from "../registers/flag_tables.ts";
import { getFlag } from "../registers/flags.ts";

/** How the CPU enters a handler, which decides what it pushes (Intel SDM Vol. 3A, 6.12.1 and 6.14.2). */
export type FrameFormat =
  /** Through the vector table of real mode: FLAGS, CS, IP of 16 bits. */
  | "real"
  /** Through a gate of 16 bits. */
  | "16-bit"
  /** Through a gate of 32 bits; with SS:ESP from CPL 3, and with all segments from virtual-8086 mode. */
  | "32-bit"
  /** In long mode: always with SS:RSP. */
  | "64-bit";

/** What a frame cannot be read without (Intel SDM Vol. 3A, 6.12.1 and 6.14.2). */
export interface FrameReading {
  /** How the handler was entered. */
  readonly format: FrameFormat;
  /** Whether there is an error code on top. */
  readonly hasErrorCode: boolean;
  /** The handler's stack pointer. */
  readonly rsp: bigint;
  /** The handler's privilege level. */
  readonly cpl: number;
  /** RFLAGS in the handler, for the bits that a frame of 16 bits does not have. */
  readonly rflags: bigint;
  /** Whether the handler's stack segment has 16-bit offsets: then SP alone moves. */
  readonly smallStack: boolean;
  /** The slot of the stack (2, 4 or 8 bytes) so many slots above its top. */
  readonly slot: (index: number) => bigint;
}

/** Selectors of data segments that a frame from virtual-8086 mode has (Intel SDM Vol. 3B, 20.3.1). */
export type DataSelectors = Readonly<Record<"es" | "ds" | "fs" | "gs", number>>;

/** What the CPU saved of the interrupted program (Intel SDM Vol. 3A, 6.12.1). */
export interface ExceptionFrame {
  /** The error code, where there is one. */
  readonly errorCode?: number;
  /** The instruction pointer. */
  readonly rip: bigint;
  /** The code segment's selector. */
  readonly cs: number;
  /** The flags. RF, which the CPU sets in the image of a fault, is clear: it was clear in the program. */
  readonly rflags: bigint;
  /** The stack pointer. */
  readonly rsp: bigint;
  /** The stack segment's selector; absent where the handler has the program's stack. */
  readonly ss?: number;
  /** The data segments' selectors; absent where the handler has the program's. */
  readonly data?: DataSelectors;
}

const SLOT_BYTES = { real: 2, "16-bit": 2, "32-bit": 4, "64-bit": 8 } as const;
const WORD = 0xffffn;
const RESUME_FLAG = 1n << BigInt(rflagsFlags.rf.bit);
const PRIVILEGE = 3;

/**
 * The bytes of one slot of a frame's stack (Intel SDM Vol. 3A, 6.12.1 and 6.14.2).
 *
 * @param format How the CPU enters handlers.
 */
export function frameSlotBytes(format: FrameFormat): 2 | 4 | 8 {
  return SLOT_BYTES[format];
}

/**
 * Reads what the CPU pushed when it entered a handler (Intel SDM Vol. 3A, 6.12.1, 6.14.2, 20.1.4 and 20.3.1).
 *
 * @param reading The frame's format, where it lies, and how memory is read.
 * @example
 * ```ts
 * import { exceptionFrame } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const stack = [0x10n, 0x1_0023n, 0x8n, 0x2n];
 * const frame = exceptionFrame({
 *   format: "32-bit",
 *   hasErrorCode: true,
 *   rsp: 0xfff0n,
 *   cpl: 0,
 *   rflags: 2n,
 *   smallStack: false,
 *   slot: (index) => stack[index],
 * });
 * assertEquals([frame.errorCode, frame.rip, frame.rsp], [0x10, 0x1_0023n, 0x1_0000n]);
 * ```
 */
export function exceptionFrame(reading: FrameReading): ExceptionFrame {
  const { format, hasErrorCode, slot } = reading;
  const first = hasErrorCode ? 1 : 0;
  const selector = (index: number) => Number(slot(first + index) & WORD);
  const cs = selector(1);
  const pushed = slot(first + 2) & ~RESUME_FLAG;
  const narrow = SLOT_BYTES[format] === 2;
  const rflags = narrow ? (reading.rflags & ~WORD) | (pushed & WORD) : pushed;
  const isVirtual8086 = format === "32-bit" && getFlag(rflagsFlags, "vm", rflags) === true;
  const switched = format === "64-bit" || isVirtual8086 ||
    (format !== "real" && (cs & PRIVILEGE) > reading.cpl);
  return {
    ...hasErrorCode ? { errorCode: Number(BigInt.asUintN(32, slot(0))) } : {},
    rip: slot(first),
    cs,
    rflags,
    rsp: switched ? slot(first + 3) : popped(reading, (first + 3) * SLOT_BYTES[format]),
    ...switched ? { ss: selector(4) } : {},
    ...isVirtual8086
      ? { data: { es: selector(5), ds: selector(6), fs: selector(7), gs: selector(8) } }
      : {},
  };
}

/** The stack pointer after so many bytes have been popped. */
function popped({ rsp, smallStack }: FrameReading, bytes: number): bigint {
  const after = rsp + BigInt(bytes);
  return smallStack ? (rsp & ~WORD) | (after & WORD) : after;
}

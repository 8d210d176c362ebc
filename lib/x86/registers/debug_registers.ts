import { hex } from "../hex.ts";

/** How many breakpoints the debug registers hold: DR0 to DR3 (Intel SDM Vol. 3B, 17.2.1). */
export const BREAKPOINT_REGISTERS = 4;

/** What a breakpoint of the debug registers waits for (Intel SDM Vol. 3B, 17.2.4). */
export type BreakpointCondition =
  /** The instruction at its address is about to be executed. */
  | "execute"
  /** Something has been written to its bytes. */
  | "write"
  /** Something has been written to or read from its bytes. */
  | "access";

/** A breakpoint of the debug registers (Intel SDM Vol. 3B, 17.2). */
export interface DebugPoint {
  /** The linear address of its first byte. */
  readonly address: bigint;
  /** How many bytes it watches: 1 where it waits for execution. */
  readonly size: 1 | 2 | 4 | 8;
  /** What it waits for. */
  readonly on: BreakpointCondition;
}

/** Fields of DR7 (Intel SDM Vol. 3B, 17.2.4): those of breakpoint n begin 2 n and 4 n bits further up. */
const LOCAL_ENABLE = 0x1n;
const LOCAL_EXACT = 0x100n;
const ALWAYS_SET = 0x400n;
const ENABLE_BITS = 2;
const CONDITION_START = 16;
const CONDITION_BITS = 4;
const CONDITION_MASK = 0x3n;
const LENGTH_SHIFT = 2n;
const CONDITIONS: Readonly<Record<BreakpointCondition, bigint>> = {
  execute: 0n,
  write: 1n,
  access: 3n,
};
const LENGTHS: Readonly<Record<DebugPoint["size"], bigint>> = { 1: 0n, 2: 1n, 4: 3n, 8: 2n };

const DR7 = 7;

/**
 * DR0 to DR7 with these breakpoints in force, the first in DR0 (Intel SDM Vol. 3B, 17.2).
 *
 * @param points Up to four, each with a linear address.
 * @throws {RangeError} When there are more than 4, an address is not a multiple of its size, or one that waits for
 *   execution is longer than a byte.
 * @example
 * ```ts
 * import { debugRegisters } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const registers = debugRegisters([{ address: 0x1000n, size: 4, on: "write" }]);
 * assertEquals([registers[0], registers[7]], [0x1000n, 0xd0501n]);
 * ```
 */
export function debugRegisters(points: readonly DebugPoint[]): bigint[] {
  if (points.length > BREAKPOINT_REGISTERS) {
    throw new RangeError(
      `Cannot set ${points.length} breakpoints: the CPU has ${BREAKPOINT_REGISTERS}, DR0 to DR3. Dispose one first.`,
    );
  }
  const registers = new Array<bigint>(DR7 + 1).fill(0n);
  registers[DR7] = ALWAYS_SET;
  for (const [index, point] of points.entries()) {
    checkPoint(point);
    const { address, size, on } = point;
    registers[index] = address;
    const condition = CONDITIONS[on] | LENGTHS[size] << LENGTH_SHIFT;
    registers[DR7] |= LOCAL_EXACT | LOCAL_ENABLE << BigInt(ENABLE_BITS * index) |
      condition << BigInt(CONDITION_START + CONDITION_BITS * index);
  }
  return registers;
}

/**
 * The linear addresses at which these debug registers stop a CPU before it executes an instruction.
 *
 * @param registers DR0 to DR7.
 * @example
 * ```ts
 * import { debugRegisters, executionBreakpoints } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const registers = debugRegisters([
 *   { address: 0x1000n, size: 4, on: "write" },
 *   { address: 0x7c00n, size: 1, on: "execute" },
 * ]);
 * assertEquals(executionBreakpoints(registers), [0x7c00n]);
 * ```
 */
export function executionBreakpoints(registers: readonly bigint[]): bigint[] {
  const control = registers[DR7];
  return registers.slice(0, BREAKPOINT_REGISTERS).filter((_, index) => {
    const enabled = LOCAL_ENABLE << BigInt(ENABLE_BITS * index) & control;
    const condition = control >> BigInt(CONDITION_START + CONDITION_BITS * index) & CONDITION_MASK;
    return enabled !== 0n && condition === CONDITIONS.execute;
  });
}

function checkPoint({ address, size, on }: DebugPoint): void {
  if (!Object.hasOwn(CONDITIONS, on)) {
    throw new RangeError(
      `Cannot watch ${hex(address)} for ${String(on)}: give ${
        Object.keys(CONDITIONS).map((name) => JSON.stringify(name)).join(" or ")
      }`,
    );
  }
  if (!Object.hasOwn(LENGTHS, size) || (on === "execute" && size !== 1)) {
    throw new RangeError(
      `Cannot watch ${size} bytes at ${hex(address)}: a breakpoint has ${
        on === "execute" ? "1" : Object.keys(LENGTHS).join(", ")
      }`,
    );
  }
  if (BigInt.asUintN(64, address) !== address || address % BigInt(size) !== 0n) {
    throw new RangeError(
      `Cannot watch ${size} byte${size === 1 ? "" : "s"} at ${
        hex(address)
      }: it is no linear address ${size === 1 ? "" : `that is a multiple of ${size}`}`.trimEnd(),
    );
  }
}

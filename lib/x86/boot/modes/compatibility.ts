import type { CpuState } from "../cpu_state.ts";
import { PROTECTED_MODE } from "../../layout.ts";
import { offsetOf } from "./common.ts";
import { type Ia32eLayout, ia32eState } from "./ia32e.ts";

/** What a boot state of compatibility mode can be told. All of it has defaults. */
export interface CompatibilityLayout extends Ia32eLayout {
  /** Address of the first instruction. Default 0x10000. */
  entry?: number;
  /** Initial ESP. Default 0x10000. */
  stack?: number;
}

/**
 * The state of a CPU that starts in compatibility mode: 32-bit code with flat segments in long mode. All else is
 * as in {@linkcode longMode}; handlers of interrupts are 64-bit code, and so is what lies behind a far jump to
 * selector 8.
 *
 * @throws {RangeError} As {@linkcode longMode} does, or when `entry` or `stack` has more than 32 bits.
 * @example
 * ```ts
 * import { compatibilityMode } from "./compatibility.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { cs, efer } = compatibilityMode().specialRegisters;
 * assertEquals([cs.l, cs.db, efer], [0, 1, 0xd00n]);
 * ```
 */
export function compatibilityMode(layout: CompatibilityLayout = {}): CpuState {
  return ia32eState(layout, {
    mode: "compatibility",
    codeBits: 32,
    rip: offsetOf("entry", layout.entry ?? PROTECTED_MODE.code, 32),
    rsp: offsetOf("stack", layout.stack ?? PROTECTED_MODE.stackTop, 32),
  });
}

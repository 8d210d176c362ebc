import {
  isCanonical,
  LINEAR_ADDRESS_BITS,
  LINEAR_ADDRESS_BITS_5_LEVEL,
} from "../../paging/canonical.ts";
import type { CpuState } from "../cpu_state.ts";
import { hex } from "../../hex.ts";
import { PROTECTED_MODE } from "../../layout.ts";
import { type Ia32eLayout, ia32eState } from "./ia32e.ts";

/** What a long-mode boot state can be told. All of it has defaults. */
export interface LongLayout extends Ia32eLayout {
  /** Linear address of the first instruction. Default 0x10000. */
  entry?: number | bigint;
  /** Initial RSP, a linear address. Default 0x10000. */
  stack?: number | bigint;
}

/**
 * The state of a CPU that starts in 64-bit mode, at CPL 0 unless told otherwise, interrupts off, with everything
 * that the mode needs in memory: page tables, GDT, IDT, TSS.
 *
 * - CR0: PE, PG; ET and NE, which VMX fixes to 1; WP, so that read-only pages bind CPL 0 too.
 * - CR4: PAE; OSFXSR and OSXMMEXCPT, so that SSE instructions work; LA57 with 5 levels.
 * - EFER: LME, LMA; NXE, so that no-execute pages can be had. SYSCALL stays off until the guest asks for it.
 *
 * @throws {RangeError} When a mapping cannot be, tables do not fit the memory or lie on each other (both are
 *   named), a gate cannot be, or `entry` or `stack` is not canonical.
 * @example
 * ```ts
 * import { longMode } from "./long.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { specialRegisters, writes } = longMode({ mappings: [{ linear: 0, size: 0x1000, present: false }] });
 * assertEquals(specialRegisters.cr3, 0x1000n);
 * assertEquals(writes.map(({ what }) => what).slice(-3), ["GDT", "TSS", "IDT"]);
 * ```
 */
export function longMode(layout: LongLayout = {}): CpuState {
  const { entry = PROTECTED_MODE.code, stack = PROTECTED_MODE.stackTop, levels = 4 } = layout;
  return ia32eState(layout, {
    mode: "long",
    codeBits: 64,
    rip: linearAddress("entry", entry, levels),
    rsp: linearAddress("stack", stack, levels),
  });
}

function linearAddress(name: string, value: number | bigint, levels: 4 | 5): bigint {
  const bits = levels === 5 ? LINEAR_ADDRESS_BITS_5_LEVEL : LINEAR_ADDRESS_BITS;
  const exact = typeof value === "bigint" || Number.isSafeInteger(value);
  if (exact && value >= 0 && isCanonical(BigInt(value), bits)) return BigInt(value);
  const half = 1n << BigInt(bits - 1);
  throw new RangeError(
    `Cannot set ${name} as ${
      exact ? hex(value) : value
    }: it is not a canonical linear address; stay below ${hex(half)} or at and above ${
      hex((1n << 64n) - half)
    }`,
  );
}

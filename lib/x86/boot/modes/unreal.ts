import type { CpuState } from "../cpu_state.ts";
import { type RealLayout, realMode } from "./real.ts";

/** What an unreal-mode boot state can be told: what real mode's can. */
export type UnrealLayout = RealLayout;

const LIMIT = 0xffff_ffff;

/**
 * The state of a CPU that starts in unreal mode ("big real mode"): {@linkcode realMode}, but DS, ES, FS and GS have
 * limits of 4 GiB, as they stay when a program loads them in protected mode and goes back. Offsets of 32 bits
 * reach all that memory; CS and SS keep their 64 KiB.
 *
 * @throws {RangeError} As {@linkcode realMode} does.
 * @example
 * ```ts
 * import { unrealMode } from "./unreal.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { ds, cs } = unrealMode({ ds: 0x100 }).specialRegisters;
 * assertEquals([ds.base, ds.limit, cs.limit], [0x1000n, 0xffff_ffff, 0xffff]);
 * ```
 */
export function unrealMode(layout: UnrealLayout = {}): CpuState {
  const state = realMode(layout);
  for (const name of ["ds", "es", "fs", "gs"] as const) {
    Object.assign(state.specialRegisters[name], { limit: LIMIT, g: 1 });
  }
  return { ...state, mode: "unreal" };
}

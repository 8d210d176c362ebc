import type { MachineCpu } from "../machine_cpu.ts";

/**
 * The physical address of a stopped guest's next instruction; undefined where the page tables have none for it.
 */
export function nextInstruction({ registers, linear }: MachineCpu): number | undefined {
  const { cs, rip } = registers;
  try {
    return linear.toPhysical(BigInt.asUintN(64, cs.base + rip));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

import type { StoppedCpu } from "../report/stopped_cpu.ts";

/** What stops the guest: gdb's kinds of breakpoints and watchpoints, by the numbers of its packets `Z`. */
export const POINT = { SOFTWARE: 0, HARDWARE: 1, WRITE: 2, READ: 3, ACCESS: 4 } as const;

/** One of them. */
export interface Point {
  readonly kind: number;
  readonly address: bigint;
  /** Of a watchpoint: how many bytes. */
  readonly size: number;
}

/** Whether it is a breakpoint, rather than a watchpoint. */
export function isOfCode({ kind }: Point): boolean {
  return kind < POINT.WRITE;
}

/** What a watchpoint watches, as text; empty where nothing is mapped. */
export function contentAt(
  { linear }: Pick<StoppedCpu, "linear">,
  { address, size }: Point,
): string {
  try {
    return linear.read(address, size).join();
  } catch (error) {
    if (error instanceof RangeError) return "";
    throw error;
  }
}

import { hex } from "../x86/hex.ts";
import type { NoPromise } from "./handlers.ts";

/** What a test has made of a register. */
export interface Script {
  value: number;
  readonly replies: number[];
  /** Fields that change once it has been read so often. */
  readonly planned: { mask: number; value: number; reads: number }[];
  /** Fields that do not show for so many reads that would show them. */
  readonly late: { mask: number; reads: number }[];
  /** Bits that are stuck, and at what. */
  stuckMask: number;
  stuckValue: number;
  readonly once: number[];
}

/** Functions of the test's that take a register's accesses. */
export interface RegisterHooks {
  read?: () => number;
  write?: (value: number) => NoPromise;
}

/** Nothing yet. */
export function newScript(value: number): Script {
  return { value, replies: [], planned: [], late: [], stuckMask: 0, stuckValue: 0, once: [] };
}

/** The bad reads that a driver has not made, in words; undefined where there are none. */
export function undelivered(map: string, scripts: ReadonlyMap<string, Script>): string | undefined {
  const texts = [...scripts].flatMap(([name, { once }]) =>
    once.length === 0 ? [] : [
      `${map}.${name} was to read as ${
        once.map((value) => hex(value)).join(", ")
      } once, and the driver has not read it`,
    ]
  );
  return texts.length === 0 ? undefined : texts.join("; ");
}

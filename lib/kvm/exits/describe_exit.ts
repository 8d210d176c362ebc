import type { Exit } from "./exit.ts";
import { type ExitNames, EXITS } from "./exit_table.ts";

export type { ExitNames };

/**
 * An exit in one line for tables and failure pages: numbers in hex, constants by name.
 *
 * @param names What else has names: {@linkcode msrName} names MSRs.
 *
 * @example
 * ```ts
 * import { describeExit } from "@vmexit/vmexit/kvm";
 * import { assertEquals } from "@std/assert";
 *
 * const line = describeExit({
 *   reason: "IO",
 *   number: 2,
 *   runFlags: { smm: false, busLock: false, guestMode: false },
 *   direction: "out",
 *   port: 0x3f8,
 *   size: 1,
 *   count: 1,
 *   data: new Uint8Array([0x41]),
 * });
 * assertEquals(line, 'IO out 0x3f8 byte 0x41 "A"');
 * ```
 */
export function describeExit(exit: Exit, names: ExitNames = {}): string {
  const { smm, busLock, guestMode } = exit.runFlags;
  const during = [
    smm ? "in SMM" : "",
    busLock ? "bus locked" : "",
    guestMode ? "in a nested guest" : "",
  ].filter((part) => part !== "");
  return text(exit, names) + (during.length === 0 ? "" : ` (${during.join(", ")})`);
}

function text(exit: Exit, names: ExitNames): string {
  if (exit.reason === "UNKNOWN_TO_VMEXIT") {
    return `exit reason ${exit.number}, which this version of vmexit does not know`;
  }
  // Each row takes its own reason's exits; TypeScript cannot follow that through the look-up.
  const details = EXITS[exit.reason].details as
    | ((exit: Exit, names: ExitNames) => string)
    | undefined;
  const shown = details?.(exit, names) ?? "";
  return shown === "" ? exit.reason : `${exit.reason} ${shown}`;
}

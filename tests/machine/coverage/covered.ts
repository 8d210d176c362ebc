import { type AsmSource, boot, type BootOptions, type Machine } from "../../../mod.ts";

/** Boots a guest whose executed lines are noted. */
export function covered(guest: AsmSource, options: BootOptions = {}): Machine {
  return boot(guest, { ...options, coverage: true });
}

/** The text of the lines that were not executed. */
export function missed({ coverage }: Machine): string[] {
  return coverage.lines.filter(({ isReached }) => !isReached).map(({ text }) => text.trim());
}

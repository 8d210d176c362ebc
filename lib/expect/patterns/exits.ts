import type { Exit } from "../../kvm/exit.ts";
import { ExitPattern, MATCH, MISMATCH } from "./exit_pattern.ts";

/** The exit reasons that a pattern can name. */
export type ExitReason = Exit["reason"];

/**
 * Any exit of one reason, by its name in `<linux/kvm.h>` without `KVM_EXIT_`, and, where given, with these fields.
 *
 * Fields are compared with `Object.is`; a function judges the field itself.
 *
 * @example
 * ```ts
 * import { exit } from "@vmexit/vmexit";
 *
 * const broken = exit("INTERNAL_ERROR", { suberror: 1 });
 * ```
 */
export function exit<Reason extends ExitReason>(
  reason: Reason,
  fields: {
    readonly [Field in keyof Extract<Exit, { reason: Reason }>]?:
      | Extract<Exit, { reason: Reason }>[Field]
      | ((value: Extract<Exit, { reason: Reason }>[Field]) => boolean);
  } = {},
): ExitPattern {
  const wanted = Object.entries(fields);
  const shown = wanted.map(([name, value]) => `${name} ${fieldText(value)}`).join(", ");
  return byReason(reason, shown === "" ? reason : `${reason} (${shown})`, (received) => {
    const actual = received as unknown as Record<string, unknown>;
    return wanted.every(([name, value]) =>
      typeof value === "function" ? value(actual[name]) : Object.is(actual[name], value)
    );
  });
}

/** The guest executes HLT. */
export function hlt(): ExitPattern {
  return exit("HLT");
}

/** The guest shuts down: it triple-faulted. */
export function shutdown(): ExitPattern {
  return exit("SHUTDOWN");
}

/** Any exit at all. A read needs a device of the machine to answer it. */
export function anyExit(): ExitPattern {
  return new ExitPattern({
    text: "any exit",
    names: () => false,
    begin: () => ({ text: "any exit", offer: () => MATCH }),
  });
}

function byReason(
  reason: ExitReason,
  text: string,
  accepts: (exit: Exit) => boolean,
): ExitPattern {
  return new ExitPattern({
    text,
    names: (received) => received.reason === reason,
    begin: () => ({
      text,
      offer: (received) => received.reason === reason && accepts(received) ? MATCH : MISMATCH,
    }),
  });
}

function fieldText(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint") return `0x${value.toString(16)}`;
  return typeof value === "function" ? value.name || "matching" : String(value);
}

import type { Machine } from "../../machine/machine.ts";
import type { RegisterValues } from "../../machine/registers.ts";
import { cr0Flags, cr4Flags, eferFlags, rflagsFlags } from "../../x86/flag_tables.ts";
import { flagNames, type FlagTable } from "../../x86/flags.ts";
import { formatInteger } from "../format.ts";
import type { Comparison, Verdict } from "../verdict.ts";

const FLAGGED: Readonly<Record<string, FlagTable>> = {
  rflags: rflagsFlags,
  cr0: cr0Flags,
  cr4: cr4Flags,
  efer: eferFlags,
};

/** Compares registers, and parts of them, by name. */
export function matchRegisters(machine: Machine, values: RegisterValues): Verdict {
  const comparisons = Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .flatMap(([path, value]) => compare(machine, path, value));
  return {
    call: `toHaveRegisters(${callText(values)})`,
    matches: comparisons.every(({ matches }) => matches),
    comparisons: () => comparisons,
  };
}

function compare(machine: Machine, path: string, expected: unknown): Comparison[] {
  if (typeof expected === "object" && expected !== null) {
    return Object.entries(expected).flatMap(([name, value]) =>
      compare(machine, `${path}.${name}`, value)
    );
  }
  const received = machine.registers.get(path);
  return [{
    what: path,
    expected: valueText(path, expected),
    received: valueText(path, received),
    matches: isSame(expected, received),
  }];
}

/** 1 and true are the same flag; 1 and 1n the same number. */
function isSame(expected: unknown, received: bigint | number | boolean): boolean {
  if (
    typeof expected !== "number" && typeof expected !== "bigint" && typeof expected !== "boolean"
  ) {
    throw new TypeError(
      `Cannot compare a register with ${String(expected)}: it is not a number, bigint or boolean`,
    );
  }
  if (typeof expected === "number" && !Number.isInteger(expected)) return false;
  return BigInt(expected) === BigInt(received);
}

function valueText(path: string, value: unknown): string {
  if (typeof value !== "number" && typeof value !== "bigint") return String(value);
  const hex = typeof value === "number" && !Number.isInteger(value)
    ? String(value)
    : formatInteger(BigInt(value));
  const table = FLAGGED[path];
  return table === undefined ? hex : `${hex} (${flagNames(table, BigInt(value)).join(" ")})`;
}

function callText(values: object): string {
  const parts = Object.entries(values).map(([name, value]) => {
    const key = name.includes(".") ? JSON.stringify(name) : name;
    if (typeof value === "object" && value !== null) return `${key}: ${callText(value)}`;
    return `${key}: ${typeof value === "boolean" ? value : `0x${value.toString(16)}`}`;
  });
  return `{ ${parts.join(", ")} }`;
}

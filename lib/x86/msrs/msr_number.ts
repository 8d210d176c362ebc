import { hex } from "../hex.ts";
import { MSR_ALIASES, MSR_FAMILIES, type MsrFamilyName } from "./msr_families.ts";
import { MSRS } from "./msrs.ts";
import { nearestNames } from "../nearest_names.ts";

/** The names that an MSR has in the manuals, of both vendors. */
export type MsrName = keyof typeof MSRS | keyof typeof MSR_ALIASES | MsrFamilyName;

/** An MSR, by its name or by its number. */
export type Msr = MsrName | number;

/** Values by MSR: `{ LSTAR: 0xffff_8000_0000_1000n, 0xc0000084: 0x200 }`. A string is a label of the guest. */
export type MsrValues = { readonly [Name in Msr]?: number | bigint | string };

const LAST_MSR = 0xffff_ffff;
const DECIMAL = /^(0|[1-9]\d*)$/;

/** Made when first asked for, and kept: names by number, and numbers by name. */
let names: ReadonlyMap<number, string> | undefined;
let numbers: ReadonlyMap<string, number> | undefined;

function rows(): [name: string, number: number][] {
  return Object.entries(MSR_FAMILIES).flatMap(([row, { base, stride, count }]) =>
    Array.from(
      { length: count },
      (_, n): [string, number] => [row.replace("#", String(n)), base + n * stride],
    )
  );
}

function numbersByName(): ReadonlyMap<string, number> {
  return numbers ??= new Map([
    ...Object.entries(MSRS),
    ...rows(),
    ...Object.entries(MSR_ALIASES).map(([alias, name]): [string, number] => [alias, MSRS[name]]),
  ]);
}

/**
 * The number of an MSR.
 *
 * @param msr Its name; its number; or, as keys of objects are, its number as decimal text.
 * @throws {RangeError} When no MSR has that name, or it is not a number of 32 bits.
 *
 * @example
 * ```ts
 * import { msrNumber } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(msrNumber("LSTAR"), 0xc0000082);
 * assertEquals(msrNumber("IA32_MC1_STATUS"), 0x405);
 * ```
 */
export function msrNumber(msr: Msr): number {
  const number = typeof msr === "string" && DECIMAL.test(msr) ? Number(msr) : msr;
  if (typeof number === "number") {
    if (Number.isInteger(number) && number >= 0 && number <= LAST_MSR) return number;
    throw new RangeError(
      `Cannot use ${String(msr)} as the number of an MSR: it is not a whole number of 32 bits`,
    );
  }
  const found = numbersByName().get(number);
  if (found !== undefined) return found;
  const near = nearestNames(String(msr).toUpperCase(), numbersByName().keys());
  throw new RangeError(
    `Cannot find an MSR "${String(msr)}": there is none of that name; the nearest are ${
      near.join(", ")
    }. One that has no name here goes by its number.`,
  );
}

/**
 * The name of an MSR, or undefined where its number has none here. One that KVM and both vendors know has the
 * name that {@linkcode MSRS} has.
 *
 * @example
 * ```ts
 * import { msrName } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(msrName(0xc0000082), "LSTAR");
 * assertEquals(msrName(0x12345), undefined);
 * ```
 */
export function msrName(number: number): string | undefined {
  names ??= new Map(
    [...rows(), ...Object.entries(MSRS)].map(([name, value]) => [value, name]),
  );
  return names.get(number);
}

/** An MSR as texts show it: `0xc0000082 LSTAR`, or its number alone. */
export function msrText(number: number): string {
  const name = msrName(number);
  return name === undefined ? hex(number) : `${hex(number)} ${name}`;
}

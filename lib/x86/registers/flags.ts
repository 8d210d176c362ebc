import { nearestNames } from "../nearest_names.ts";

/** Where a flag lies in its register: its lowest bit and how many bits it has (1 but for fields such as IOPL). */
export interface Flag {
  /** Number of the lowest bit. */
  readonly bit: number;
  /** Number of bits. */
  readonly width: number;
}

/**
 * A flag's place: `flagAt(3)` is bit 3, `flagAt(12, 2)` bits 13:12.
 *
 * @param bit Its lowest bit.
 * @param width How many bits it has. Default 1.
 */
export function flagAt(bit: number, width = 1): Flag {
  return { bit, width };
}

/** The flags of one register by their names in the manuals, in lower case, lowest bit first. */
export type FlagTable<Name extends string = string> = Readonly<Record<Name, Flag>>;

/** `true` or `false` for a flag of one bit, the number for a wider field. */
export type FlagValue = boolean | number;

/** Some of a register's flags; those left out are clear. */
export type FlagValues<Name extends string = string> = { readonly [N in Name]?: FlagValue };

/**
 * A register's value from its flags by name.
 *
 * @param table The register's table, such as {@linkcode cr0Flags}.
 * @param flags Flags by name: true, false, or the number of a field of several bits. Those left out are clear.
 * @throws {RangeError} When the register has no flag of that name, or a value is too wide for its field.
 * @throws {TypeError} When a field of several bits is given as a boolean.
 * @example
 * ```ts
 * import { cr0Flags, flagsToValue, rflagsFlags } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(flagsToValue(cr0Flags, { pe: true, pg: true }), 0x8000_0001n);
 * assertEquals(flagsToValue(rflagsFlags, { iopl: 3, cf: true }), 0x3001n);
 * ```
 */
export function flagsToValue<Name extends string>(
  table: FlagTable<Name>,
  flags: FlagValues<Name>,
): bigint {
  let value = 0n;
  for (const [name, flag] of Object.entries<FlagValue | undefined>(flags)) {
    if (flag !== undefined) value = setFlag(table, name, value, flag);
  }
  return value;
}

/**
 * The flag `name` of a register's value: `true` or `false`, or the number in a field of several bits.
 *
 * @param table The register's table.
 * @param name The flag's name in it.
 * @param value The register's value.
 * @throws {RangeError} When the register has no flag of that name.
 * @example
 * ```ts
 * import { getFlag, rflagsFlags } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(getFlag(rflagsFlags, "zf", 0x46n), true);
 * assertEquals(getFlag(rflagsFlags, "iopl", 0x3002n), 3);
 * ```
 */
export function getFlag(table: FlagTable, name: string, value: bigint): FlagValue {
  const flag = findFlag(table, name);
  const field = (value & fieldMask(flag)) >> BigInt(flag.bit);
  return flag.width === 1 ? field === 1n : Number(field);
}

/**
 * A register's value with the flag `name` replaced.
 *
 * @param table The register's table.
 * @param name The flag's name in it.
 * @param value The register's value.
 * @param flag True, false, or the number of a field of several bits.
 * @throws {RangeError} When the register has no flag of that name, or `flag` is too wide for it.
 * @throws {TypeError} When a field of several bits is given as a boolean.
 * @example
 * ```ts
 * import { rflagsFlags, setFlag } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(setFlag(rflagsFlags, "if", 0x2n, true), 0x202n);
 * ```
 */
export function setFlag(
  table: FlagTable,
  name: string,
  value: bigint,
  flag: FlagValue,
): bigint {
  const place = findFlag(table, name);
  if (typeof flag === "boolean" && place.width > 1) {
    throw new TypeError(
      `Cannot set ${name} as ${flag}: it is a field of ${place.width} bits; give a number from 0 to ${
        2 ** place.width - 1
      }`,
    );
  }
  const field = Number(flag);
  if (!Number.isInteger(field) || field < 0 || field >= 2 ** place.width) {
    throw new RangeError(
      `Cannot set ${name} as ${flag}: it has ${place.width} bit${
        place.width === 1 ? "" : "s"
      }; give a number from 0 to ${2 ** place.width - 1}`,
    );
  }
  return (value & ~fieldMask(place)) | (BigInt(field) << BigInt(place.bit));
}

/**
 * The flags that are set, in capitals, lowest bit first; a field of several bits reads `IOPL=3`. Bits that
 * the table does not name (reserved ones, addresses) are left out: {@linkcode flagMask} tells which they are.
 *
 * @param table The register's table.
 * @param value The register's value.
 * @example
 * ```ts
 * import { cr0Flags, flagNames } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(flagNames(cr0Flags, 0x31n), ["PE", "ET", "NE"]);
 * ```
 */
export function flagNames(table: FlagTable, value: bigint): string[] {
  return Object.keys(table).flatMap((name) => {
    const flag = getFlag(table, name, value);
    if (!flag) return [];
    return [flag === true ? name.toUpperCase() : `${name.toUpperCase()}=${flag}`];
  });
}

/**
 * All bits that a table names, to find the reserved ones: `value & ~flagMask(table)`.
 *
 * @param table The register's table.
 */
export function flagMask(table: FlagTable): bigint {
  return Object.values(table).reduce((mask, flag) => mask | fieldMask(flag), 0n);
}

function fieldMask({ bit, width }: Flag): bigint {
  return ((1n << BigInt(width)) - 1n) << BigInt(bit);
}

function findFlag(table: FlagTable, name: string): Flag {
  if (Object.hasOwn(table, name)) return table[name];
  throw new RangeError(
    `Cannot find a flag "${name}": this register has none of that name; the nearest are ${
      nearestNames(name, Object.keys(table)).join(", ")
    }`,
  );
}

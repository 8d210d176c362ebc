import { hex } from "../hex.ts";
import { nearestNames } from "../nearest_names.ts";
import { vmcsEncodings, type VmcsFieldName } from "./vmcs_fields.ts";

/** How wide a field is; natural width is that of the CPU's registers. */
export type VmcsFieldWidth = 16 | 32 | 64 | "natural";

/** What a field is for. */
export type VmcsFieldType = "control" | "VM-exit information" | "guest state" | "host state";

/** An encoding by its parts (Intel SDM Vol. 3C, table 24-21). */
export interface VmcsField {
  /** The manual's name; undefined for an encoding that has none here. */
  name: VmcsFieldName | undefined;
  /** What VMREAD and VMWRITE take. */
  encoding: number;
  /** How wide it is. */
  width: VmcsFieldWidth;
  /** What it is for; VM-exit information is read-only, on most CPUs. */
  type: VmcsFieldType;
  /** Its number among those of the same width and type. */
  index: number;
  /** The high half of a field of 64 bits. */
  high: boolean;
}

const HIGH = 1;
const INDEX_SHIFT = 1;
const INDEX_MASK = 0x1ff;
const TYPE_SHIFT = 10;
const WIDTH_SHIFT = 13;
const TWO_BITS = 3;
/** Bit 12, and those from 15 on. */
const RESERVED = ~0x6fff;
const WIDTHS: readonly VmcsFieldWidth[] = [16, 64, 32, "natural"];
const TYPES: readonly VmcsFieldType[] = [
  "control",
  "VM-exit information",
  "guest state",
  "host state",
];

const names: ReadonlyMap<number, string> = new Map(
  [...vmcsEncodings].map(([name, encoding]) => [encoding, name]),
);

/**
 * A field of the VMCS, by its name or its encoding.
 *
 * @throws {RangeError} When there is no field of that name, or the encoding has a reserved bit.
 * @example
 * ```ts
 * import { vmcsField } from "./vmcs_field.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { encoding, width, type } = vmcsField("guest_rip");
 * assertEquals([encoding, width, type], [0x681e, "natural", "guest state"]);
 * assertEquals(vmcsField(0x4402).name, "exit_reason");
 * ```
 */
export function vmcsField(field: VmcsFieldName | number): VmcsField {
  const encoding = typeof field === "number" ? checkEncoding(field) : encodingOf(field);
  return {
    name: names.get(encoding & ~HIGH) as VmcsFieldName | undefined,
    encoding,
    width: WIDTHS[encoding >> WIDTH_SHIFT & TWO_BITS],
    type: TYPES[encoding >> TYPE_SHIFT & TWO_BITS],
    index: encoding >> INDEX_SHIFT & INDEX_MASK,
    high: (encoding & HIGH) !== 0,
  };
}

function encodingOf(name: string): number {
  const encoding = vmcsEncodings.get(name);
  if (encoding !== undefined) return encoding;
  throw new RangeError(
    `Cannot find the VMCS field "${name}": there is none of that name; the nearest are ${
      nearestNames(name, vmcsEncodings.keys()).join(", ")
    }`,
  );
}

function checkEncoding(encoding: number): number {
  if (Number.isInteger(encoding) && encoding >= 0 && (encoding & RESERVED) === 0) return encoding;
  throw new RangeError(
    `Cannot read ${
      Number.isInteger(encoding) ? hex(encoding) : encoding
    } as the encoding of a VMCS field: bits 12 and 31:15 are 0 in one; give a field's name`,
  );
}

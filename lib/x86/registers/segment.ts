import { hex } from "../hex.ts";

/**
 * A segment register with its hidden part, as `struct kvm_segment` has it (Intel SDM Vol. 3A, 3.4.3 and 3.4.5).
 * One-bit fields are 0 or 1.
 */
export interface Segment {
  /** Linear address of the segment. */
  base: bigint;
  /** Highest offset, in bytes, whatever `g` is. */
  limit: number;
  /** What the guest sees in the register. */
  selector: number;
  /** The four type bits; {@linkcode SEGMENT_TYPE} names those that boot states use. */
  type: number;
  /** Present. */
  present: number;
  /** Privilege level, 0 to 3. */
  dpl: number;
  /** Default operation size: 1 is 32 bits (D in code, B in stacks). */
  db: number;
  /** 1 for code and data, 0 for system segments (TSS, LDT). */
  s: number;
  /** 64-bit code. */
  l: number;
  /** The descriptor's limit counts units of 4 KiB. */
  g: number;
  /** Free for software. */
  avl: number;
  /** The register holds no segment: using it faults. */
  unusable: number;
}

/** Segment types by name (Intel SDM Vol. 3A, 3.4.5.1 and 3.5). */
export const SEGMENT_TYPE = {
  /** Data: read, write, accessed. */
  readWriteDataAccessed: 0x3,
  /** Code: execute, read, accessed. */
  executeReadCodeAccessed: 0xb,
  /** System: a busy TSS of 32 bits, or of 64 in IA-32e mode. */
  busyTss: 0xb,
  /** System: a local descriptor table. */
  localDescriptorTable: 0x2,
} as const;

/** The fields of a segment that are in its descriptor's attribute word (Intel SDM Vol. 3A, 3.4.5). */
export type SegmentAttribute = Exclude<keyof Segment, "base" | "limit" | "selector" | "unusable">;

/** The fields of the attribute word: their lowest bit in it and their width. */
const ATTRIBUTES: Readonly<Record<SegmentAttribute, { bit: number; width: number }>> = {
  type: { bit: 0, width: 4 },
  s: { bit: 4, width: 1 },
  dpl: { bit: 5, width: 2 },
  present: { bit: 7, width: 1 },
  avl: { bit: 12, width: 1 },
  l: { bit: 13, width: 1 },
  db: { bit: 14, width: 1 },
  g: { bit: 15, width: 1 },
};

/** Their names. */
const attributeNames: readonly SegmentAttribute[] = Object.keys(
  ATTRIBUTES,
) as SegmentAttribute[];

/** Bytes of a descriptor of code, data, or a system segment outside IA-32e mode (Intel SDM Vol. 3A, 3.4.5). */
export const DESCRIPTOR_SIZE = 8;
/** Bytes of a TSS or LDT descriptor in IA-32e mode, which has room for a 64-bit base (Intel SDM Vol. 3A, 7.2.3). */
export const SYSTEM_DESCRIPTOR_SIZE = 16;

const LIMIT_BITS = 20;
const PAGE_BITS = 12;
const PAGE_MASK = 0xfff;

/** Where the attribute word, bits 55:40, begins in a descriptor; its bits 11:8 are the limit's. */
const ATTRIBUTE_WORD_BIT = 40;
const ATTRIBUTE_WORD_BITS = 16;

/**
 * What a segment register holds after `selector` was loaded and found `descriptor` in its table (Intel SDM Vol. 3A,
 * 3.4.5).
 *
 * The limit is scaled to bytes: with G set, a limit field of `n` means `n * 4096 + 4095`. A descriptor that
 * is not present gives an unusable segment. In 16-byte descriptors the reserved upper half of the last
 * 8 bytes is ignored.
 *
 * @param descriptor 8 bytes, or the 16 of a system segment in IA-32e mode; a bigint is the 8-byte kind.
 * @param selector What goes into the selector field.
 * @throws {RangeError} When there are neither 8 nor 16 bytes, or the bigint has more than 64 bits.
 * @example
 * ```ts
 * import { descriptorToSegment } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const code = descriptorToSegment(0x00af_9b00_0000_ffffn, 0x08);
 * assertEquals([code.type, code.l, code.limit], [0xb, 1, 0xffff_ffff]);
 * ```
 */
export function descriptorToSegment(descriptor: Uint8Array | bigint, selector: number): Segment {
  const { low, high } = halves(descriptor);
  const attributes = attributesOf(Number(field(low, ATTRIBUTE_WORD_BIT, ATTRIBUTE_WORD_BITS)));
  const limit = Number(field(low, 0, 16) | (field(low, 48, 4) << 16n));
  return {
    base: field(low, 16, 24) | (field(low, 56, 8) << 24n) | (field(high, 0, 32) << 32n),
    limit: attributes.g ? limit * 2 ** PAGE_BITS + PAGE_MASK : limit,
    selector,
    ...attributes,
    unusable: attributes.present ? 0 : 1,
  };
}

/**
 * The descriptor from which a segment register would be loaded (Intel SDM Vol. 3A, 3.4.5).
 *
 * Round trips are exact both ways for segments that are present. The limit must be one that the granularity
 * can express: with `g` 0 at most 0xfffff, with `g` 1 its low 12 bits all set. An unusable segment gives
 * the null descriptor, all zeros. The selector has no place in a descriptor.
 *
 * @param segment The segment.
 * @param size 8, or 16 for a system segment (TSS, LDT) in IA-32e mode.
 * @throws {RangeError} When a field is wider than its place, the base needs a 16-byte descriptor, a
 *   16-byte descriptor is asked for code or data, or the limit cannot be expressed.
 * @example
 * ```ts
 * import { descriptorToSegment, segmentToDescriptor } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const data = descriptorToSegment(0x00cf_9300_0000_ffffn, 0x10);
 * assertEquals([...segmentToDescriptor(data)], [0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]);
 * ```
 */
export function segmentToDescriptor(
  segment: Segment,
  size: 8 | 16 = DESCRIPTOR_SIZE,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  if (segment.unusable) return bytes;
  refuseMisfits(segment, size);
  const limit = BigInt(segment.g ? segment.limit >>> PAGE_BITS : segment.limit);
  const low = field(limit, 0, 16) | (field(limit, 16, 4) << 48n) |
    (field(segment.base, 0, 24) << 16n) | (field(segment.base, 24, 8) << 56n) |
    (BigInt(attributeWord(segment)) << BigInt(ATTRIBUTE_WORD_BIT));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, low, true);
  if (size === SYSTEM_DESCRIPTOR_SIZE) view.setBigUint64(8, segment.base >> 32n, true);
  return bytes;
}

/**
 * The attributes of a segment as bits 55:40 of a descriptor have them; bits 11:8 are clear (Intel SDM Vol. 3A,
 * 3.4.5).
 *
 * @param segment The attributes alone count.
 */
export function attributeWord(segment: Pick<Segment, SegmentAttribute>): number {
  let word = 0;
  for (const name of attributeNames) word |= segment[name] << ATTRIBUTES[name].bit;
  return word;
}

/**
 * The attributes that bits 55:40 of a descriptor have; bits 11:8 do not count (Intel SDM Vol. 3A, 3.4.5).
 *
 * @param word 16 bits, the lowest of which is bit 40 of the descriptor.
 */
export function attributesOf(word: number): Pick<Segment, SegmentAttribute> {
  const attributes = {} as Record<SegmentAttribute, number>;
  for (const name of attributeNames) {
    const { bit, width } = ATTRIBUTES[name];
    attributes[name] = word >> bit & 2 ** width - 1;
  }
  return attributes;
}

function halves(descriptor: Uint8Array | bigint): { low: bigint; high: bigint } {
  if (typeof descriptor === "bigint") {
    if (BigInt.asUintN(64, descriptor) === descriptor) return { low: descriptor, high: 0n };
    throw new RangeError(
      `Cannot read ${
        hex(descriptor)
      } as a descriptor: it has more than 64 bits; give a 16-byte descriptor as bytes`,
    );
  }
  const view = new DataView(descriptor.buffer, descriptor.byteOffset, descriptor.byteLength);
  switch (descriptor.byteLength) {
    case DESCRIPTOR_SIZE:
      return { low: view.getBigUint64(0, true), high: 0n };
    case SYSTEM_DESCRIPTOR_SIZE:
      return { low: view.getBigUint64(0, true), high: view.getBigUint64(8, true) };
    default:
      throw new RangeError(
        `Cannot read ${descriptor.byteLength} bytes as a descriptor: it has 8 bytes, or 16 for a system segment in IA-32e mode`,
      );
  }
}

function refuseMisfits(segment: Segment, size: 8 | 16): void {
  for (const name of attributeNames) {
    const { width } = ATTRIBUTES[name];
    const value = segment[name];
    if (Number.isInteger(value) && value >= 0 && value < 2 ** width) continue;
    throw new RangeError(
      `Cannot encode ${name} as ${value}: the field has ${width} bits; give 0 to ${2 ** width - 1}`,
    );
  }
  if (size === SYSTEM_DESCRIPTOR_SIZE && segment.s) {
    throw new RangeError(
      "Cannot encode code or data as a 16-byte descriptor: only system segments (s = 0) have it",
    );
  }
  const baseBits = size === SYSTEM_DESCRIPTOR_SIZE ? 64 : 32;
  if (BigInt.asUintN(baseBits, segment.base) !== segment.base) {
    throw new RangeError(
      `Cannot encode base as ${
        hex(segment.base)
      }: descriptors of ${size} bytes have ${baseBits} bits for it`,
    );
  }
  refuseLimit(segment);
}

function refuseLimit({ limit, g }: Segment): void {
  const expressible = Number.isInteger(limit) && limit >= 0 &&
    (g ? limit < 2 ** 32 && (limit & PAGE_MASK) === PAGE_MASK : limit < 2 ** LIMIT_BITS);
  if (expressible) return;
  throw new RangeError(
    `Cannot encode limit as ${hex(limit)} with g = ${g}: ${
      g ? "it must end in 0xfff and have at most 32 bits" : "above 0xfffff it needs g = 1"
    }`,
  );
}

function field(value: bigint, bit: number, width: number): bigint {
  return BigInt.asUintN(width, value >> BigInt(bit));
}

import { hex } from "../hex.ts";
import { DESCRIPTOR_SIZE, descriptorToSegment, type Segment } from "../registers/segment.ts";
import { describeSegment, type GuestView, isCode, kindOf, RPL } from "./guest_view.ts";
import type { Finding, FoundDescriptor } from "./incident.ts";
import { cause } from "./raised.ts";

/** The fields of a segment descriptor by their first bit, from the lowest on (Intel SDM Vol. 3A, figure 3-8). */
const FIELDS: readonly (readonly [firstBit: number, name: string])[] = [
  [0, "limit"],
  [16, "base"],
  [40, "type"],
  [44, "S"],
  [45, "DPL"],
  [47, "P"],
  [48, "limit"],
  [52, "AVL"],
  [53, "L"],
  [54, "D/B"],
  [55, "G"],
  [56, "base"],
];

const BITS_PER_BYTE = 8;
const DESCRIPTOR_BITS = DESCRIPTOR_SIZE * BITS_PER_BYTE;
/** Entries of a table that are listed. */
const LISTED = 8;

/** The field that a bit of a descriptor is part of. */
function descriptorField(bit: number): string {
  return FIELDS.findLast(([first]) => first <= bit)![1];
}

/** A descriptor's bytes with one bit turned. */
function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice();
  copy[Math.floor(bit / BITS_PER_BYTE)] ^= 1 << bit % BITS_PER_BYTE;
  return copy;
}

/**
 * What is to be said of the descriptor that a rule refuses: what it is, and which single bit would make it one that the
 * rule takes, and which other entry is one.
 *
 * @param wanted What the rule wants, in words: `a present code segment of DPL 0`.
 * @param accepts Whether the rule takes a descriptor.
 */
export function refusedDescriptor(
  view: GuestView,
  descriptor: FoundDescriptor & { readonly segment: Segment },
  wanted: string,
  accepts: (segment: Segment) => boolean,
): Finding[] {
  const { bytes, segment, linear } = descriptor;
  const mended = bytes.some((byte) => byte !== 0) ? mendingBits(bytes, segment, accepts) : [];
  const hint = mended.length === 0 ? "" : `. With ${mended.join(" or ")} it would be ${wanted}`;
  return [
    cause(view.describeEntry(descriptor) + hint, { linear, descriptor }),
    ...otherEntries(view, descriptor, wanted, accepts),
  ];
}

/** The single bits that would make a descriptor one that is accepted: `bit 47 (P) set`. */
function mendingBits(
  bytes: Uint8Array,
  { selector }: Segment,
  accepts: (segment: Segment) => boolean,
): string[] {
  const found: string[] = [];
  for (let bit = 0; bit < DESCRIPTOR_BITS; bit++) {
    const mended = flipped(bytes, bit);
    if (!accepts(descriptorToSegment(mended, selector))) continue;
    const value = mended[Math.floor(bit / BITS_PER_BYTE)] >> bit % BITS_PER_BYTE & 1;
    found.push(`bit ${bit} (${descriptorField(bit)}) ${value ? "set" : "clear"}`);
  }
  return found;
}

function otherEntries(
  view: GuestView,
  { index, table }: FoundDescriptor,
  wanted: string,
  accepts: (segment: Segment) => boolean,
): Finding[] {
  if (table !== "GDT") return [];
  const fitting = tableEntries(view)
    .filter((each) => each.index !== index && accepts(each.segment))
    .map((each) => hex(each.index * DESCRIPTOR_SIZE, 2));
  if (fitting.length === 0) return [];
  return [cause(`${wanted} has the selector ${fitting.join(" or ")}`)];
}

/** The descriptors of the GDT after the null one, as far as they are listed. */
export function tableEntries(
  view: GuestView,
): (FoundDescriptor & { readonly segment: Segment })[] {
  const found = [];
  for (let index = 1; index < LISTED; index++) {
    const entry = view.lookUp(index * DESCRIPTOR_SIZE);
    if (entry.found !== "descriptor") break;
    found.push(entry.descriptor);
  }
  return found;
}

/** The GDT in a sentence: where it is, and what its entries are. */
export function describeGdt(view: GuestView): string {
  const { base, limit } = view.special.gdt;
  const entries = tableEntries(view).map(({ segment, bytes, index }) =>
    `${hex(index * DESCRIPTOR_SIZE, 2)} ${
      bytes.every((byte) => byte === 0) ? "zeros" : kindOf(segment)
    }`
  );
  return `GDTR: base ${view.place(base)}, limit ${hex(limit, 2)}; ` +
    (entries.length === 0
      ? "it has no entry behind the null one"
      : `entries: ${entries.join(", ")}`);
}

/**
 * What is odd about the descriptor that a segment register was loaded from: a base where the other segments have none, a
 * limit that does not reach as far as theirs.
 *
 * @param exceeded Whether something lies beyond its limit.
 */
export function oddities(
  view: GuestView,
  name: string,
  segment: Segment,
  exceeded = false,
): Finding[] {
  if (view.hasRealSegments || segment.unusable || (segment.selector & ~RPL) === 0) return [];
  const { cs, ss, ds, es } = view.special;
  const listed = tableEntries(view).filter((each) => each.segment.s === 1 && each.segment.present)
    .map((each) => ({ ...each.segment, selector: each.index * DESCRIPTOR_SIZE }));
  const others = [cs, ss, ds, es, ...listed].filter((each) =>
    !each.unusable && (each.selector & ~RPL) !== 0 &&
    (each.selector & ~RPL) !== (segment.selector & ~RPL)
  );
  const said = describeSource(view, segment);
  const finding = (text: string) => [
    cause(`${name} = ${hex(segment.selector, 4)}: ${said.text}. ${text}`, {
      linear: said.linear,
      ...said.descriptor === undefined ? {} : { descriptor: said.descriptor },
    }),
  ];
  const { base, limit, g, l, db } = segment;
  const flat = others.some((each) => each.limit === FLAT_LIMIT);
  if (exceeded && !flat && !g) {
    return finding(`Its limit counts bytes, as G is 0: the segment has ${hex(limit + 1)} of them`);
  }
  if (base === BigInt(segment.selector) << 4n && limit === REAL_LIMIT) {
    return [
      cause(
        `${name} = ${
          hex(segment.selector, 4)
        } still has what real mode gave it: nothing has loaded it since`,
      ),
    ];
  }
  if (l && segment.s && !isCode(segment)) {
    return finding("L (bit 53) is set, which is reserved in data segments");
  }
  if (name === "CS" && view.efer("lma") && !l && !db) {
    return finding("It is 16-bit code in long mode: with L = 1 (bit 53) it would be 64-bit code");
  }
  if (name === "CS" && base !== 0n && others.length === 0 && (db || l)) {
    return finding("Flat code has base 0: the bytes of its base are probably wrong");
  }
  if (base !== 0n && others.length > 0 && others.every((each) => each.base === 0n)) {
    return finding("The other segments have base 0: the bytes of its base are probably wrong");
  }
  if (limit !== FLAT_LIMIT && flat) {
    return finding(
      g || limit !== FLAT_LIMIT >>> LIMIT_SHIFT
        ? "The other segments reach to 4 GiB: its limit is probably wrong"
        : "Its limit counts bytes, as G is 0: with G = 1 (bit 55) it would be 0xffffffff",
    );
  }
  return [];
}

/** The limit that segments have in real mode. */
export const REAL_LIMIT = 0xffff;
/** The limit of a segment of 4 GiB, and by how many bits G shifts it. */
const FLAT_LIMIT = 0xffff_ffff;
const LIMIT_SHIFT = 12;

/** The descriptor that a segment was loaded from, in words; where it cannot be read any more, what was loaded. */
function describeSource(
  view: GuestView,
  segment: Segment,
): { readonly text: string; readonly linear: bigint; readonly descriptor?: FoundDescriptor } {
  const lookup = view.lookUp(segment.selector);
  if (lookup.found === "descriptor") {
    const { descriptor } = lookup;
    return { text: view.describeEntry(descriptor), linear: descriptor.linear, descriptor };
  }
  const index = segment.selector >> 3;
  const linear = view.special.gdt.base + BigInt(index * DESCRIPTOR_SIZE);
  return {
    text: `GDT[${index}] at ${view.place(linear)} gave ${describeSegment(segment)}`,
    linear,
  };
}

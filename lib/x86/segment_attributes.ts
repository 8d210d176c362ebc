import type { Segment } from "./segment.ts";

/** The fields of a segment that are in its descriptor's attribute word. */
export type SegmentAttribute = Exclude<keyof Segment, "base" | "limit" | "selector" | "unusable">;

/** The fields of the attribute word: their lowest bit in it and their width. */
export const ATTRIBUTES: Readonly<Record<SegmentAttribute, { bit: number; width: number }>> = {
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
export const attributeNames: readonly SegmentAttribute[] = Object.keys(
  ATTRIBUTES,
) as SegmentAttribute[];

/** The attributes of a segment as bits 55:40 of a descriptor have them; bits 11:8 are clear. */
export function attributeWord(segment: Pick<Segment, SegmentAttribute>): number {
  let word = 0;
  for (const name of attributeNames) word |= segment[name] << ATTRIBUTES[name].bit;
  return word;
}

/** The attributes that bits 55:40 of a descriptor have; bits 11:8 do not count. */
export function attributesOf(word: number): Pick<Segment, SegmentAttribute> {
  const attributes = {} as Record<SegmentAttribute, number>;
  for (const name of attributeNames) {
    const { bit, width } = ATTRIBUTES[name];
    attributes[name] = word >> bit & 2 ** width - 1;
  }
  return attributes;
}

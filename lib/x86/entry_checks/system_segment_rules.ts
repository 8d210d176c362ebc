import { isCanonical } from "../paging/canonical.ts";
import { hex } from "../hex.ts";
import { SEGMENT_TYPE } from "../registers/segment.ts";
import type { GuestStateRule } from "./guest_state.ts";
import { granularityMisfit, type SegmentCheck, segmentRule as rule } from "./segment_rule.ts";

/** A busy 16-bit TSS, which only guests outside IA-32e mode may have. */
const BUSY_TSS_16 = 3;
const TABLE_INDICATOR = 0x4;

/** Checks on TR and LDTR (Intel SDM Vol. 3C, 26.3.1.2). */
export const systemSegmentRules: readonly GuestStateRule[] = [
  rule("TR is usable", ["tr"], ({ unusable }) => unusable === 1 && "unusable is 1"),
  rule(
    "TR is a busy TSS: of type 11, or 3 outside IA-32e mode",
    ["tr"],
    ({ type }, { ia32e }) =>
      type !== SEGMENT_TYPE.busyTss && (ia32e || type !== BUSY_TSS_16) && `type is ${type}`,
  ),
  rule(
    "A usable LDTR is of type 2",
    ["ldt"],
    ({ type, unusable }) =>
      !unusable && type !== SEGMENT_TYPE.localDescriptorTable && `type is ${type}`,
  ),
  system(
    "selects a descriptor in the GDT (TI = 0)",
    ({ selector }) => Boolean(selector & TABLE_INDICATOR) && `selector is ${hex(selector)}`,
  ),
  system(
    "has a canonical base",
    ({ base }, { linearAddressBits }) =>
      !isCanonical(base, linearAddressBits) && `base is ${hex(base)}`,
  ),
  system("is a system segment (S = 0)", ({ s }) => s !== 0 && `s is ${s}`),
  system("is present", ({ present }) => present !== 1 && `present is ${present}`),
  system("has a granularity (G) that fits the limit", granularityMisfit),
];

/** A rule for TR, and for LDTR where that is usable. */
function system(text: string, check: SegmentCheck): GuestStateRule {
  return rule(
    `TR, and LDTR where usable, ${text}`,
    ["tr", "ldt"],
    (segment, state, name) => !(name === "ldt" && segment.unusable) && check(segment, state, name),
  );
}

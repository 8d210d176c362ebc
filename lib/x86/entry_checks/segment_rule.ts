import type { SegmentName } from "../boot/cpu_state.ts";
import { hex } from "../hex.ts";
import type { Segment } from "../registers/segment.ts";
import type { CheckedGuestState, GuestStateRule } from "./guest_state.ts";

/** What is wrong with a segment, or false. */
export type SegmentVerdict = false | string;

/** Checks one segment. */
export type SegmentCheck = (
  segment: Segment,
  state: CheckedGuestState,
  name: SegmentName,
) => SegmentVerdict;

/** A rule of Intel SDM Vol. 3C, 26.3.1.2 that is asked of each of some segments. */
export function segmentRule(
  text: string,
  names: readonly SegmentName[],
  check: SegmentCheck,
): GuestStateRule {
  return {
    rule: text,
    section: "Intel SDM Vol. 3C, 26.3.1.2",
    broken: (state) =>
      names.flatMap((name) => {
        const verdict = check(state.specialRegisters[name], state, name);
        return verdict === false ? [] : [`${name.toUpperCase()}: ${verdict}`];
      }),
  };
}

/** The low bits of a limit that a granularity of 4 KiB cannot clear. */
const LOW_LIMIT = 0xfff;
/** The highest limit that a granularity of bytes can express. */
const BYTE_LIMIT_MAX = 0xf_ffff;

/** Says when G does not fit the limit: any of bits 11:0 clear needs G = 0, any of bits 31:20 set needs G = 1. */
export function granularityMisfit({ g, limit }: Segment): SegmentVerdict {
  const needsBytes = (limit & LOW_LIMIT) !== LOW_LIMIT;
  const needsPages = limit > BYTE_LIMIT_MAX;
  const fits = g === 1 ? !needsBytes : !needsPages;
  return !fits && `limit is ${hex(limit)}, g is ${g}`;
}

import { isCanonical } from "../paging/canonical.ts";
import type { SegmentName } from "../boot/cpu_state.ts";
import { cr0Flags } from "../registers/flag_tables.ts";
import { getFlag } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import { type Segment, SEGMENT_TYPE } from "../registers/segment.ts";
import type { CheckedGuestState, GuestStateRule } from "./guest_state.ts";

const ACCESSED = 0x1;
const READABLE = 0x2;
const CODE = 0x8;
const NON_CONFORMING_CODE = [9, 11];
const CONFORMING_CODE = [13, 15];
const READ_WRITE_DATA = 3;
const READ_WRITE_EXPAND_DOWN_DATA = 7;
const LAST_NON_CONFORMING_TYPE = 11;
const REQUESTED_PRIVILEGE = 0x3;
const VIRTUAL_8086_LIMIT = 0xffff;

/** What is wrong with a segment, or false. */
type SegmentVerdict = false | string;

/** Checks one segment. */
type SegmentCheck = (
  segment: Segment,
  state: CheckedGuestState,
  name: SegmentName,
) => SegmentVerdict;

/** A rule of Intel SDM Vol. 3C, 26.3.1.2 that is asked of each of some segments. */
function rule(
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
function granularityMisfit({ g, limit }: Segment): SegmentVerdict {
  const needsBytes = (limit & LOW_LIMIT) !== LOW_LIMIT;
  const needsPages = limit > BYTE_LIMIT_MAX;
  const fits = g === 1 ? !needsBytes : !needsPages;
  return !fits && `limit is ${hex(limit)}, g is ${g}`;
}

/** The access rights of every segment in virtual-8086 mode: 0xf3. */
const VIRTUAL_8086_RIGHTS: Partial<Segment> = {
  type: READ_WRITE_DATA,
  s: 1,
  dpl: 3,
  present: 1,
  avl: 0,
  l: 0,
  db: 0,
  g: 0,
  unusable: 0,
};

const codeAndData: readonly SegmentName[] = ["cs", "ss", "ds", "es", "fs", "gs"];
const dataOnly: readonly SegmentName[] = ["ds", "es", "fs", "gs"];

/** Checks on CS, SS, DS, ES, FS and GS (Intel SDM Vol. 3C, 26.3.1.2). */
export const segmentRules: readonly GuestStateRule[] = [
  rule(
    "SS.RPL equals CS.RPL, unless the guest is unrestricted or virtual-8086",
    ["ss"],
    (ss, state) =>
      !state.virtual8086 && !state.unrestrictedGuest &&
      rpl(ss) !== rpl(state.specialRegisters.cs) &&
      `RPL is ${rpl(ss)}, that of CS is ${rpl(state.specialRegisters.cs)}`,
  ),
  rule(
    "A virtual-8086 segment's base is 16 times its selector",
    codeAndData,
    ({ base, selector }, { virtual8086 }) =>
      virtual8086 && base !== BigInt(selector) << 4n &&
      `base is ${hex(base)}, the selector ${hex(selector)}`,
  ),
  rule(
    "The base is canonical",
    ["fs", "gs"],
    ({ base }, { linearAddressBits }) =>
      !isCanonical(base, linearAddressBits) && `base is ${hex(base)}`,
  ),
  rule(
    "The base has at most 32 bits",
    ["cs", "ss", "ds", "es"],
    (segment, _state, name) =>
      counts(name, segment) && segment.base >> 32n !== 0n && `base is ${hex(segment.base)}`,
  ),
  rule(
    "A virtual-8086 segment's limit is 0xffff",
    codeAndData,
    ({ limit }, { virtual8086 }) =>
      virtual8086 && limit !== VIRTUAL_8086_LIMIT && `limit is ${hex(limit)}`,
  ),
  rule(
    "A virtual-8086 segment's access rights are 0xf3",
    codeAndData,
    (segment, { virtual8086 }) => {
      if (!virtual8086) return false;
      const wrong = Object.entries(VIRTUAL_8086_RIGHTS).filter(([name, value]) =>
        segment[name as keyof Segment] !== value
      );
      return wrong.length > 0 &&
        wrong.map(([name]) => `${name} is ${segment[name as keyof Segment]}`).join(", ");
    },
  ),
  rule(
    "CS is accessed code, or in an unrestricted guest data of type 3",
    ["cs"],
    ({ type }, { virtual8086, unrestrictedGuest }) =>
      !virtual8086 &&
      ![...NON_CONFORMING_CODE, ...CONFORMING_CODE].includes(type) &&
      !(unrestrictedGuest && type === READ_WRITE_DATA) && `type is ${type}`,
  ),
  rule(
    "A usable SS is accessed read/write data",
    ["ss"],
    ({ type, unusable }, { virtual8086 }) =>
      !virtual8086 && !unusable &&
      ![READ_WRITE_DATA, READ_WRITE_EXPAND_DOWN_DATA].includes(type) && `type is ${type}`,
  ),
  rule(
    "A usable data segment is accessed",
    dataOnly,
    ({ type, unusable }, { virtual8086 }) =>
      !virtual8086 && !unusable && !(type & ACCESSED) && `type is ${type}`,
  ),
  rule(
    "A usable data segment with code in it is readable",
    dataOnly,
    ({ type, unusable }, { virtual8086 }) =>
      !virtual8086 && !unusable && Boolean(type & CODE) && !(type & READABLE) && `type is ${type}`,
  ),
  rule(
    "CS and usable segments are code or data (S = 1)",
    codeAndData,
    (segment, { virtual8086 }, name) =>
      !virtual8086 && counts(name, segment) && segment.s !== 1 && `s is ${segment.s}`,
  ),
  rule(
    "A CS with data of type 3 has DPL 0",
    ["cs"],
    ({ type, dpl }, { virtual8086 }) =>
      !virtual8086 && type === READ_WRITE_DATA && dpl !== 0 && `dpl is ${dpl}`,
  ),
  rule(
    "A non-conforming CS has the DPL of SS",
    ["cs"],
    ({ type, dpl }, { virtual8086, specialRegisters: { ss } }) =>
      !virtual8086 && NON_CONFORMING_CODE.includes(type) && dpl !== ss.dpl &&
      `dpl is ${dpl}, that of SS is ${ss.dpl}`,
  ),
  rule(
    "A conforming CS has no higher DPL than SS",
    ["cs"],
    ({ type, dpl }, { virtual8086, specialRegisters: { ss } }) =>
      !virtual8086 && CONFORMING_CODE.includes(type) && dpl > ss.dpl &&
      `dpl is ${dpl}, that of SS is ${ss.dpl}`,
  ),
  rule(
    "SS.DPL equals SS.RPL, unless the guest is unrestricted",
    ["ss"],
    (ss, { virtual8086, unrestrictedGuest }) =>
      !virtual8086 && !unrestrictedGuest && ss.dpl !== rpl(ss) &&
      `dpl is ${ss.dpl}, the RPL ${rpl(ss)}`,
  ),
  rule(
    "SS.DPL is 0 in real mode and with data of type 3 in CS",
    ["ss"],
    ({ dpl }, { virtual8086, specialRegisters: { cs, cr0 } }) =>
      !virtual8086 && dpl !== 0 &&
      (cs.type === READ_WRITE_DATA || !getFlag(cr0Flags, "pe", cr0)) && `dpl is ${dpl}`,
  ),
  rule(
    "A usable data segment's DPL is no lower than its RPL, unless the guest is unrestricted",
    dataOnly,
    (segment, { virtual8086, unrestrictedGuest }) =>
      !virtual8086 && !unrestrictedGuest && !segment.unusable &&
      segment.type <= LAST_NON_CONFORMING_TYPE && segment.dpl < rpl(segment) &&
      `dpl is ${segment.dpl}, the RPL ${rpl(segment)}`,
  ),
  rule(
    "CS and usable segments are present",
    codeAndData,
    (segment, { virtual8086 }, name) =>
      !virtual8086 && counts(name, segment) && segment.present !== 1 && "present is 0",
  ),
  rule(
    "CS is not both 64-bit (L) and 32-bit (D/B) in IA-32e mode",
    ["cs"],
    ({ l, db }, { ia32e }) => ia32e && l === 1 && db === 1 && "l and db are 1",
  ),
  rule(
    "The granularity (G) of CS and usable segments fits the limit",
    codeAndData,
    (segment, { virtual8086 }, name) =>
      !virtual8086 && counts(name, segment) && granularityMisfit(segment),
  ),
];

/** Whether a rule for "CS and usable segments" applies. */
function counts(name: SegmentName, { unusable }: Segment): boolean {
  return name === "cs" || !unusable;
}

function rpl({ selector }: Segment): number {
  return selector & REQUESTED_PRIVILEGE;
}

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

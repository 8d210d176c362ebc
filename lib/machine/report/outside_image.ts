import type { Image } from "../../guest/image.ts";
import { loadAddressOf } from "../../guest/image_parts.ts";
import type { SourceLine } from "../../guest/image_init.ts";
import { hex } from "../../x86/hex.ts";
import { codeLocation, imageBaseAt } from "../registers/code_location.ts";
import { CodeView, exitingInstruction } from "./guest_code.ts";
import type { PostmortemResult } from "./postmortem.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

const SEGMENTS_SHOWN = 3;

/** Whether the instruction of its latest exit, or where it was stopped the next one, is no part of its image. */
export function isOutsideImage(cpu: StoppedCpu): boolean {
  const place = codeLocation(cpu);
  const address = exitingInstruction(cpu, new CodeView(cpu, place));
  return cpu.image.segmentAt(address - place.imageBase) === undefined;
}

/** More than a guest that only runs on gets through before somebody stops it. */
const LONGEST_GAP = 16n << 20n;

/**
 * That a guest executes what is no part of its image, and what is known of how it came there: lines for the page, none
 * where it is within. No CPU here records its latest branch, so that without a repeated run no more than this is known:
 * whether there are only zeros between the image's end and here, through which it may have run, and a return address on
 * top of its stack.
 *
 * @param address The linear address of the instruction that the page is about.
 * @param repeated What a repeated run shows, where there was one: its way there is told elsewhere then.
 */
export function outsideImage(
  cpu: StoppedCpu,
  code: CodeView,
  address: bigint,
  repeated: PostmortemResult | undefined,
): string[] {
  const { image } = cpu;
  if (image.segmentAt(address - code.place.imageBase) !== undefined) return [];
  const stretch = nearest(cpu, address);
  const outside = `  outside of the guest's image, which lies at ${
    rangesText(image, stretch.base)
  }`;
  if (repeated !== undefined && "cpu" in repeated) return [outside];
  return [
    outside,
    ...repeated === undefined
      ? []
      : [`  how it came there is not known: its run could not be repeated: ${repeated.obstacle}`],
    ...zerosBefore(cpu, stretch, address),
    ...calledFrom(cpu, code, stretch.base),
  ];
}

interface Stretch {
  /** What to add to addresses of the image to have linear ones. */
  readonly base: bigint;
  /** The linear address behind the image's last byte before some other one; undefined where there is none. */
  readonly end: bigint | undefined;
}

/** Where the image lies, and which end of it the address is behind. */
function nearest({ image, machine }: StoppedCpu, address: bigint): Stretch {
  const { cs, rip } = machine.cpus[0].bootRegisters;
  const atBoot = imageBaseAt(image, BigInt.asUintN(64, cs.base + rip), cs.base).imageBase;
  // A kernel of the upper half has two places: that where it was loaded, and that of its page tables.
  const isMoved = image.segments.some((each) => loadAddressOf(each) !== each.address);
  const stretches = (isMoved ? [atBoot, 0n] : [atBoot]).map((base): Stretch => {
    const ends = image.segments
      .map((each) => each.address + BigInt(each.size) + base)
      .filter((end) => end <= address);
    return { base, end: ends.sort((a, b) => a < b ? 1 : -1).at(0) };
  });
  return stretches.reduce((best, each) =>
    each.end !== undefined && (best.end === undefined || each.end > best.end) ? each : best
  );
}

function rangesText({ segments }: Image, base: bigint): string {
  const ranges = segments.filter(({ size }) => size > 0)
    .map(({ address, size }) =>
      `${hex(address + base)}–${hex(address + base + BigInt(size) - 1n)}`
    );
  const others = ranges.length - SEGMENTS_SHOWN;
  return ranges.slice(0, SEGMENTS_SHOWN).join(", ") + (others > 0 ? ` and ${others} more` : "");
}

/** A line behind which nothing is executed that follows it. */
const GOES_ELSEWHERE = /^(?:[\w.$?@]+:\s*)?(?:jmp|ret[nf]?|iret[wdq]?)\b/i;

/** Whether it can have run on from the image's end, since there are only zeros between: each two an `add`. */
function zerosBefore(
  { image, linear }: StoppedCpu,
  { base, end }: Stretch,
  address: bigint,
): string[] {
  if (end === undefined || !isZero(linear, end, address)) return [];
  const last = image.lineOf(end - base - 1n);
  if (last !== undefined && GOES_ELSEWHERE.test(last.text)) return [];
  const symbol = image.symbolAt(end - base - 1n);
  const past = last === undefined ? symbol?.name : lineText(last);
  return [
    `  only zeros between its end at ${hex(end)} and here: it may have run on past ${
      past ?? "its last byte"
    }. Is a hlt missing?`,
  ];
}

function isZero(linear: StoppedCpu["linear"], from: bigint, to: bigint): boolean {
  if (to - from > LONGEST_GAP) return false;
  try {
    return linear.read(from, Number(to - from)).every((byte) => byte === 0);
  } catch {
    // Not all of it is mapped.
    return false;
  }
}

const STACK_SLOT_BYTES = { 16: 2, 32: 4, 64: 8 } as const;

/** Whether a return address is on top of the stack: then nothing else was pushed since that call. */
function calledFrom(
  { image, linear, registers }: StoppedCpu,
  code: CodeView,
  base: bigint,
): string[] {
  const { bits } = code.place;
  const { rsp, ss, cs } = registers;
  const top = bits === 64 ? rsp : ss.base + BigInt.asUintN(ss.db ? 32 : 16, rsp);
  let slot: Uint8Array;
  try {
    slot = linear.read(top, STACK_SLOT_BYTES[bits]);
  } catch {
    return [];
  }
  const pushed = slot.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const behind = BigInt.asUintN(64, cs.base + pushed);
  const line = image.lineOf(behind - base - 1n);
  if (line === undefined || line.address + BigInt(line.length) !== behind - base) return [];
  if (!/\bcall\b/i.test(line.text)) return [];
  return [
    `  the top of its stack is ${hex(pushed)}: it may have come by the call before that, ${
      lineText(line)
    }`,
  ];
}

function lineText({ file, line, text }: SourceLine): string {
  return `\`${text.replace(/\s*;.*/, "")}\` (${file.split("/").at(-1)}:${line})`;
}

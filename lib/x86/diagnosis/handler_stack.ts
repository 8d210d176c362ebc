import { hex } from "../hex.ts";
import { isCanonical } from "../paging/canonical.ts";
import type { Segment } from "../registers/segment.ts";
import { stackBits } from "./accesses.ts";
import { GATE, type Gate } from "./gate.ts";
import { type GuestView, RPL, TYPE } from "./guest_view.ts";
import type { Finding } from "./incident.ts";
import { checkAccess, checkPages, linearAddressBits } from "./memory_rules.ts";
import { whyUnreadable } from "./page_causes.ts";
import { cause, raise, type Raised } from "./raised.ts";
import { loadStackSegment } from "./segment_loads.ts";

const FRAME_SLOTS = 5;
const SHORT_FRAME_SLOTS = 3;
/** Where a TSS has its stacks (Intel SDM Vol. 3A, figures 7-2 and 7-11). */
const TSS = { esp0: 4, rsp0: 4, ist1: 0x24 };

/** The exception that pushing the frame raises: of the stack that is there, the TSS's or the IST's. */
export function handlerStack(
  view: GuestView,
  code: Segment,
  gate: Gate,
  isLong: boolean,
  pushesCode: boolean,
): Raised | undefined {
  const target = targetLevel(view, code);
  if (switchesStack(view, code, gate, isLong)) {
    const raised = isLong ? longStack(view, target, gate.ist) : protectedStack(view, target);
    return raised && { ...raised, causes: [...raised.causes, ...taskState(view)] };
  }
  const { top, ...frame } = frameOf(view, gate, isLong, pushesCode);
  const raised = checkAccess(view, { segment: "ss", ...frame, write: true, isStack: true });
  if (raised === undefined) return undefined;
  const { ss } = view.special;
  return {
    ...raised,
    reason: `the frame cannot be pushed at SS:rSP ${hex(ss.selector, 4)}:${
      hex(top)
    }: ${raised.reason}`,
    registers: ["rsp", ...raised.registers],
  };
}

/**
 * That the frame would lie where there is no memory, as a clause; undefined where it does not, or the stack is another than
 * that which is there.
 */
export function frameWithoutMemory(
  view: GuestView,
  code: Segment,
  gate: Gate,
  isLong: boolean,
  pushesCode: boolean,
): string | undefined {
  if (switchesStack(view, code, gate, isLong)) return undefined;
  const { top, offset, size } = frameOf(view, gate, isLong, pushesCode);
  const linear = view.linearOf("ss", offset);
  if (view.read(linear, size) !== undefined) return undefined;
  const { ss } = view.special;
  return `its frame would lie at ${view.place(linear)}, by SS:rSP ${hex(ss.selector, 4)}:${
    hex(top)
  }, where there is no memory`;
}

function targetLevel(view: GuestView, code: Segment): number {
  return code.type & TYPE.conforming ? view.cpl : code.dpl;
}

function switchesStack(view: GuestView, code: Segment, gate: Gate, isLong: boolean): boolean {
  return targetLevel(view, code) < view.cpl || (isLong && gate.ist !== 0);
}

/** Where the frame would lie in the stack that is there, of how many bytes. */
function frameOf(view: GuestView, gate: Gate, isLong: boolean, pushesCode: boolean) {
  const width = stackBits(view.incident);
  const slot = isLong ? 8 : gate.type === GATE.interrupt || gate.type === GATE.trap ? 4 : 2;
  const size = slot * ((isLong ? FRAME_SLOTS : SHORT_FRAME_SLOTS) + (pushesCode ? 1 : 0));
  const top = BigInt.asUintN(width, view.incident.registers.rsp);
  const aligned = isLong ? top - top % 16n : top;
  return { top, size, offset: BigInt.asUintN(width, aligned - BigInt(size)) };
}

function longStack(view: GuestView, level: number, ist: number): Raised | undefined {
  const { tr } = view.special;
  const offset = ist === 0 ? TSS.rsp0 + level * 8 : TSS.ist1 + (ist - 1) * 8;
  const name = ist === 0 ? `RSP${level}` : `IST${ist}`;
  const pointer = tssField(view, offset, 8, name);
  if ("raised" in pointer) return pointer.raised;
  const { value } = pointer;
  const title = `${name} of the TSS (TR = ${hex(tr.selector, 4)}), at ${
    view.place(tr.base + BigInt(offset))
  }, is ${hex(value)}`;
  if (!isCanonical(value, linearAddressBits(view))) {
    return raise("#SS", `${title}, which is not canonical`, { errorCode: 0, registers: ["tr"] });
  }
  const size = 8 * FRAME_SLOTS;
  const raised = checkPages(view, BigInt.asUintN(64, value - value % 16n - BigInt(size)), size, {
    write: true,
    implicit: true,
  });
  return raised === undefined
    ? undefined
    : { ...raised, reason: `${title}, and no stack is there: ${raised.reason}`, registers: ["tr"] };
}

function protectedStack(view: GuestView, level: number): Raised | undefined {
  const pointer = tssField(view, TSS.esp0 + level * 8, 4, `ESP${level}`);
  if ("raised" in pointer) return pointer.raised;
  const segment = tssField(view, TSS.esp0 + level * 8 + 4, 2, `SS${level}`);
  if ("raised" in segment) return segment.raised;
  const selector = Number(segment.value);
  const at = view.special.tr.base + BigInt(TSS.esp0 + level * 8 + 4);
  const bad = loadStackSegment(view, selector, level, false);
  if (bad !== undefined) {
    return {
      ...bad,
      ...raise("#TS", `SS${level} of the TSS, at ${view.place(at)}: ${bad.reason}`, {
        errorCode: selector & ~RPL,
        causes: bad.causes,
        registers: ["tr", ...bad.registers],
      }),
    };
  }
  const lookup = view.lookUp(selector);
  const base = lookup.found === "descriptor" ? lookup.descriptor.segment.base : 0n;
  const size = 4 * FRAME_SLOTS;
  const raised = checkPages(view, BigInt.asUintN(32, base + pointer.value - BigInt(size)), size, {
    write: true,
    implicit: true,
  });
  return raised === undefined ? undefined : {
    ...raised,
    reason: `ESP${level} of the TSS, at ${view.place(at - 4n)}, is ${
      hex(pointer.value)
    }, and no stack is there: ${raised.reason}`,
    registers: ["tr"],
  };
}

/** The descriptor of the TSS, and what lies at its base. */
function taskState(view: GuestView): Finding[] {
  const { tr } = view.special;
  const entry = view.lookUp(tr.selector);
  if (entry.found !== "descriptor") return [];
  const { descriptor } = entry;
  const empty = view.read(tr.base, TSS_BYTES)?.every((byte) => byte === 0)
    ? `; only zeros lie at its base ${hex(tr.base)}`
    : "";
  return [
    cause(`TR = ${hex(tr.selector, 4)}: ${view.describeEntry(descriptor)}${empty}`, {
      linear: descriptor.linear,
      descriptor,
    }),
  ];
}

/** Bytes of a TSS (Intel SDM Vol. 3A, figures 7-2 and 7-11). */
const TSS_BYTES = 104;

function tssField(
  view: GuestView,
  offset: number,
  size: number,
  name: string,
): { readonly value: bigint } | { readonly raised: Raised } {
  const { tr } = view.special;
  const title = `TR = ${hex(tr.selector, 4)}`;
  if ((tr.selector & ~RPL) === 0) {
    return {
      raised: raise(
        "#TS",
        `${title} holds no TSS, from which the handler's stack (${name}) comes`,
        {
          errorCode: 0,
          registers: ["tr"],
        },
      ),
    };
  }
  const value = offset + size - 1 > tr.limit
    ? undefined
    : view.number(tr.base + BigInt(offset), size);
  if (value !== undefined) return { value };
  const causes = whyUnreadable(view, tr.base + BigInt(offset));
  return {
    raised: raise(
      "#TS",
      `${title} has base ${hex(tr.base)}, limit ${hex(tr.limit, 2)}: ${name} cannot be read`,
      {
        errorCode: tr.selector & ~RPL,
        causes,
        registers: ["tr"],
      },
    ),
  };
}

import { hex } from "../hex.ts";
import { isCanonical } from "../paging/canonical.ts";
import { accessesOf, operandBytes, stackBits } from "./accesses.ts";
import { type GuestView, littleEndian, RPL } from "./guest_view.ts";
import { lastMemoryWriter } from "./history.ts";
import { entersHandler } from "./lost_way.ts";
import type { Finding } from "./incident.ts";
import { linearAddressBits } from "./memory_rules.ts";
import {
  isSegmentRegister,
  type ReadInstruction,
  registerValue,
  type SegmentRegister,
} from "./operands.ts";
import { cause, raise, type Raised } from "./raised.ts";
import {
  loadCodeSegment,
  loadDataSegment,
  loadLocalTable,
  loadStackSegment,
  loadTaskRegister,
} from "./segment_loads.ts";

const SELECTOR_BYTES = 2;

/** The exception of loading a segment, table or task register, and of far transfers. */
export function checkLoads(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const { mnemonic, operands: [first, second] } = instruction;
  if (mnemonic === "mov" && first?.kind === "register" && isSegmentRegister(first.name)) {
    const selector = sourceSelector(view, instruction, 1);
    const loaded = selector === undefined
      ? undefined
      : loadDataSegment(view, first.name, selector.value);
    return withSource(loaded, selector, second?.kind === "register" ? second.name : undefined);
  }
  if (mnemonic === "pop" && first?.kind === "register" && isSegmentRegister(first.name)) {
    return loadFromMemory(view, instruction, first.name, 0);
  }
  const far = /^l([defgs]s)$/.exec(mnemonic)?.[1];
  if (far !== undefined) {
    const [access] = accessesOf(instruction, view.incident, view.bits);
    const offset = access === undefined ? 0 : access.size - SELECTOR_BYTES;
    return loadFromMemory(view, instruction, far as SegmentRegister, offset);
  }
  if (mnemonic === "ltr" || mnemonic === "lldt") {
    const selector = sourceSelector(view, instruction, 0);
    if (selector === undefined) return undefined;
    const load = mnemonic === "ltr" ? loadTaskRegister : loadLocalTable;
    return withSource(
      load(view, selector.value),
      selector,
      first?.kind === "register" ? first.name : undefined,
    );
  }
  if (/^retf/.test(mnemonic)) return checkFarReturn(view, instruction);
  if (/^iret/.test(mnemonic)) return checkInterruptReturn(view, instruction);
  return checkFarJump(view, instruction) ?? checkNearTarget(view, instruction);
}

interface Source {
  readonly value: number;
  readonly memory?: { readonly linear: bigint; readonly size: number };
}

function sourceSelector(
  view: GuestView,
  instruction: ReadInstruction,
  index: number,
): Source | undefined {
  const operand = instruction.operands[index];
  if (operand?.kind === "register") {
    return { value: Number(registerValue(operand.name, view.incident.registers) & 0xffffn) };
  }
  const [access] = accessesOf(instruction, view.incident, view.bits);
  return access === undefined ? undefined : readSelector(view, access, 0);
}

function readSelector(
  view: GuestView,
  access: { readonly segment: SegmentRegister; readonly offset: bigint },
  offset: number,
): Source | undefined {
  const linear = view.linearOf(access.segment, access.offset + BigInt(offset));
  const value = view.number(linear, SELECTOR_BYTES);
  if (value === undefined) return undefined;
  return { value: Number(value), memory: { linear, size: SELECTOR_BYTES } };
}

function loadFromMemory(
  view: GuestView,
  instruction: ReadInstruction,
  register: SegmentRegister,
  offset: number,
): Raised | undefined {
  const [access] = accessesOf(instruction, view.incident, view.bits);
  const selector = access === undefined ? undefined : readSelector(view, access, offset);
  if (selector === undefined) return undefined;
  return withSource(loadDataSegment(view, register, selector.value), selector);
}

/** An exception whose selector came from a register or from memory: who wrote that belongs to the chain. */
function withSource(
  raised: Raised | undefined,
  source: Source | undefined,
  register?: string,
): Raised | undefined {
  if (raised === undefined) return undefined;
  return {
    ...raised,
    registers: [...register === undefined ? [] : [register], ...raised.registers],
    ...source?.memory === undefined ? {} : { memory: source.memory },
  };
}

/** Where a far jump or call leads: as written, or by a pointer in memory. */
export function farTarget(
  view: GuestView,
  instruction: ReadInstruction,
): { selector: number; offset: bigint; memory?: Source["memory"] } | undefined {
  const { mnemonic, operands: [first] } = instruction;
  if (mnemonic !== "jmp" && mnemonic !== "call") return undefined;
  if (first?.kind === "far pointer") return first;
  if (first?.kind !== "memory" || !first.isFar) return undefined;
  const access = accessesOf(instruction, view.incident, view.bits).find((each) => !each.isStack);
  if (access === undefined) return undefined;
  const linear = view.linearOf(access.segment, access.offset);
  const bytes = view.read(linear, access.size);
  if (bytes === undefined) return undefined;
  const width = access.size - SELECTOR_BYTES;
  return {
    selector: Number(littleEndian(bytes.subarray(width))),
    offset: littleEndian(bytes.subarray(0, width)),
    memory: { linear, size: access.size },
  };
}

function checkFarJump(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const target = farTarget(view, instruction);
  if (target === undefined) return undefined;
  const { selector, offset, memory } = target;
  const where = memory === undefined ? [] : [
    cause(
      `The pointer ${hex(selector, 4)}:${hex(offset)} was read from ${view.place(memory.linear)}`,
      {
        linear: memory.linear,
      },
    ),
  ];
  const raised = loadCodeSegment(view, selector, "jump") ?? checkTarget(view, selector, offset);
  if (raised === undefined) return undefined;
  return {
    ...raised,
    causes: [...where, ...raised.causes],
    ...memory === undefined ? {} : { memory },
  };
}

/** Whether an offset lies in the segment that a far transfer loads (Intel SDM Vol. 2A, JMP). */
function checkTarget(view: GuestView, selector: number, offset: bigint): Raised | undefined {
  const lookup = view.hasRealSegments ? undefined : view.lookUp(selector);
  if (lookup?.found !== "descriptor" || (view.efer("lma") && lookup.descriptor.segment.l)) {
    return undefined;
  }
  const { segment, linear } = lookup.descriptor;
  if (segment.s === 0 || offset <= BigInt(segment.limit)) return undefined;
  return raise(
    "#GP",
    `the target, offset ${hex(offset)}, lies beyond the limit ${hex(segment.limit, 2)} of CS = ${
      hex(selector, 4)
    }`,
    {
      errorCode: 0,
      causes: [
        cause(view.describeEntry(lookup.descriptor), { linear, descriptor: lookup.descriptor }),
      ],
      registers: ["gdtr"],
    },
  );
}

/** The slots of the stack from its top, each of so many bytes. */
function slots(view: GuestView, size: number, count: number): bigint[] | undefined {
  const top = BigInt.asUintN(stackBits(view.incident), view.incident.registers.rsp);
  const bytes = view.read(view.linearOf("ss", top), size * count);
  if (bytes === undefined) return undefined;
  return Array.from(
    { length: count },
    (_, index) => littleEndian(bytes.subarray(index * size, (index + 1) * size)),
  );
}

function stackMemory(view: GuestView, size: number) {
  const top = BigInt.asUintN(stackBits(view.incident), view.incident.registers.rsp);
  return { linear: view.linearOf("ss", top), size };
}

function checkFarReturn(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const size = operandBytes(instruction, view.bits);
  const frame = slots(view, size, 2);
  if (frame === undefined) return undefined;
  const selector = Number(frame[1] & 0xffffn);
  const raised = loadCodeSegment(view, selector, "return") ?? checkTarget(view, selector, frame[0]);
  return ofFrame(view, raised, size, ["EIP", "CS"]);
}

const IRET_SLOTS = 5;

function checkInterruptReturn(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  if (view.hasRealSegments) return undefined;
  const size = operandBytes(instruction, view.bits);
  const isLong = view.mode === "64-bit";
  const frame = slots(view, size, IRET_SLOTS) ?? slots(view, size, 3);
  if (frame === undefined) return undefined;
  if (!isLong && view.rflags("nt")) {
    return view.efer("lma")
      ? raise("#GP", "RFLAGS.NT is set, and long mode has no return from a task", { errorCode: 0 })
      : undefined;
  }
  const [, code = 0n, , , stack] = frame;
  const selector = Number(code & 0xffffn);
  const names = ["RIP", "CS", "RFLAGS", "RSP", "SS"];
  const raised = loadCodeSegment(view, selector, "return") ??
    checkTarget(view, selector, frame[0]) ??
    returnStack(view, selector, stack, isLong);
  return ofFrame(view, raised, size, names);
}

function returnStack(
  view: GuestView,
  selector: number,
  stack: bigint | undefined,
  isLong: boolean,
): Raised | undefined {
  const level = selector & RPL;
  if (stack === undefined || (!isLong && level <= view.cpl)) return undefined;
  const code = view.lookUp(selector);
  const toLong = code.found === "descriptor" && code.descriptor.segment.l === 1;
  const mayBeNull = isLong && toLong && level < 3;
  const raised = loadStackSegment(view, Number(stack & 0xffffn), level, mayBeNull);
  if (raised === undefined) return undefined;
  const hint = mayBeNull
    ? [cause(`A null selector is allowed in SS at CPL ${level} in 64-bit mode`)]
    : [];
  return {
    ...raised,
    reason: `the frame has ${raised.reason}`,
    causes: [...raised.causes, ...hint],
    registers: ["ss", ...raised.registers],
  };
}

/** A finding on the frame that a return took from the stack, and whether it is one of another width. */
function ofFrame(
  view: GuestView,
  raised: Raised | undefined,
  size: number,
  names: readonly string[],
): Raised | undefined {
  if (raised === undefined) return undefined;
  const frame = slots(view, size, names.length) ?? slots(view, size, 2) ?? [];
  const memory = stackMemory(view, size * frame.length);
  const shown = frame.map((value, index) => {
    const by = slotWriter(view, memory.linear + BigInt(index * size), size);
    return `${names[index]} ${hex(value)}${by}`;
  }).join(", ");
  const findings: Finding[] = [
    cause(`The frame at ${hex(memory.linear)}, slots of ${size} bytes: ${shown}`, {
      linear: memory.linear,
    }),
    ...otherWidth(view, size),
    ...withErrorCode(view, size),
    ...slotBelow(view, size),
    ...stackWay(view),
  ];
  return { ...raised, causes: [...findings, ...raised.causes] };
}

/** Who wrote a slot of the stack: ` (push qword 0x8 at …)`. */
function slotWriter(view: GuestView, linear: bigint, size: number): string {
  const index = lastMemoryWriter(view, linear, size);
  if (index === undefined || entersHandlerBehind(view, index)) return "";
  const { text, linear: writer } = view.incident.steps[index];
  return ` (\`${text}\` at ${view.place(writer)})`;
}

/** Whether a handler was entered behind a step: then the CPU itself has written to the stack since. */
function entersHandlerBehind(view: GuestView, index: number): boolean {
  const { steps, instruction } = view.incident;
  return steps.slice(index).some(({ text, linear }, at) => {
    return entersHandler(text, linear, (steps[index + at + 1] ?? instruction).linear);
  });
}

const WIDTHS = [2, 4, 8];
const SUFFIXES: Readonly<Record<number, string>> = { 2: "w", 4: "d", 8: "q" };

function looksLikeReturn(view: GuestView, [offset, code]: readonly bigint[]): boolean {
  const selector = Number(code);
  const lookup = code > 0xffffn ? undefined : view.lookUp(selector);
  if (lookup?.found !== "descriptor") return false;
  const base = lookup.descriptor.segment.l ? 0n : lookup.descriptor.segment.base;
  return loadCodeSegment(view, selector, "return") === undefined &&
    view.name(base + offset) !== undefined;
}

function otherWidth(view: GuestView, size: number): Finding[] {
  return WIDTHS.filter((width) => width !== size).flatMap((width) => {
    const frame = slots(view, width, 2);
    if (frame === undefined || !looksLikeReturn(view, frame)) return [];
    return [
      cause(
        `With slots of ${width} bytes the frame fits: CS ${hex(frame[1], 4)}, offset ${
          view.place(frame[0])
        }. The return should have the operand size of ${width} bytes (iret${SUFFIXES[width]}, retf${
          SUFFIXES[width]
        })`,
      ),
    ];
  });
}

function withErrorCode(view: GuestView, size: number): Finding[] {
  const frame = slots(view, size, 3);
  if (frame === undefined || !looksLikeReturn(view, frame.slice(1))) return [];
  return [
    cause(
      `One slot above, the frame fits: offset ${view.place(frame[1])}, CS ${
        hex(frame[2], 4)
      }. What lies on top (${
        hex(frame[0])
      }) was not taken off the stack: an error code, or a push too many`,
    ),
  ];
}

function slotBelow(view: GuestView, size: number): Finding[] {
  const bytes = view.read(stackMemory(view, size).linear - BigInt(size), size * 2);
  if (bytes === undefined) return [];
  const frame = [littleEndian(bytes.subarray(0, size)), littleEndian(bytes.subarray(size))];
  if (!looksLikeReturn(view, frame)) return [];
  return [
    cause(
      `One slot below, the frame fits: offset ${view.place(frame[0])}, CS ${
        hex(frame[1], 4)
      }. One more was taken off the stack than was put there: a push is missing, or a pop is too many`,
    ),
  ];
}

/** Instructions of the stack that are listed. */
const MOST_LISTED = 8;
const MOVES_STACK = /^(push|pop|add [er]?sp|sub [er]?sp|mov [er]?sp|leave|enter)/;
const ENTERS = /^(call|int)/;

/** What moved the stack pointer since the code that returns was entered. */
function stackWay(view: GuestView): Finding[] {
  const { steps, instruction } = view.incident;
  const entered = steps.findLastIndex(({ text, linear }, index) => {
    const next = (steps[index + 1] ?? instruction).linear;
    return ENTERS.test(text) || entersHandler(text, linear, next) || isElsewhere(linear, next);
  });
  const moves = steps.slice(entered + 1).filter(({ text }) => MOVES_STACK.test(text));
  if (entered === -1 || moves.length === 0) return [];
  const shown = moves.slice(-MOST_LISTED).map(({ text, linear }) =>
    `\`${text}\` at ${view.place(linear)}`
  );
  return [
    cause(
      `Since it came by \`${steps[entered].text}\` at ${
        view.place(steps[entered].linear)
      }, the stack was moved by ${shown.join(", ")}`,
    ),
  ];
}

const FAR = 0x40n;

/** Whether two instructions in a row lie so far apart that the second is no jump's target nearby. */
function isElsewhere(from: bigint, to: bigint): boolean {
  return to < from - FAR || to > from + FAR;
}

/** Near jumps, calls and returns: the target must lie in CS, be canonical, and be mapped. */
function checkNearTarget(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const { mnemonic, operands: [first] } = instruction;
  let target: bigint | undefined;
  let source: Partial<Pick<Raised, "registers" | "memory">> = {};
  if (/^ret[wdq]?$/.test(mnemonic)) {
    const size = operandBytes(instruction, view.bits);
    [target] = slots(view, size, 1) ?? [];
    source = { memory: stackMemory(view, size) };
  } else if (mnemonic === "jmp" || mnemonic === "call") {
    if (first?.kind === "register") {
      target = registerValue(first.name, view.incident.registers);
      source = { registers: [first.name] };
    } else if (first?.kind === "memory" && !first.isFar) {
      const access = accessesOf(instruction, view.incident, view.bits).find((each) =>
        !each.isStack
      );
      if (access === undefined) return undefined;
      const linear = view.linearOf(access.segment, access.offset);
      target = view.number(linear, access.size);
      source = { memory: { linear, size: access.size } };
    }
  }
  if (target === undefined) return undefined;
  if (view.mode === "64-bit") {
    if (isCanonical(target, linearAddressBits(view))) return undefined;
    return raise("#GP", `the target ${hex(target)} is not canonical`, { errorCode: 0, ...source });
  }
  const { cs } = view.special;
  if (target <= BigInt(cs.limit)) return undefined;
  return raise("#GP", `the target ${hex(target)} lies beyond CS's limit ${hex(cs.limit)}`, {
    errorCode: 0,
    ...source,
  });
}

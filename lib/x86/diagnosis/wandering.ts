import type { Finding } from "./incident.ts";
import { exceptionOf } from "../exceptions/exceptions.ts";
import { hex, hexBytes } from "../hex.ts";
import { deliveryChain } from "./delivery.ts";
import { nameOf } from "./describe_delivery.ts";
import { gates } from "./gate.ts";
import { predictException, refusedMsr } from "./predict.ts";
import { nearestLabel } from "./nearest_label.ts";
import { accessesOf } from "./accesses.ts";
import { lastMemoryWriter, sinceWhen, writersText } from "./history.ts";
import { type GuestView, isCode } from "./guest_view.ts";
import { oddities, REAL_LIMIT, tableEntries } from "./descriptors.ts";
import {
  history,
  isElsewhere,
  lastTransfer,
  LONGEST_INSTRUCTION,
  lost,
  type Place,
  viewOfStep,
} from "./lost_way.ts";
import { walkSentence, whyUnreadable } from "./page_causes.ts";
import { readInstruction } from "./operands.ts";
import { farTarget } from "./transfer_rules.ts";

/** What zeros are as instructions. */
const ZEROS = /^add \[[^\]]+\],al$/;
const LEAST_ZEROS = 2;
const LARGEST_GDT_SELECTOR = 0x100;
const SELECTOR_STEP = 8;

/** A far jump as the disassembler writes it. */
const FAR_JUMP = /^(jmp|call) (d?word )?0x[\da-f]+:/;

/** What the way tells of a guest that executes what is not its code: zeros, data, another width. */
export function wandering(view: GuestView): Finding[] {
  const { incident } = view;
  const way: readonly Place[] = [...incident.steps, incident.instruction];
  const zeros = zerosRun(view, way);
  return [
    ...staleCode(view),
    ...otherWidth(view),
    ...onTheWay(view),
    ...outsideMemory(view),
    ...oddSegments(view),
    ...overwritten(view),
    ...enteredHandlers(view),
    ...farJumpInRealMode(view),
    ...selectorInRealMode(view),
    ...zeros === undefined ? [] : [zeros],
    ...isLost(view) || zeros !== undefined ? [...strayGates(view), ...lost(view, way)] : [],
  ];
}

/**
 * What is odd about a guest that has stopped, but not at an exception: only what concerns the place where it stands, and
 * nothing where it stands at code of its own that reaches memory.
 */
export function straying(view: GuestView): Finding[] {
  const way: readonly Place[] = [...view.incident.steps, view.incident.instruction];
  const zeros = zerosRun(view, way);
  const stray = strayGates(view);
  return [
    ...farJumpInRealMode(view),
    ...otherWidth(view),
    ...selectorInRealMode(view),
    ...staleCode(view),
    ...onTheWay(view),
    ...outsideMemory(view),
    ...codeBase(view),
    ...enteredHandlers(view),
    ...stray.length > 0 || isLost(view) ? oddSegments(view) : [],
    ...stray,
    ...faultInHandler(view),
    ...isLost(view) ? [...zeros === undefined ? [] : [zeros], ...lost(view, way)] : [],
  ];
}

/**
 * Whether a stopped guest is worth a look at its way: it has strayed, or is in real mode with a GDT in force or
 * page tables, where a step into another mode may have failed.
 */
export function mayHaveStrayed(view: GuestView): boolean {
  const { cr3, cr4 } = view.special;
  const hasBegun = view.mode === "real" &&
    (cr3 !== 0n || cr4 !== 0n || tableEntries(view).some((each) => isCode(each.segment)));
  return hasBegun || straying(view).length > 0;
}

/** Whether it executes what is no code of the guest's. */
function isLost(view: GuestView): boolean {
  const { linear, text } = view.incident.instruction;
  return view.name(linear) === undefined || /^(db|ud\d)/.test(text) || ZEROS.test(text);
}

/** Where the CPU has begun to execute zeros on the way from the last jump to the failing instruction. */
function zerosRun(view: GuestView, way: readonly Place[]): Finding | undefined {
  const start = (lastTransfer(way) ?? -1) + 1;
  let first = start;
  for (; first < way.length; first++) {
    const run = way.slice(first, first + LEAST_ZEROS);
    if (run.length === LEAST_ZEROS && run.every(({ text }) => ZEROS.test(text))) break;
  }
  if (first >= way.length) return undefined;
  const { linear, text } = way[first];
  const before = way[first - 1];
  const from = first === start || before === undefined
    ? ""
    : `; it ran on into them behind \`${before.text}\` at ${view.place(before.linear)}`;
  return history(
    `The CPU executes zeros (\`${text}\`), which are no code, from ${view.place(linear)} on${from}`,
    linear,
  );
}

/** Code that something wrote over: a stack that ran into it, a copy that went too far. */
function overwritten(view: GuestView): Finding[] {
  const { instruction: { linear, bytes }, steps } = view.incident;
  const index = lastMemoryWriter(view, linear, Math.max(1, bytes.length));
  if (index === undefined) return [];
  const { text, linear: writer } = steps[index];
  const isStack = /^(push|call|int|enter)/.test(text);
  return [
    history(
      `The instruction's bytes were written by \`${text}\` at ${view.place(writer)}${
        isStack ? ": the stack lies in the code" : ""
      }`,
      writer,
    ),
  ];
}

/** A code segment that protected mode was entered with and that nothing has loaded since, or that cannot be. */
function staleCode(view: GuestView): Finding[] {
  const { cs } = view.special;
  if (view.hasRealSegments) return [];
  if (view.efer("lma") && cs.l && cs.db) {
    return refusedCode(view, "CS has L = 1 and D = 1, which long mode does not allow together");
  }
  const { text } = view.incident.instruction;
  if (text === "" || FAR_JUMP.test(text)) return [];
  const isReal = cs.base === BigInt(cs.selector) << 4n && cs.limit === REAL_LIMIT && !cs.db &&
    !cs.l;
  if (!isReal) return [];
  const { steps } = view.incident;
  const index = steps.findLastIndex(({ specialRegisters }) =>
    specialRegisters !== undefined && (specialRegisters.cr0 & 1n) === 0n
  );
  const setter = index === -1 ? undefined : steps[index];
  const by = setter === undefined ? "" : ` by \`${setter.text}\` at ${view.place(setter.linear)}`;
  return [
    {
      kind: "cause",
      text: `CR0.PE was set${by}, and no far jump has loaded CS since: it still holds real mode's ${
        hex(cs.selector, 4)
      }, and what follows is executed as ${cs.db ? 32 : 16}-bit code`,
      ...setter === undefined ? {} : { linear: setter.linear },
    },
  ];
}

/**
 * Code that is decoded in another width than it was assembled for: the first step that ended within a source line's
 * bytes, or ran on into those of the next.
 */
function otherWidth(view: GuestView): Finding[] {
  const { source, steps, instruction } = view.incident;
  if (source === undefined) return [];
  const endOf = (index: number) => (steps[index + 1] ?? instruction).linear;
  const index = steps.findIndex(({ linear, text }, at) => {
    const line = source(linear);
    const taken = endOf(at) - linear;
    if (line === undefined || taken <= 0n || taken > LONGEST_INSTRUCTION) return false;
    if (!isInstruction(line.text) || REPEATED.test(text) || JUMPS.test(text)) return false;
    // A step may be of two instructions: none ends behind MOV SS.
    return taken < BigInt(line.length) ||
      (taken > BigInt(line.length) && source(endOf(at)) === undefined);
  });
  if (index === -1) return [];
  const { linear, text } = steps[index];
  const line = source(linear)!;
  const { cs } = steps[index].specialRegisters ?? view.special;
  const entry = view.hasRealSegments ? undefined : view.lookUp(cs.selector);
  const by = entry?.found === "descriptor" ? `: ${view.describeEntry(entry.descriptor)}` : "";
  return [
    {
      kind: "cause",
      text: `\`${line.text}\` at ${
        view.place(linear)
      } became ${line.length} bytes, and the CPU took ${
        endOf(index) - linear
      } there, as \`${text}\`: it was assembled for another width than that of CS = ${
        hex(cs.selector, 4)
      }${by}`,
      linear,
      ...entry?.found === "descriptor" ? { descriptor: entry.descriptor } : {},
    },
    history(sinceWhen(viewOfStep(view, index), "cs")),
  ];
}

const REPEATED = /^(\w+ )*rep/;
const JUMPS = /^(j\w+|call|loop\w*|ret\w*|iret\w*|int\w*) ?/;

/** Whether a source line is one instruction, and no data. */
function isInstruction(text: string): boolean {
  return !/^\s*(\w+:)?\s*(d[bwdqt]|times|res[bwdq]|incbin)\b/i.test(text);
}

/** How far behind its entry the handler of #PF is taken to reach. */
const HANDLER_BYTES = 256n;

/** The address that a guest in its handler of #PF was called for, and that is not mapped. */
function faultInHandler(view: GuestView): Finding[] {
  const { linear } = view.incident.instruction;
  const { cr2 } = view.special;
  const gate = gates(view).find(({ descriptor }) => descriptor.index === exceptionOf("#PF").vector);
  if (gate === undefined || linear < gate.target || linear >= gate.target + HANDLER_BYTES) {
    return [];
  }
  const walk = view.walk(cr2);
  if (walk === undefined || "physical" in walk.result) return [];
  return [history(
    `It is in its handler of #PF, for CR2 ${hex(cr2)}, which is not mapped: ${
      walkSentence(view, walk)
    }`,
    gate.target,
  )];
}

/** Gates that are told of a guest that has lost its way. */
const MOST_GATES = 4;

/** Gates that lead to where the guest has no code, by which it may have come to where it is lost. */
function strayGates(view: GuestView): Finding[] {
  const all = gates(view);
  const stray = all.filter(({ target }) => view.isNoInstruction(target));
  // Where no gate leads to code that is known, the guest's code is another than the image's: a kernel that was unpacked.
  if (stray.length === all.length && all.length > MOST_GATES) return [];
  return stray.slice(0, MOST_GATES)
    .map(({ descriptor, target }) => ({
      kind: "cause",
      text: `IDT[${descriptor.index}] at ${view.place(descriptor.linear)} is ${
        hexBytes(descriptor.bytes)
      }: it leads to ${view.place(target)}, where no instruction begins${
        nearestLabel(view, target)
      }${writersText(view, descriptor.linear, descriptor.bytes.length)}`,
      linear: descriptor.linear,
      descriptor,
    }));
}

/** Handlers into which the code before them ran on: their IRET finds no frame. */
function enteredHandlers(view: GuestView): Finding[] {
  const { steps, instruction } = view.incident;
  const way: readonly Place[] = [...steps, instruction];
  return gates(view).flatMap(({ descriptor, target }) => {
    const at = way.findLastIndex(({ linear }, index) => index > 0 && linear === target);
    const before = way[at - 1];
    if (before === undefined || isElsewhere(before.linear, target)) return [];
    if (GOES_ELSEWHERE.test(before.text)) return [];
    return [history(
      `${
        view.place(target)
      }, the handler of vector ${descriptor.index}, was entered without an interrupt: \`${before.text}\` at ${
        view.place(before.linear)
      } ran on into it`,
      before.linear,
    )];
  });
}

/** Behind these comes what they lead to. */
const GOES_ELSEWHERE = /^(j|call|i?ret|int|loop|sys|hlt)/;

/** A base in the descriptor of 64-bit code, which processors ignore, and emulators need not. */
function codeBase(view: GuestView): Finding[] {
  const { cs } = view.special;
  if (view.mode !== "64-bit" || cs.base === 0n) return [];
  return refusedCode(view, `CS has the base ${hex(cs.base)}, which 64-bit code has not`);
}

/** Exceptions that were delivered on the way, to handlers that the guest may not have meant. */
function onTheWay(view: GuestView): Finding[] {
  const { incident } = view;
  const { steps, instruction } = incident;
  const found = steps.flatMap((step, index) => {
    const { specialRegisters, text, linear } = step;
    const next = steps[index + 1] ?? instruction;
    if (specialRegisters === undefined || !isElsewhere(linear, next.linear)) return [];
    const then = viewOfStep(view, index);
    const raised = predictException(then) ?? refusedMsr(then);
    const handler = raised && deliveryChain(then, { vector: raised.vector }).handler;
    if (raised === undefined || handler?.linear !== next.linear) return [];
    const known = view.name(next.linear) === undefined ? ", where the guest has no code" : "";
    return [
      history(
        `${nameOf(raised)} at ${
          view.place(linear)
        }, \`${text}\`: ${raised.reason}. It was delivered to ${hex(handler.selector, 4)}:${
          view.place(handler.linear)
        }${known}`,
        linear,
      ),
      ...raised.causes,
      ...[...new Set(raised.registers)].map((name) => history(sinceWhen(then, name), linear)),
    ];
  });
  return found.slice(-MOST_ON_THE_WAY);
}

/** Findings that are told of exceptions on the way. */
const MOST_ON_THE_WAY = 8;

/** Segment registers whose descriptors differ from the others in what flat segments have alike. */
function oddSegments(view: GuestView): Finding[] {
  const names = view.mode === "64-bit" ? [] : (["cs", "ss", "ds", "es"] as const);
  return names.flatMap((name) => oddities(view, name.toUpperCase(), view.special[name]));
}

function refusedCode(view: GuestView, text: string): Finding[] {
  const entry = view.lookUp(view.special.cs.selector);
  if (entry.found !== "descriptor") return [{ kind: "cause", text }];
  const { descriptor } = entry;
  return [
    {
      kind: "cause",
      text: `${text}: ${view.describeEntry(descriptor)}`,
      linear: descriptor.linear,
      descriptor,
    },
  ];
}

/** What the instruction reaches for where there is no memory: its own bytes, or an operand. */
function outsideMemory(view: GuestView): Finding[] {
  const { instruction } = view.incident;
  const fetched = { segment: "cs" as const, linear: instruction.linear, what: "The instruction" };
  const used = accessesOf(readInstruction(instruction.text, view.bits), view.incident, view.bits)
    .map(({ segment, offset, isStack }) => ({
      segment,
      linear: view.linearOf(segment, offset),
      what: isStack ? "The stack" : "The operand",
    }));
  return [fetched, ...used].flatMap(({ segment, linear, what }) => {
    const physical = view.physical(linear);
    if (physical !== undefined && view.readPhysical(physical, 1) !== undefined) return [];
    if (physical === undefined) return whyUnreadable(view, linear);
    if (view.incident.isDevice?.(physical)) return [];
    const { selector, base } = view.special[segment];
    return [
      {
        kind: "cause" as const,
        text: `${what} by ${segment.toUpperCase()} = ${hex(selector, 4)} (base ${
          hex(base)
        }) lies at ${hex(linear)}, where there is no memory`,
        linear,
      },
      ...oddities(view, segment.toUpperCase(), view.special[segment]),
      ...whyUnreadable(view, linear),
    ];
  });
}

/** A CS in real mode that looks like a selector of the GDT. */
function selectorInRealMode(view: GuestView): Finding[] {
  const { selector } = view.special.cs;
  if (view.mode !== "real" || selector === 0 || selector >= LARGEST_GDT_SELECTOR) return [];
  const entry = view.lookUp(selector);
  if (selector % SELECTOR_STEP || entry.found !== "descriptor") return [];
  if (!isCode(entry.descriptor.segment)) return [];
  return [
    {
      kind: "cause",
      text: `CS = ${hex(selector, 4)} in real mode (CR0.PE = 0) has base ${
        hex(selector * 16)
      }. As a selector it names code: a far jump that was meant for protected mode was made before PE was set (GDT[${entry.descriptor.index}] at ${
        view.place(entry.descriptor.linear)
      })`,
      linear: entry.descriptor.linear,
      descriptor: entry.descriptor,
    },
  ];
}

/** A far jump with a selector of the GDT, made while CR0.PE was 0: there the number is one of paragraphs. */
function farJumpInRealMode(view: GuestView): Finding[] {
  const { steps } = view.incident;
  const selectorOf = ({ text, specialRegisters }: (typeof steps)[number]) => {
    if (!FAR_JUMP.test(text) || (specialRegisters ?? view.special).cr0 & 1n) return 0;
    const { selector } = farTarget(view, readInstruction(text, 16)) ?? { selector: 0 };
    return selector < LARGEST_GDT_SELECTOR && selector % SELECTOR_STEP === 0 ? selector : 0;
  };
  const step = steps.findLast((each) => selectorOf(each) !== 0);
  if (step === undefined) return [];
  const { text, linear } = step;
  const selector = selectorOf(step);
  return [
    {
      kind: "cause",
      text: `\`${text}\` at ${view.place(linear)} was executed in real mode, as CR0.PE = 0: there ${
        hex(selector, 4)
      } is no selector of the GDT, but stands for base ${hex(selector * 16)}`,
      linear,
    },
  ];
}

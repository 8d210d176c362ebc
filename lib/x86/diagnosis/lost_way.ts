import type { Finding } from "./incident.ts";
import { hex } from "../hex.ts";
import { accessesOf } from "./accesses.ts";
import { GuestView } from "./guest_view.ts";
import { lastMemoryWriter, sinceWhen } from "./history.ts";
import { readInstruction } from "./operands.ts";
import { misledMapping } from "./page_causes.ts";

/** The longest instruction (Intel SDM Vol. 2, 2.3.11). */
export const LONGEST_INSTRUCTION = 15n;
/** Addresses below are those of a null pointer with a small offset. */
const NULL_PAGE = 0x10n;

/** A place on the way: a step, or the instruction that failed. */
export interface Place {
  readonly linear: bigint;
  readonly text: string;
}

/** A finding about what came before. */
export const history = (text: string, linear?: bigint): Finding => ({
  kind: "history",
  text,
  ...linear === undefined ? {} : { linear },
});

/** How a guest came to where it has no code: by which instruction, and whose address that had. */
export function lost(view: GuestView, way: readonly Place[]): Finding[] {
  const here = view.incident.instruction.linear;
  const findings = misledMapping(view, here);
  const index = leaving(view, way) ?? lastTransfer(way);
  if (index !== undefined) {
    const { linear, text } = way[index];
    const target = way[index + 1].linear;
    const nowhere = target < NULL_PAGE
      ? ": a null pointer"
      : view.name(target) === undefined
      ? ", where the guest has no code"
      : "";
    findings.push(
      history(
        `It came there by \`${text}\` at ${view.place(linear)}, to ${view.place(target)}${nowhere}`,
        linear,
      ),
    );
    findings.push(...pointerOf(viewOfStep(view, index)), ...enteredWithoutCall(view, way, index));
  } else if (way.length > 1) {
    findings.push(history(
      `The code before it ran on into it: nothing jumps there (the last instruction with a name is ${
        lastNamed(view, way)
      })`,
    ));
  }
  return findings;
}

/** The routine of a return, where the code before it ran on into it. */
function enteredWithoutCall(view: GuestView, way: readonly Place[], index: number): Finding[] {
  if (!/^ret/.test(way[index].text)) return [];
  const at = way.slice(0, index).findLastIndex(({ linear }) => isLabel(view.name(linear)));
  const before = way[at - 1];
  if (at < 1 || /^(call|j)/.test(before.text)) return [];
  if (entersHandler(before.text, before.linear, way[at].linear)) return [];
  return [history(
    `${view.place(way[at].linear)}, was entered without a call: behind \`${before.text}\` at ${
      view.place(before.linear)
    }`,
    way[at].linear,
  )];
}

/** Whether the name of a place is that of a label, and not of what is behind one. */
function isLabel(name: string | undefined): boolean {
  return name !== undefined && /^[\w.$@]+( \(|$)/.test(name);
}

function lastNamed(view: GuestView, way: readonly Place[]): string {
  const place = way.findLast(({ linear }) => view.name(linear) !== undefined);
  return place === undefined ? "none" : `\`${place.text}\` at ${view.place(place.linear)}`;
}

/** The instruction that went from the guest's own code to where it has none, and from where it has not come back. */
function leaving(view: GuestView, way: readonly Place[]): number | undefined {
  const last = way.findLastIndex(({ linear }) => view.name(linear) !== undefined);
  return last !== -1 && last < way.length - 1 && goesElsewhere(way, last) ? last : undefined;
}

/** The last instruction that went elsewhere than to the next one. */
export function lastTransfer(way: readonly Place[]): number | undefined {
  for (let index = way.length - 2; index >= 0; index--) {
    if (goesElsewhere(way, index)) return index;
  }
  return undefined;
}

function goesElsewhere(way: readonly Place[], index: number): boolean {
  if (isElsewhere(way[index].linear, way[index + 1].linear)) return true;
  return /^(jmp|call|i?ret[fnwdq]*)$/.test(readInstruction(way[index].text, 32).mnemonic);
}

/** What a view shows right before a step whose registers are all known. */
export function viewOfStep(view: GuestView, index: number): GuestView {
  const { incident } = view;
  const step = incident.steps[index];
  const { linear, text, bits = view.bits, specialRegisters = view.special } = step;
  return new GuestView({
    ...incident,
    registers: step.registers,
    specialRegisters,
    // Its bytes are asked for by nobody but who fetches them.
    instruction: { linear, text, bits, bytes: new Uint8Array(1) },
    steps: incident.steps.slice(0, index),
  }, (at) => view.name(at));
}

/** Where the instruction of a view, an indirect jump or a return, has its target from. */
function pointerOf(view: GuestView): Finding[] {
  const { incident, bits } = view;
  const { linear, text } = incident.instruction;
  const instruction = readInstruction(text, bits);
  const { mnemonic, operands: [operand] } = instruction;
  if (operand?.kind === "register") return [history(sinceWhen(view, operand.name), linear)];
  const isReturn = /^i?ret/.test(mnemonic);
  if (!isReturn && operand?.kind !== "memory") return [];
  const [access] = accessesOf(instruction, incident, bits);
  if (access === undefined) return [];
  const from = view.linearOf(access.segment, access.offset);
  const index = lastMemoryWriter(view, from, 2);
  const step = index === undefined ? undefined : incident.steps[index];
  const writer = step === undefined
    ? `${framePusher(view, from) ?? "no instruction that is known wrote it"}${
      isReturn ? ": the stack pointer is not where a call left it" : ""
    }`
    : `it was written by \`${step.text}\` at ${view.place(step.linear)}`;
  const source = isReturn
    ? `The return took its address from the stack at ${hex(from)}`
    : `\`${text}\` took its target from ${view.place(from)}`;
  return [history(`${source}; ${writer}`, linear)];
}

/** Whose handler the CPU entered as it pushed a slot of the stack, as a clause. */
function framePusher(view: GuestView, slot: bigint): string | undefined {
  const { steps, instruction, registers } = view.incident;
  const index = steps.findLastIndex(({ text, linear, registers: { rsp } }, index) => {
    const next = steps[index + 1] ?? { linear: instruction.linear, registers };
    return entersHandler(text, linear, next.linear) && next.registers.rsp <= slot && slot < rsp;
  });
  if (index === -1) return undefined;
  const { text, linear } = steps[index];
  const pushed = `the CPU pushed it in the frame of \`${text}\` at ${view.place(linear)}`;
  const top = steps[index + 1]?.registers.rsp;
  const left = steps.slice(index).find((each) =>
    /^ret/.test(each.text) && each.registers.rsp === top
  );
  return left === undefined
    ? `${pushed}, which IRET takes off the stack`
    : `${pushed}; \`${left.text}\` at ${
      view.place(left.linear)
    } took one slot of it, where IRET takes all`;
}

/** Behind these, what is not behind the instruction is no handler. */
const TRANSFERS = /^(j|call|i?ret|loop|sys)/;

/** Whether behind an instruction came a handler: of the exception that it raised, or of its interrupt. */
export function entersHandler(text: string, from: bigint, to: bigint): boolean {
  return /^int/.test(text) || isElsewhere(from, to) && !TRANSFERS.test(text);
}

/** Whether the second of two instructions is not behind the first. */
export function isElsewhere(from: bigint, to: bigint): boolean {
  return to <= from || to > from + LONGEST_INSTRUCTION;
}

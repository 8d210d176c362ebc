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
    findings.push(...pointerOf(viewOfStep(view, index)));
  } else if (way.length > 1) {
    findings.push(history(
      `The code before it ran on into it: nothing jumps there (the last instruction with a name is ${
        lastNamed(view, way)
      })`,
    ));
  }
  return findings;
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
    ? `no instruction that is known wrote it${
      isReturn ? ": the stack pointer is not where a call left it" : ""
    }`
    : `it was written by \`${step.text}\` at ${view.place(step.linear)}`;
  const source = isReturn
    ? `The return took its address from the stack at ${hex(from)}`
    : `\`${text}\` took its target from ${view.place(from)}`;
  return [history(`${source}; ${writer}`, linear)];
}

/** Whether the second of two instructions is not behind the first. */
export function isElsewhere(from: bigint, to: bigint): boolean {
  return to <= from || to > from + LONGEST_INSTRUCTION;
}

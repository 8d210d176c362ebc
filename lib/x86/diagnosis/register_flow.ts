import { hex } from "../hex.ts";
import { type RegisterPlace, registerPlaces } from "../registers/registers.ts";
import { accessesOf } from "./accesses.ts";
import type { GuestView } from "./guest_view.ts";
import type { Finding, IncidentStep } from "./incident.ts";
import { history } from "./lost_way.ts";
import { type ReadInstruction, readInstruction } from "./operands.ts";

/** A step with its instruction. */
interface Step {
  readonly step: IncidentStep;
  readonly instruction: ReadInstruction;
}

/** A part of a general register. */
type Part = Pick<RegisterPlace, "register" | "shift" | "width">;

/** Instructions whose first operand is written without being read. */
const WRITES_ONLY = /^(mov|movzx|movsxd?|lea|pop|in)$/;
/** Instructions that read no general register but their operands. */
const READS_OPERANDS =
  /^(mov|movzx|movsxd?|lea|push|pop|add|sub|cmp|test|and|x?or|adc|sbb|inc|dec|neg|not|sh[lr]|sa[lr]|ro[lr]|in|out|j\w+|call|i?ret\w*|int\w*|nop|cl[ic]|st[ic]|[cs]td|hlt|l[gi]dt|ltr|lldt|invlpg|bt\w?|clts|swapgs|movaps)$/;

/**
 * What went through registers otherwise than it was meant to, on the way of a guest that has done something else than its
 * test expects: values that nothing used, segments that nothing loaded, registers that an interrupt's handler has changed.
 */
export function registerFlow(view: GuestView): Finding[] {
  const steps = view.incident.steps.map((step) => ({
    step,
    instruction: readInstruction(step.text, step.bits ?? view.bits),
  }));
  const found = [...bootSegments(view, steps), ...leftByHandlers(view, steps)];
  return found.length > 0 ? found : unusedValues(view, steps);
}

/** As many of the latest unused values are told. */
const MOST_UNUSED = 2;

/** Numbers that were moved into a register and overwritten before anything has read them. */
function unusedValues(view: GuestView, steps: readonly Step[]): Finding[] {
  const found: Finding[] = [];
  let pending: { readonly part: Part; readonly by: Step; readonly value: bigint }[] = [];
  for (const each of steps) {
    const { step, instruction: { mnemonic, operands: [first, second] } } = each;
    pending = pending.filter(({ part }) => !reads(each, part));
    const target = writtenPart(each);
    if (target !== undefined) {
      for (const { part, by, value } of pending.filter(({ part }) => covers(target, part))) {
        // Rounds of a loop may be missing among the steps.
        if (partOf(step, part) !== value) continue;
        found.push(history(
          `\`${by.step.text}\` at ${
            view.place(by.step.linear)
          } has no effect: nothing reads its number before \`${step.text}\` at ${
            view.place(step.linear)
          }`,
          by.step.linear,
        ));
      }
      pending = pending.filter(({ part }) => !overlaps(target, part));
    }
    if (mnemonic === "mov" && target !== undefined && second?.kind === "immediate" && first) {
      const value = BigInt.asUintN(target.width, second.value);
      pending.push({ part: target, by: each, value });
    }
  }
  return found.slice(-MOST_UNUSED);
}

/** Segments that the guest has memory read by, and that are what the firmware left: anything. */
function bootSegments(view: GuestView, steps: readonly Step[]): Finding[] {
  const { boot } = view.incident;
  return (["ds", "es", "fs", "gs"] as const).flatMap((name) => {
    const left = boot?.specialRegisters[name].selector ?? 0;
    const first = left === 0 ? undefined : steps.find(({ step, instruction }) => {
      const { specialRegisters, bits = view.bits } = step;
      if (specialRegisters === undefined || specialRegisters.cr0 & 1n) return false;
      return accessesOf(instruction, { ...step, specialRegisters }, bits)
        .some(({ segment, isStack }) => segment === name && !isStack);
    });
    const isLoaded = steps.slice(0, first === undefined ? 0 : steps.indexOf(first))
      .some(({ step: { text } }) => new RegExp(`^(mov|pop) ${name}\\b|^l${name}\\b`).test(text));
    if (first === undefined || isLoaded) return [];
    return [history(
      `${name.toUpperCase()} (${
        hex(left)
      }) is as it was at boot: no instruction wrote it before \`${first.step.text}\` at ${
        view.place(first.step.linear)
      } used it`,
      first.step.linear,
    )];
  });
}

/** Parts of registers that a handler has left changed, and that the handler of another interrupt reads. */
function leftByHandlers(view: GuestView, steps: readonly Step[]): Finding[] {
  const calls = handlerCalls(steps);
  return calls.flatMap(({ start, end }, index) => {
    const next = calls[index + 1];
    if (next === undefined) return [];
    return BYTES.flatMap((name) => {
      const part = registerPlaces.get(name)!;
      const before = partOf(steps[start].step, part);
      const after = partOf(steps[end].step, part);
      if (before === after || partOf(steps[next.start].step, part) !== after) return [];
      const isWritten = steps.slice(end, next.start).some((each) => {
        const target = writtenPart(each);
        return reads(each, part) || target !== undefined && overlaps(target, part);
      });
      const user = steps.slice(next.start, next.end).find((each) => reads(each, part));
      const writer = steps.slice(start, end).findLast((each) => {
        const target = writtenPart(each);
        return target !== undefined && overlaps(target, part);
      });
      if (isWritten || user === undefined || writer === undefined) return [];
      const at = ({ step: { text, linear } }: Step) => `\`${text}\` at ${view.place(linear)}`;
      return [history(
        `${name.toUpperCase()} was ${hex(before)}, and ${at(steps[start])} left ${
          hex(after)
        } in it (by ${at(writer)}); so it was at ${
          at(steps[next.start])
        }, whose handler reads it (${at(user)})`,
        steps[next.start].step.linear,
      )];
    });
  });
}

/** The bytes of registers by which interrupts' handlers are asked. AL and AH tell how it went. */
const BYTES = ["bl", "bh", "cl", "ch", "dl", "dh"] as const;

/** Steps that called a handler, and those behind its return. */
function handlerCalls(steps: readonly Step[]): { readonly start: number; readonly end: number }[] {
  const found: { start: number; end: number }[] = [];
  steps.forEach(({ step: { text, linear } }, start) => {
    if (!/^int 0x/.test(text) || start < (found.at(-1)?.end ?? 0)) return;
    const end = steps.findIndex((each, index) => index > start && each.step.linear === linear + 2n);
    found.push({ start, end: end === -1 ? steps.length - 1 : end });
  });
  return found;
}

/** Whether an instruction reads a part of a register, or may. */
function reads({ instruction }: Step, part: Part): boolean {
  const { mnemonic, operands } = instruction;
  if (mnemonic === "loop") return part.register === "rcx";
  if (!READS_OPERANDS.test(mnemonic)) return true;
  return operands.some((operand, index) => {
    if (operand.kind === "memory") {
      return operand.terms.some(({ register }) => overlapsName(register, part));
    }
    if (operand.kind !== "register") return false;
    return !(index === 0 && isWritten(instruction)) && overlapsName(operand.name, part);
  });
}

/** Whether the first operand is written, whatever it held. */
function isWritten({ mnemonic, operands: [first, second] }: ReadInstruction): boolean {
  if (WRITES_ONLY.test(mnemonic)) return true;
  return mnemonic === "xor" && first?.kind === "register" && second?.kind === "register" &&
    first.name === second.name;
}

/** The part of a general register that an instruction writes, whatever it held. */
function writtenPart({ instruction }: Step): Part | undefined {
  const [first] = instruction.operands;
  if (first?.kind !== "register" || !isWritten(instruction)) return undefined;
  return registerPlaces.get(first.name);
}

function overlapsName(name: string, part: Part): boolean {
  const other = registerPlaces.get(name);
  return other !== undefined && overlaps(other, part);
}

function overlaps(a: Part, b: Part): boolean {
  return a.register === b.register && a.shift < b.shift + b.width && b.shift < a.shift + a.width;
}

function covers(outer: Part, inner: Part): boolean {
  return outer.register === inner.register && outer.shift <= inner.shift &&
    outer.shift + outer.width >= inner.shift + inner.width;
}

function partOf({ registers }: IncidentStep, { register, shift, width }: Part): bigint {
  return BigInt.asUintN(width, registers[register] >> BigInt(shift));
}

import {
  type GeneralRegister,
  readRegister,
  type RegisterName,
  registerPlaces,
} from "../registers/registers.ts";
import { accessesOf } from "./accesses.ts";
import type { GuestView } from "./guest_view.ts";
import { destinationRegisters } from "./history.ts";
import { readInstruction } from "./operands.ts";

/** An instruction as a disassembler shows it. */
export interface DecodedAt {
  /** Its text, with the linear addresses that it jumps to. */
  readonly text: string;
  /** How many bytes. */
  readonly length: number;
}

/** An instruction of a loop. */
export interface LoopInstruction extends DecodedAt {
  /** Its linear address. */
  readonly linear: bigint;
  /** Whether it is of the function that stands at `start`, whose stack frame is the one that is there. */
  readonly isOwn: boolean;
  /** Of a jump that need not be taken: whether the loop takes it. */
  readonly isTaken: boolean | undefined;
}

/** How many instructions a loop has at most, those of the functions that it calls included. */
const MOST_INSTRUCTIONS = 64;
/** How many places are looked at. */
const MOST_PLACES = 2_000;
/** How deep calls are followed: those below are stepped over. */
const DEEPEST = 3;

const DIRECT = /^(j\w+|call|loop\w*) (?:\w+ )*(0x[\da-f]+)$/;
const CONDITIONAL = /^(j(?!mp)\w+|loop\w*)$/;
const ENDS = /^(iret[wdq]?|retf[wdq]?|ud[012]|hlt|sysret|sysexit|rsm|db)$/;

/** A place on a way, and how it was come by. */
interface Place {
  readonly linear: bigint;
  /** Where the calls on the way return to. */
  readonly calls: readonly bigint[];
  /** How many of the callers it has returned to. */
  readonly returned: number;
  readonly length: number;
  readonly from: Place | undefined;
  /** Whether the jump there was taken, where it need not be. */
  readonly isTaken: boolean | undefined;
}

/**
 * The loop in which a CPU is that executes the instruction at `start` over and over: the shortest way back there, by the
 * instructions alone.
 *
 * @param decodeAt The instruction at a linear address; undefined where there is none.
 * @param callers Where the functions that are executed return to, the nearest first.
 * @returns The instructions in their order, from the lowest address of the outermost function on; undefined where no way leads
 *   back.
 */
export function findLoop(
  start: bigint,
  decodeAt: (linear: bigint) => DecodedAt | undefined,
  callers: readonly bigint[],
): LoopInstruction[] | undefined {
  const first: Place = {
    linear: start,
    calls: [],
    returned: 0,
    length: 1,
    from: undefined,
    isTaken: undefined,
  };
  const seen = new Set([keyOf(first)]);
  const places = [first];
  for (const place of places) {
    const instruction = decodeAt(place.linear);
    if (instruction === undefined) continue;
    for (const next of successors(place, instruction, callers)) {
      if (next.linear === start) return loopOf(place, next.isTaken, decodeAt);
      const key = keyOf(next);
      if (seen.has(key) || next.length > MOST_INSTRUCTIONS || places.length >= MOST_PLACES) {
        continue;
      }
      seen.add(key);
      places.push(next);
    }
  }
  return undefined;
}

const keyOf = ({ linear, calls, returned }: Place) => `${linear} ${calls.join()} ${returned}`;

function successors(
  place: Place,
  { text, length }: DecodedAt,
  callers: readonly bigint[],
): Place[] {
  const { calls, returned } = place;
  const { mnemonic } = readInstruction(text, 32);
  const to = (linear: bigint, more: Partial<Place> = {}): Place => ({
    linear,
    calls,
    returned,
    length: place.length + 1,
    from: place,
    isTaken: undefined,
    ...more,
  });
  const behind = place.linear + BigInt(length);
  if (length === 0 || ENDS.test(mnemonic)) return [];
  if (/^ret[nwdq]?$/.test(mnemonic)) {
    const last = calls.at(-1);
    if (last !== undefined) return [to(last, { calls: calls.slice(0, -1) })];
    const caller = callers.at(returned);
    return caller === undefined ? [] : [to(caller, { returned: returned + 1 })];
  }
  const target = DIRECT.exec(text)?.[2];
  if (mnemonic === "call") {
    const isFollowed = target !== undefined && calls.length < DEEPEST;
    return [isFollowed ? to(BigInt(target), { calls: [...calls, behind] }) : to(behind)];
  }
  if (mnemonic === "jmp") return target === undefined ? [] : [to(BigInt(target))];
  if (!CONDITIONAL.test(mnemonic) || target === undefined) return [to(behind)];
  return [to(BigInt(target), { isTaken: true }), to(behind, { isTaken: false })];
}

/** The loop that goes back to its start from its last place. */
function loopOf(
  last: Place,
  isLastTaken: boolean | undefined,
  decodeAt: (linear: bigint) => DecodedAt | undefined,
): LoopInstruction[] {
  const loop: LoopInstruction[] = [];
  const depths: number[] = [];
  let isTaken = isLastTaken;
  for (let place: Place | undefined = last; place !== undefined; place = place.from) {
    const { linear, calls, returned } = place;
    const isOwn = calls.length === 0 && returned === 0;
    depths.unshift(calls.length - returned);
    loop.unshift({ ...decodeAt(linear)!, linear, isOwn, isTaken });
    isTaken = place.isTaken;
  }
  const outermost = Math.min(...depths);
  const lowest = loop.reduce((best, { linear }, index) => {
    if (depths[index] !== outermost) return best;
    return best === -1 || linear < loop[best].linear ? index : best;
  }, -1);
  return [...loop.slice(lowest), ...loop.slice(0, lowest)];
}

/** What keeps a CPU in a loop: the jumps by which it could leave it, or that there are none. */
export function whyItStays(
  loop: readonly LoopInstruction[],
  place: (linear: bigint) => string,
): string {
  const ways = loop.filter(({ isTaken }) => isTaken !== undefined);
  if (ways.length === 0) return "no jump leads out of it";
  const said = ways.map(({ text, linear, isTaken }) =>
    `\`${text}\` at ${place(linear)} is ${isTaken ? "" : "not "}taken`
  );
  return `it stays there as long as ${said.join(" and ")}`;
}

/** What a loop reads from outside of the CPU, each time. */
export type LoopRead =
  /** Memory, at a linear address, where that is the same each time. */
  | { readonly kind: "memory"; readonly linear: bigint | undefined; readonly size: number }
  /** A port. */
  | { readonly kind: "port"; readonly port: number | undefined; readonly size: number }
  /** An MSR. */
  | { readonly kind: "MSR"; readonly index: number | undefined }
  /** The time-stamp counter. */
  | { readonly kind: "time" };

/** One of them, and the instruction that reads it. */
export type ReadOfLoop = LoopRead & {
  readonly by: LoopInstruction;
  /** Whether the same instruction writes it, too. */
  readonly isWritten: boolean;
};

/**
 * What a loop reads, with the registers that the CPU has somewhere in it. What an address is made of counts as known where
 * nothing in the loop writes it but constants, and it is none of another function's frame.
 */
export function readsOf(loop: readonly LoopInstruction[], view: GuestView): ReadOfLoop[] {
  const values = constants(loop);
  const known = (name: string): bigint | undefined => {
    const place = registerPlaces.get(name);
    const value = place === undefined ? undefined : values.get(place.register);
    if (place === undefined || value === "written") return undefined;
    const whole = value ?? view.incident.registers[place.register];
    return BigInt(readRegister(name as RegisterName, whole));
  };
  return loop.flatMap((by): ReadOfLoop[] => {
    const instruction = readInstruction(by.text, view.bits);
    const { mnemonic, operands: [first, second] } = instruction;
    const number = (name: string) => {
      const value = known(name);
      return value === undefined ? undefined : Number(value);
    };
    if (mnemonic === "in" && first?.kind === "register") {
      const port = second?.kind === "immediate" ? Number(second.value) : number("dx");
      return [{ kind: "port", port, size: first.size, by, isWritten: false }];
    }
    if (mnemonic === "rdmsr") {
      return [{ kind: "MSR", index: number("ecx"), by, isWritten: false }];
    }
    if (/^rdtscp?$/.test(mnemonic)) return [{ kind: "time", by, isWritten: false }];
    return accessesOf(instruction, view.incident, view.bits).flatMap((access): ReadOfLoop[] => {
      const { segment, offset, size, write, isStack } = access;
      if (isStack || (write && !READS_TOO.test(mnemonic))) return [];
      const memory = instruction.operands.find((each) => each.kind === "memory");
      const isKnown = memory?.kind === "memory" &&
        memory.terms.every(({ register }) =>
          /^[er]ip$/.test(register) || known(register) !== undefined &&
            (by.isOwn || !/^[er]?[bs]p$/.test(register))
        );
      const linear = isKnown ? view.linearOf(segment, offset) : undefined;
      return [{ kind: "memory", linear, size, by, isWritten: write || mnemonic === "xchg" }];
    });
  });
}

/** Instructions that read the operand in memory that they write. */
const READS_TOO = /^(xchg|xadd|cmpxchg\w*|bt[rsc]|add|sub|and|or|xor|inc|dec|neg|not|adc|sbb)$/;

/** The registers that a loop writes: which constant, where it is always the same one. */
function constants(
  loop: readonly LoopInstruction[],
): ReadonlyMap<GeneralRegister, bigint | "written"> {
  const values = new Map<GeneralRegister, bigint | "written">();
  for (const { text } of loop) {
    const { mnemonic, operands: [, source] } = readInstruction(text, 32);
    const value = mnemonic === "mov" && source?.kind === "immediate" ? source.value : "written";
    for (const register of writtenRegisters(text)) {
      const before = values.get(register);
      values.set(register, before === undefined || before === value ? value : "written");
    }
  }
  return values;
}

/** Registers that instructions write without naming them. */
const IMPLIED: readonly (readonly [RegExp, readonly GeneralRegister[]])[] = [
  [/^(rdtscp?|rdmsr|mul|div|idiv|cpuid)$/, ["rax", "rdx"]],
  [/^(cpuid|rdtscp|loop\w*)$/, ["rcx"]],
  [/^cpuid$/, ["rbx"]],
  [/^cmpxchg\w*$/, ["rax"]],
  [/^lods\w$/, ["rax", "rsi"]],
];

/** The registers that a loop changes by counting. */
export function counted(loop: readonly LoopInstruction[]): GeneralRegister[] {
  const counting = loop.filter(({ text }) => /^(?:lock )?(?:inc|dec|add|sub|loop)/.test(text));
  return [...new Set(counting.flatMap(({ text }) => writtenRegisters(text)))]
    .filter((each) => each !== "rsp");
}

function writtenRegisters(text: string): GeneralRegister[] {
  const { mnemonic } = readInstruction(text, 32);
  const implied = IMPLIED.flatMap(([pattern, registers]) =>
    pattern.test(mnemonic) ? registers : []
  );
  return [...destinationRegisters({ text }), ...implied];
}

import { type BootLayout, bootState } from "../../../lib/x86/boot/boot_state.ts";
import type { GeneralRegisters, SpecialRegisters } from "../../../lib/x86/boot/cpu_state.ts";
import { codeBits } from "../../../lib/x86/diagnosis/accesses.ts";
import { explainIncident } from "../../../lib/x86/diagnosis/explain_incident.ts";
import type { Incident, IncidentStep } from "../../../lib/x86/diagnosis/incident.ts";

/** Bytes at a guest-physical address, or a number as so many bytes. */
export type Patch = readonly [gpa: number, bytes: readonly number[] | bigint, size?: number];

/** What an incident has beside the boot state of its mode. */
export interface Given extends Partial<Omit<Incident, "registers" | "specialRegisters" | "read">> {
  /** The mode, and what its boot state is told. */
  readonly layout?: BootLayout;
  /** The instruction's text. */
  readonly text: string;
  /** Its bytes. Default one NOP. */
  readonly bytes?: readonly number[];
  readonly registers?: Partial<GeneralRegisters>;
  readonly special?: Partial<SpecialRegisters>;
  /** What memory holds beside the tables of the boot state. */
  readonly memory?: readonly Patch[];
}

const MEMORY_SIZE = 0x20_0000;

/** An incident in the boot state of a mode, with what a test gives. */
export function incidentOf(given: Given): Incident {
  const { layout = { mode: "protected" }, text, bytes = [0x90], memory = [] } = given;
  const boot = bootState(layout);
  const names = [
    ...["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12"],
    ...["r13", "r14", "r15", "rip", "rflags"],
  ];
  const zeros = Object.fromEntries(names.map((name) => [name, 0n])) as GeneralRegisters;
  const registers = { ...zeros, ...boot.registers, ...given.registers };
  const specialRegisters = { ...boot.specialRegisters, ...given.special };
  const bits = codeBits({ registers, specialRegisters });
  const linear = bits === 64 ? registers.rip : specialRegisters.cs.base + registers.rip;
  const ram = new Uint8Array(MEMORY_SIZE);
  for (const { gpa, bytes } of boot.writes) ram.set(bytes, gpa);
  for (const [gpa, value, size = 8] of memory) {
    const piece = typeof value === "bigint"
      ? Array.from({ length: size }, (_, index) => Number(value >> BigInt(index * 8) & 0xffn))
      : value;
    ram.set(piece, gpa);
  }
  return {
    vendor: "amd",
    steps: [],
    ...given,
    registers,
    specialRegisters,
    instruction: { linear, bytes: new Uint8Array(bytes), text, bits },
    read: (gpa, size) =>
      gpa < 0 || gpa + size > MEMORY_SIZE ? undefined : ram.slice(gpa, gpa + size),
  };
}

/** The chain of an incident as text: a line each, with its kind. */
export function chainOf(
  given: Given,
  names = (_: bigint): string | undefined => undefined,
): string {
  return explainIncident(incidentOf(given), names)
    .map(({ kind, text }) => `${kind}: ${text}`)
    .join("\n");
}

/** A step with these registers, for the way before an incident. */
export function stepOf(
  text: string,
  linear: bigint,
  registers: Partial<GeneralRegisters> = {},
  specialRegisters?: SpecialRegisters,
): IncidentStep {
  const { registers: all } = incidentOf({ text });
  return {
    text,
    linear,
    registers: { ...all, ...registers },
    ...specialRegisters === undefined ? {} : { specialRegisters },
  };
}

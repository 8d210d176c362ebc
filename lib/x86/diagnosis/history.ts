import { hex } from "../hex.ts";
import { type GeneralRegister, registerPlaces } from "../registers/registers.ts";
import type { IncidentState, IncidentStep } from "./incident.ts";
import { readInstruction } from "./operands.ts";
import type { GuestView } from "./guest_view.ts";
import { accessesOf, codeBits, memoryWrites } from "./accesses.ts";

/** Registers that are no general ones, and where their values are. */
const SPECIAL: Readonly<Record<string, (state: IncidentState) => bigint>> = {
  gdtr: ({ specialRegisters: { gdt } }) => gdt.base << 16n | BigInt(gdt.limit),
  idtr: ({ specialRegisters: { idt } }) => idt.base << 16n | BigInt(idt.limit),
  ldtr: ({ specialRegisters }) => BigInt(specialRegisters.ldt.selector),
  tr: ({ specialRegisters }) => BigInt(specialRegisters.tr.selector),
  cr0: ({ specialRegisters }) => specialRegisters.cr0,
  cr3: ({ specialRegisters }) => specialRegisters.cr3,
  cr4: ({ specialRegisters }) => specialRegisters.cr4,
  efer: ({ specialRegisters }) => specialRegisters.efer,
  cs: ({ specialRegisters }) => BigInt(specialRegisters.cs.selector),
  ds: ({ specialRegisters }) => BigInt(specialRegisters.ds.selector),
  es: ({ specialRegisters }) => BigInt(specialRegisters.es.selector),
  fs: ({ specialRegisters }) => BigInt(specialRegisters.fs.selector),
  gs: ({ specialRegisters }) => BigInt(specialRegisters.gs.selector),
  ss: ({ specialRegisters }) => BigInt(specialRegisters.ss.selector),
  "fs.base": ({ specialRegisters }) => specialRegisters.fs.base,
  "gs.base": ({ specialRegisters }) => specialRegisters.gs.base,
};

const EXPECTED_WRITER: Readonly<Record<string, string>> = {
  gdtr: "lgdt",
  idtr: "lidt",
  ldtr: "lldt",
  tr: "ltr",
  cr3: "mov cr3",
  efer: "wrmsr to 0xc0000080",
};

/** The value of a register by the name that rules give it. */
export function valueOf(name: string, state: IncidentState): bigint {
  const special = SPECIAL[name];
  if (special !== undefined) return special(state);
  const place = registerPlaces.get(name);
  return place === undefined ? 0n : state.registers[place.register] ?? 0n;
}

/** A register with its value in words. */
function describeValue(name: string, state: IncidentState): string {
  const { gdt, idt } = state.specialRegisters;
  if (name === "gdtr") return `GDTR (base ${hex(gdt.base)}, limit ${hex(gdt.limit, 2)})`;
  if (name === "idtr") return `IDTR (base ${hex(idt.base)}, limit ${hex(idt.limit, 2)})`;
  const place = registerPlaces.get(name);
  const shown = place?.register.toUpperCase() ?? name.toUpperCase();
  return `${shown} (${hex(valueOf(name, state))})`;
}

/** The latest step that wrote a register, with its index; undefined where no step did. */
export function lastWriter(
  view: GuestView,
  name: string,
  steps: readonly IncidentStep[] = view.incident.steps,
): number | undefined {
  for (let index = steps.length - 1; index >= 0; index--) {
    if (writes(view, name, steps, index)) return index;
  }
  return undefined;
}

function writes(
  view: GuestView,
  name: string,
  steps: readonly IncidentStep[],
  index: number,
): boolean {
  const step = steps[index];
  const after = steps[index + 1] ?? view.incident;
  const place = registerPlaces.get(name);
  if (place !== undefined) {
    return destinationRegisters(step).has(place.register) ||
      step.registers[place.register] !== after.registers[place.register];
  }
  const before = step.specialRegisters;
  const then = after.specialRegisters;
  const named = writesSpecial(step.text, name);
  if (named || before === undefined || then === undefined) return named;
  return SPECIAL[name]?.({ ...step, specialRegisters: before }) !==
    SPECIAL[name]?.({ ...step, specialRegisters: then });
}

/** Whether an instruction writes a segment, table or control register, whatever the value. */
function writesSpecial(text: string, name: string): boolean {
  const { mnemonic, operands: [first] } = readInstruction(text, 32);
  if (name === "gdtr") return mnemonic === "lgdt";
  if (name === "idtr") return mnemonic === "lidt";
  if (name === "ldtr") return mnemonic === "lldt";
  if (name === "tr") return mnemonic === "ltr";
  if (name === "efer") return mnemonic === "wrmsr";
  if (name === "cs") return /^(retf|iret)/.test(mnemonic) || first?.kind === "far pointer";
  if (/^l[defgs]s$/.test(mnemonic)) return mnemonic.slice(1) === name;
  return (mnemonic === "mov" || mnemonic === "pop") && first?.kind === "register" &&
    first.name === name;
}

/** Instructions whose first operand is read only. */
const READS_FIRST = /^(cmp|test|push|call|j\w+|bt|out|mul|div|idiv|nop|loop\w*)$/;

/** The 64-bit registers that an instruction writes by name. */
export function destinationRegisters({ text }: { readonly text: string }): Set<GeneralRegister> {
  const { mnemonic, operands: [first] } = readInstruction(text, 32);
  if (first?.kind !== "register" || READS_FIRST.test(mnemonic)) return new Set();
  const place = registerPlaces.get(first.name);
  return new Set(place === undefined ? [] : [place.register]);
}

/** The latest step that wrote any of some bytes of memory, by the operands of the instructions. */
export function lastMemoryWriter(
  view: GuestView,
  linear: bigint,
  size: number,
): number | undefined {
  const { steps } = view.incident;
  for (let index = steps.length - 1; index >= 0; index--) {
    const hit = memoryWrites(view, steps[index]).some((each) =>
      each.linear < linear + BigInt(size) && linear < each.linear + BigInt(each.size)
    );
    if (hit) return index;
  }
  return undefined;
}

/** The instructions that wrote some bytes of memory, each byte's latest one, in the order in which they lie. */
export function writersText(view: GuestView, linear: bigint, size: number): string {
  const { steps } = view.incident;
  const indices = new Set<number>();
  for (let offset = 0n; offset < BigInt(size); offset += 1n) {
    const index = lastMemoryWriter(view, linear + offset, 1);
    if (index !== undefined) indices.add(index);
  }
  if (indices.size === 0) return "";
  const said = [...indices].map((index) =>
    `\`${steps[index].text}\` at ${view.place(steps[index].linear)}`
  );
  return `; written by ${said.join(", ")}`;
}

/** Since when a register has held its value: by which instruction, or that none of those that are known wrote it. */
export function sinceWhen(view: GuestView, name: string): string {
  const { steps, boot } = view.incident;
  const said = describeValue(name, view.incident);
  const index = lastWriter(view, name);
  if (index !== undefined) {
    const { linear, text } = steps[index];
    return `${said} was last written by \`${text}\` at ${view.place(linear)}${
      tableSource(view, steps[index])
    }`;
  }
  const expected = EXPECTED_WRITER[name] === undefined ? "" : ` (no ${EXPECTED_WRITER[name]})`;
  const atBoot = boot !== undefined && valueOf(name, boot) === valueOf(name, view.incident);
  if (atBoot) return `${said} is as it was at boot: no instruction wrote it${expected}`;
  const source = pointerInMemory(view, name);
  return steps.length === 0
    ? `${said} was written earlier, it is not known where${source}`
    : `${said} was not written by the ${steps.length} instructions before, which are all that are known${source}`;
}

/** How far from address 0 an operand of LGDT or LIDT is looked for. */
const SEARCHED = 0x10_0000;
const POINTER_BYTES = 6;

/** Where in memory the limit and the base that a table register holds lie as one of its operands. */
function pointerInMemory(view: GuestView, name: string): string {
  if (name !== "gdtr" && name !== "idtr") return "";
  const { base, limit } = view.special[name === "gdtr" ? "gdt" : "idt"];
  if (base === 0n) return "";
  const wanted = Array.from(
    { length: POINTER_BYTES },
    (_, index) => Number((base << 16n | BigInt(limit)) >> BigInt(index * 8) & 0xffn),
  );
  const memory = view.readPhysical(0, SEARCHED);
  for (
    let at = memory?.indexOf(wanted[0]) ?? -1;
    at >= 0;
    at = memory!.indexOf(wanted[0], at + 1)
  ) {
    if (wanted.every((byte, index) => memory![at + index] === byte)) {
      return `; these bytes lie at ${view.place(BigInt(at))}`;
    }
  }
  return "";
}

/** Where LGDT and LIDT read what they load. */
function tableSource(view: GuestView, step: IncidentStep): string {
  if (!/^(\w+ )?l[gi]dt /.test(step.text)) return "";
  const specialRegisters = step.specialRegisters ?? view.special;
  const state = { ...step, specialRegisters };
  const bits = step.bits ?? codeBits(state);
  const [access] = accessesOf(readInstruction(step.text, bits), state, bits);
  if (access === undefined) return "";
  const { base, selector } = specialRegisters[access.segment];
  const offset = bits === 64 ? access.offset : access.offset + base;
  const by = bits === 64 || base === 0n
    ? ""
    : ` (${access.segment.toUpperCase()} = ${hex(selector, 4)} has base ${hex(base)})`;
  return `, from ${view.place(offset)}${by}`;
}

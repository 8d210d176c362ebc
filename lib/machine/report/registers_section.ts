import { kvm_regs } from "../../kvm/abi/structs/registers.ts";
import type { DescriptorTable, SegmentName, SpecialRegisters } from "../../x86/boot/cpu_state.ts";
import { hex } from "../../x86/hex.ts";
import { RESET_VECTOR } from "../../x86/layout.ts";
import { cr0Flags, cr4Flags, eferFlags, rflagsFlags } from "../../x86/registers/flag_tables.ts";
import { flagNames, type FlagTable } from "../../x86/registers/flags.ts";
import type { GeneralRegister } from "../../x86/registers/registers.ts";
import type { Segment } from "../../x86/registers/segment.ts";
import type { Registers } from "../registers/registers.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

/** The columns of rows of registers, so that the page fits a terminal of 80. */
const REGISTER_COLUMNS = 76;

/**
 * Whether the registers say nothing of the guest: at a triple fault KVM resets the CPU of an AMD processor.
 */
export function isReset(cpu: StoppedCpu): boolean {
  return cpu.lastExit?.reason === "SHUTDOWN" && isAtResetVector(cpu);
}

/** Whether a CPU stands where it begins after RESET#. */
export function isAtResetVector({ registers }: StoppedCpu): boolean {
  return registers.cs.selector === RESET_VECTOR.selector &&
    registers.rip === BigInt(RESET_VECTOR.ip);
}

/** The registers that are not what they were at boot: the general ones in aligned columns, the others in rows. */
export function registersSection(cpu: StoppedCpu): string[] {
  if (isReset(cpu)) return [];
  const { registers, bootRegisters } = cpu;
  const general = generalRows(registers, bootRegisters);
  const special = specialRows(registers, bootRegisters);
  const flags = flagsText(rflagsFlags, registers.rflags.value);
  return [
    "registers that changed since boot",
    ...general.length + special.length === 0 ? ["    none"] : general,
    `    rip ${hex(registers.rip)}, rflags ${flags}`,
    ...special,
  ];
}

function generalRows(
  registers: Registers,
  atBoot: Readonly<Record<GeneralRegister, bigint>>,
): string[] {
  const changed = kvm_regs.fields
    .map(({ path }) => path as "rax" | "rip" | "rflags")
    .filter((path) => path !== "rflags" && path !== "rip")
    .map((path) => ({ path, value: registers[path] }))
    .filter(({ path, value }) => value !== atBoot[path])
    .map(({ path, value }) => `${path.padEnd("rax".length)} ${hex(value)}`);
  const width = Math.max(0, ...changed.map((cell) => cell.length)) + 2;
  const perLine = Math.max(1, Math.floor(REGISTER_COLUMNS / width));
  const rows: string[] = [];
  for (let index = 0; index < changed.length; index += perLine) {
    const cells = changed.slice(index, index + perLine);
    rows.push(`    ${cells.map((cell) => cell.padEnd(width)).join("").trimEnd()}`);
  }
  return rows;
}

const SEGMENTS: readonly SegmentName[] = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];
const TABLES = ["gdt", "idt"] as const;

/** What the manuals call the registers that `struct kvm_sregs` names after their tables. */
const TITLES: Readonly<Record<string, string>> = { ldt: "ldtr", gdt: "gdtr", idt: "idtr" };

const CONTROL: readonly (readonly [name: "cr0" | "cr4" | "efer", flags: FlagTable])[] = [
  ["cr0", cr0Flags],
  ["cr4", cr4Flags],
  ["efer", eferFlags],
];
const PLAIN = ["cr2", "cr3", "cr8"] as const;

/** Segments, tables and control registers that the guest has changed; those that are alike in one row. */
function specialRows(registers: Registers, atBoot: SpecialRegisters): string[] {
  const named = new Map<string, string[]>();
  const note = (name: string, text: string, before: string) => {
    if (text === before) return;
    named.set(text, [...named.get(text) ?? [], TITLES[name] ?? name]);
  };
  for (const name of SEGMENTS) {
    note(name, segmentText(name, registers[name]), segmentText(name, atBoot[name]));
  }
  for (const name of TABLES) note(name, tableText(registers[name]), tableText(atBoot[name]));
  for (const [name, flags] of CONTROL) {
    note(name, flagsText(flags, registers[name].value), flagsText(flags, atBoot[name]));
  }
  for (const name of PLAIN) note(name, hex(registers[name]), hex(atBoot[name]));
  const rows = [...named].map(([text, names]) => ({ text, title: names.join(" ") }));
  const width = Math.max(0, ...rows.map(({ title }) => title.length));
  return rows.map(({ title, text }) => `    ${title.padEnd(width)}  ${text}`);
}

function flagsText(table: FlagTable, value: bigint): string {
  const flags = flagNames(table, value).join(" ");
  return hex(value) + (flags === "" ? "" : ` (${flags})`);
}

function tableText({ base, limit }: DescriptorTable): string {
  return `base ${hex(base)} limit ${hex(limit)}`;
}

/** Bits of the type of code and data (Intel SDM Vol. 3A, 3.4.5.1). */
const CODE = 0x8;
const WRITABLE = 0x2;
const EXPANDS_DOWN = 0x4;

/**
 * A segment without what CPU and KVM set by themselves: whether it was accessed, whether its TSS is busy, and, of one
 * that is null, the attributes.
 */
function segmentText(name: SegmentName, segment: Segment): string {
  const { selector, base, limit, unusable, present } = segment;
  const isNull = unusable === 1 || present === 0;
  if (isNull) return `${hex(selector)} null${base === 0n ? "" : ` base ${hex(base)}`}`;
  const attributes = attributesOf(name, segment).map((each) => `, ${each}`).join("");
  return `${hex(selector)} base ${hex(base)} limit ${hex(limit)}${attributes}`;
}

function attributesOf(name: SegmentName, { type, s, dpl, db, l }: Segment): string[] {
  if (s === 0) return [];
  const level = dpl === 0 ? [] : [`DPL ${dpl}`];
  const size = l ? "64-bit" : db ? "32-bit" : "16-bit";
  if (type & CODE) return [`${size} code`, ...level];
  return [
    name === "ss" ? `${size} stack` : "data",
    ...type & WRITABLE ? [] : ["read-only"],
    ...type & EXPANDS_DOWN ? ["expand-down"] : [],
    ...level,
  ];
}

/**
 * In words, that a guest with a fault catcher has another IDT in force than the one that leads there; undefined where it
 * has not, or that is not known.
 */
export function ownIdt(cpu: StoppedCpu): string | undefined {
  if (!cpu.catchesFaults || isReset(cpu)) return undefined;
  const { base, limit } = cpu.registers.idt;
  const booted = cpu.bootRegisters.idt;
  if (base === booted.base && limit === booted.limit) return undefined;
  return `the guest has an IDT of its own in force (base ${hex(base)}, limit ${
    hex(limit)
  }), which does not lead to ` +
    "its fault catcher";
}

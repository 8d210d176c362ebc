import type { CodeBits } from "../../x86/boot/cpu_state.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import type { Registers, RegisterValues } from "../registers/registers.ts";

/** A register as gdb has it. */
export interface GdbRegister {
  /** Its name there. */
  readonly name: string;
  /** How many bits gdb keeps for it. */
  readonly bits: number;
  /** Its type there. */
  readonly type: string;
  /** Its value. */
  read(registers: Registers): bigint;
  /** Sets it; left out where it only follows from others. */
  write?(registers: Registers, value: bigint): void;
}

/** What gdb is told of the processor: which registers it has, in which order, and what its code is. */
export interface Target {
  /** The width of the code. */
  readonly bits: CodeBits;
  /** In the order of gdb's numbers. */
  readonly registers: readonly GdbRegister[];
  /** The description (the manual of gdb, "Target Descriptions"). */
  readonly xml: string;
}

const ARCHITECTURES = { 16: "i8086", 32: "i386", 64: "i386:x86-64" } as const;

/** The names of general registers in the order of gdb's features for both widths (the manual of gdb, "i386 Features"). */
const GENERAL = {
  32: ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"],
  64: [
    ...["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"],
    ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"],
  ],
} as const;

const SEGMENTS = ["cs", "ss", "ds", "es", "fs", "gs"] as const;
const DATA_POINTERS: ReadonlySet<string> = new Set(["rsp", "rbp", "esp", "ebp"]);
const X87_REGISTERS = 8;
const X87_BITS = 80;
const XMM_BITS = 128;
const XMM_REGISTERS = { 32: 8, 64: 16 } as const;
const TAG_EMPTY = 3;

/** What has the name in vmexit and in gdb. */
function same(name: string, bits: number, type: string): GdbRegister {
  return {
    name,
    bits,
    type,
    read: (registers) => BigInt(registers.get(name) as bigint | number),
    write: (registers, value) => registers.set({ [name]: value } as unknown as RegisterValues),
  };
}

/**
 * gdb looks for code at its program counter, and for breakpoints: so that is the linear address, which it is with any base
 * of CS. What RIP itself holds is the register `ip`.
 */
function programCounter(name: string, bits: number): GdbRegister {
  return {
    name,
    bits,
    type: "code_ptr",
    read: linearInstructionPointer,
    write: (registers, value) =>
      registers.set({ rip: BigInt.asUintN(64, value - registers.cs.base) }),
  };
}

function selector(name: typeof SEGMENTS[number]): GdbRegister {
  const { read } = same(name, 32, "int32");
  return {
    name,
    bits: 32,
    type: "int32",
    read,
    write: (registers, value) => registers.set({ [name]: Number(value) }),
  };
}

function x87(): GdbRegister[] {
  const stack = Array.from(
    { length: X87_REGISTERS },
    (_, index) => same(`st${index}`, X87_BITS, "i387_ext"),
  );
  const word = (name: string, from: string) => ({ ...same(from, 32, "int"), name });
  // The selectors are no longer kept by processors (Intel SDM Vol. 1, 8.1.8).
  const none = (name: string): GdbRegister => ({ name, bits: 32, type: "int", read: () => 0n });
  const tags: GdbRegister = {
    name: "ftag",
    bits: 32,
    type: "int",
    read: ({ ftw }) => tagWord(ftw),
  };
  return [
    ...stack,
    ...[word("fctrl", "fcw"), word("fstat", "fsw"), tags],
    ...[
      none("fiseg"),
      word("fioff", "fip"),
      none("foseg"),
      word("fooff", "fdp"),
      word("fop", "fop"),
    ],
  ];
}

/** The tag word of FSAVE, of that of FXSAVE, which only says which registers are not empty (Intel SDM Vol. 1, 10.5.1.1). */
function tagWord(abridged: number): bigint {
  let tags = 0n;
  for (let index = 0; index < X87_REGISTERS; index++) {
    if ((abridged >> index & 1) === 0) tags |= BigInt(TAG_EMPTY) << BigInt(2 * index);
  }
  return tags;
}

const VECTOR_TYPES =
  `<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>` +
  `<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>` +
  `<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>` +
  `<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>` +
  `<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>` +
  `<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>` +
  `<field name="uint128" type="uint128"/></union>`;

/** What an operating system's debugger does not show: a kernel's does. */
function system(width: 32 | 64): GdbRegister[] {
  const address = width === 64 ? "data_ptr" : "uint64";
  const member = (name: string, path: string, bits = 64): GdbRegister => ({
    ...same(path, bits, bits === 64 ? address : "int32"),
    name,
  });
  return [
    { ...same("rip", 64, "uint64"), name: "ip" },
    ...["cr0", "cr2", "cr3", "cr4", "cr8", "efer"].map((name) => same(name, 64, "uint64")),
    ...SEGMENTS.filter((name) => width === 32 || !/[fg]s/.test(name))
      .map((name) => member(`${name}_base`, `${name}.base`)),
    ...["gdt", "idt", "tr", "ldt"].map((name) => member(`${name}_base`, `${name}.base`)),
    ...["gdt", "idt"].map((name) => member(`${name}_limit`, `${name}.limit`, 32)),
  ];
}

interface Feature {
  readonly name: string;
  readonly types?: string;
  readonly registers: readonly GdbRegister[];
}

function featuresOf(width: 32 | 64): Feature[] {
  const general = GENERAL[width].map((name) =>
    same(name, width, DATA_POINTERS.has(name) ? "data_ptr" : `int${width}`)
  );
  const xmm = Array.from(
    { length: XMM_REGISTERS[width] },
    (_, index) => same(`xmm${index}`, XMM_BITS, "vec128"),
  );
  return [
    {
      name: "org.gnu.gdb.i386.core",
      registers: [
        ...general,
        programCounter(width === 64 ? "rip" : "eip", width),
        same("eflags", 32, "int32"),
        ...SEGMENTS.map(selector),
        ...x87(),
      ],
    },
    {
      name: "org.gnu.gdb.i386.sse",
      types: VECTOR_TYPES,
      registers: [...xmm, same("mxcsr", 32, "int32")],
    },
    ...width === 64
      ? [{
        name: "org.gnu.gdb.i386.segments",
        registers: ["fs", "gs"].map((name) => ({
          ...same(`${name}.base`, 64, "int64"),
          name: `${name}_base`,
        })),
      }]
      : [],
    { name: "org.vmexit.system", registers: system(width) },
  ];
}

const made = new Map<CodeBits, Target>();

/** What gdb is told of a processor that executes code of some width. */
export function targetOf(bits: CodeBits): Target {
  const known = made.get(bits);
  if (known !== undefined) return known;
  const features = featuresOf(bits === 64 ? 64 : 32);
  const xml =
    `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">` +
    `<architecture>${ARCHITECTURES[bits]}</architecture>${
      features.map(featureXml).join("")
    }</target>`;
  const target = { bits, xml, registers: features.flatMap(({ registers }) => registers) };
  made.set(bits, target);
  return target;
}

function featureXml({ name, types = "", registers }: Feature): string {
  const lines = registers.map(({ name, bits, type }) =>
    `<reg name="${name}" bitsize="${bits}" type="${type}"/>`
  );
  return `<feature name="${name}">${types}${lines.join("")}</feature>`;
}

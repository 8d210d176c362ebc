import type { CodeBits, GeneralRegisters } from "../boot/cpu_state.ts";
import { readRegister, registerPlaces } from "../registers/registers.ts";
import type { RegisterName } from "../registers/registers.ts";

/** The segment registers that instructions name (Intel SDM Vol. 1, 3.4.2). */
export type SegmentRegister = "cs" | "ds" | "es" | "fs" | "gs" | "ss";

const SEGMENT_REGISTERS: readonly string[] = ["cs", "ds", "es", "fs", "gs", "ss"];

/** Whether it is the name of a segment register. */
export function isSegmentRegister(name: string): name is SegmentRegister {
  return SEGMENT_REGISTERS.includes(name);
}

/** An operand in memory (Intel SDM Vol. 1, 3.7.5). */
export interface MemoryOperand {
  readonly kind: "memory";
  /** The segment that it lies in: as written, or by the base register. */
  readonly segment: SegmentRegister;
  /** What its effective address is the sum of: registers with their factors. */
  readonly terms: readonly { readonly register: RegisterName; readonly factor: bigint }[];
  /** And what is added to them. */
  readonly displacement: bigint;
  /** How many bits an effective address has. */
  readonly addressBits: CodeBits;
  /** Bytes, where the text says so. */
  readonly size?: number;
  /** Whether a far pointer lies there. */
  readonly isFar: boolean;
}

/** An operand of an instruction's text. */
export type Operand =
  | MemoryOperand
  | { readonly kind: "register"; readonly name: string; readonly size: number }
  | { readonly kind: "immediate"; readonly value: bigint }
  | { readonly kind: "far pointer"; readonly selector: number; readonly offset: bigint };

/** An instruction's text in its parts. */
export interface ReadInstruction {
  /** `lock`, `rep`, `o32`, a segment in front of a string instruction. */
  readonly prefixes: readonly string[];
  /** `mov`; empty where there is no text. */
  readonly mnemonic: string;
  /** Its operands in their order, the destination first. */
  readonly operands: readonly Operand[];
}

const PREFIX = /^(lock|rep(n?[ez])?|[oa](16|32|64)|[c-gs]s|bnd|wait|xacquire|xrelease|rex\.\w+)$/;
const SIZES: Readonly<Record<string, number>> = {
  byte: 1,
  word: 2,
  dword: 4,
  qword: 8,
  tword: 10,
  oword: 16,
  yword: 32,
  zword: 64,
};
/** Registers of other kinds than the general ones, with their bytes. */
const OTHER_REGISTER = /^([c-gs]s|[cd]r\d+|st\d|mm\d|[xyz]mm\d+|k\d)$/;
const VECTOR_BYTES: Readonly<Record<string, number>> = { x: 16, y: 32, z: 64 };
const BYTE_BITS = 8;

/**
 * Reads an instruction as `ndisasm` writes it; never throws: what is no operand of a known shape is left out.
 *
 * @param text `lock add [ds:eax+ebx*4+0x10],ecx`.
 * @param bits The width of the code, by which addresses without a register are taken.
 */
export function readInstruction(text: string, bits: CodeBits): ReadInstruction {
  const words = text.trim().toLowerCase().split(/\s+/);
  const prefixes: string[] = [];
  while (words.length > 1 && PREFIX.test(words[0])) prefixes.push(words.shift()!);
  const [mnemonic = "", ...rest] = words;
  const override = prefixes.map((each) => /^a(16|32|64)$/.exec(each)?.[1]).find((each) => each);
  const addressBits = override === undefined ? bits : Number(override) as CodeBits;
  const operands = rest.join(" ").split(",")
    .flatMap((operand) => readOperand(operand.trim(), addressBits) ?? []);
  return { prefixes, mnemonic, operands };
}

function readOperand(text: string, bits: CodeBits): Operand | undefined {
  const words = text.split(/\s+(?![^[]*\])/);
  const last = words.at(-1)!;
  const size = words.map((word) => SIZES[word]).find((each) => each !== undefined);
  const memory = /^\[(.*)\]$/.exec(last)?.[1];
  if (memory !== undefined) return readMemory(memory, bits, size, words.includes("far"));
  const far = /^(0x[\da-f]+):(0x[\da-f]+)$/.exec(last);
  if (far !== null) {
    return { kind: "far pointer", selector: Number(far[1]), offset: BigInt(far[2]) };
  }
  const place = registerPlaces.get(last);
  if (place !== undefined) return { kind: "register", name: last, size: place.width / BYTE_BITS };
  if (OTHER_REGISTER.test(last)) return { kind: "register", name: last, size: otherSize(last) };
  const value = readNumber(last);
  return value === undefined ? undefined : { kind: "immediate", value };
}

function otherSize(name: string): number {
  if (isSegmentRegister(name)) return SIZES.word;
  if (name.startsWith("st")) return SIZES.tword;
  return name[1] === "m" && name[2] === "m" ? VECTOR_BYTES[name[0]] : SIZES.qword;
}

function readNumber(text: string): bigint | undefined {
  const [, sign, digits] = /^([+-]?)(0x[\da-f]+|\d+)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return sign === "-" ? -BigInt(digits) : BigInt(digits);
}

function readMemory(
  text: string,
  bits: CodeBits,
  size: number | undefined,
  isFar: boolean,
): MemoryOperand | undefined {
  const [, segment, , width, sum] =
    /^(?:([c-gs]s):)?((word|dword|qword|rel|abs) )?(.*)$/.exec(text) ?? [];
  if (sum === undefined) return undefined;
  const terms: { register: RegisterName; factor: bigint }[] = [];
  let displacement = 0n;
  for (const [part] of sum.replaceAll(" ", "").matchAll(/[+-]?[^+-]+/g)) {
    const [name, factor = "1"] = part.replace(/^\+/, "").split("*");
    const number = readNumber(name);
    if (number !== undefined) displacement += number;
    else if (registerPlaces.has(name)) {
      terms.push({ register: name as RegisterName, factor: readNumber(factor) ?? 1n });
    } else return undefined;
  }
  const addressBits = terms.length > 0
    ? registerPlaces.get(terms[0].register)!.width as CodeBits
    : SIZES[width ?? ""] === undefined
    ? bits
    : SIZES[width] * BYTE_BITS as CodeBits;
  const bySegment = terms.some(({ register, factor }, index) =>
    factor === 1n && (index === 0 || addressBits === 16) && /^[er]?[bs]p$/.test(register)
  );
  return {
    kind: "memory",
    segment: segment !== undefined ? segment as SegmentRegister : bySegment ? "ss" : "ds",
    terms,
    displacement,
    addressBits,
    ...size === undefined ? {} : { size },
    isFar,
  };
}

/** The offset in its segment that an operand in memory has with these registers (Intel SDM Vol. 1, 3.7.5). */
export function effectiveAddress(
  { terms, displacement, addressBits }: MemoryOperand,
  registers: GeneralRegisters,
): bigint {
  const sum = terms.reduce(
    (total, { register, factor }) => total + registerValue(register, registers) * factor,
    displacement,
  );
  return BigInt.asUintN(addressBits, sum);
}

/** A register, or a part of it, by its name. */
export function registerValue(name: string, registers: GeneralRegisters): bigint {
  const place = registerPlaces.get(name);
  if (place === undefined) return 0n;
  return BigInt(readRegister(name as RegisterName, registers[place.register] ?? 0n));
}

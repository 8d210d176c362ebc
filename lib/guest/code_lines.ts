import { disassemble, LONGEST_INSTRUCTION } from "./disassemble.ts";
import type { Image } from "./image.ts";
import type { SourceLine } from "./image_init.ts";
import { isMnemonic } from "./mnemonics.ts";

/** A source line that became instructions. */
export interface CodeLine extends SourceLine {
  /** The lines of the calls by which a compiler has inlined it there: whoever executes it executes them. */
  readonly callers: readonly Pick<SourceLine, "file" | "line">[];
  /**
   * Whether it has an instruction by which a CPU may come to a lower privilege (`iret`, a far `ret`, `sysret`,
   * `sysexit`), or into a guest of its own (`vmrun`, `vmlaunch`, `vmresume`).
   */
  readonly isGate: boolean;
}

const COMMENT = /;.*$/;
/** `again:`, and what may stand before an instruction besides. */
const LABEL = /^[\w.$@?#~]+\s*:\s*/;
/** Repetition of what follows, by a count that is one word. */
const TIMES = /^times\s+\S+\s+/i;
/** What may stand before an instruction's own name, and belongs to it. */
const PREFIXES =
  /^(?:(?:rep|repe|repz|repne|repnz|lock|bnd|xacquire|xrelease|[cdefgs]s|[ao](?:16|32|64)|strict)\s+)+/i;
/** The files of compiled code: their lines are no assembly. */
const COMPILED = /\.(?:c|h|cc|cpp|cxx|hh|hpp|rs|zig|go|d|nim|adb|pas|f90|s)$/i;
/** Padding, whose bytes are executed by the way: it is no line that anybody wrote to be executed. */
const PADDING = /^(?:sect)?align[bm]?\b/i;
/** A prefix that stands in a line alone belongs to the instruction in the next. */
const ONLY_PREFIX =
  /^(?:rep|repe|repz|repne|repnz|lock|wait|[aocdefgs]s|[ao](?:16|32|64)|rex(?:\.\w+)?)$/i;
/** As data, they are prefixes of what follows: of size, lock, repetition, segments, and REX. */
const PREFIX_BYTES: ReadonlySet<number> = new Set([
  ...[0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65],
  ...Array.from({ length: 16 }, (_, low) => 0x40 + low),
]);
const GATE =
  /\b(?:iret[wdq]?|retf[wdq]?|ret\s+far|sysret[lq]?|sysexit[lq]?|vmrun|vmlaunch|vmresume)\b/i;
/** Their opcodes: IRET, RETF, SYSRET, SYSEXIT, VMRUN, VMLAUNCH, VMRESUME. */
const GATE_BYTES = /\b(?:ca|cb|cf|0f 07|0f 35|0f 01 (?:c2|c3|d8))\b/;
/** NASM's pseudo-instructions for data (NASM manual, 3.2), with what may stand before them. */
const DATA =
  /^(?:[\w.$@?#~]+\s*:?\s+)?(?:times\b.*[\s)\w])?(?:d[bwdqtoyz]|res[bwdqtoyz]|incbin|equ|istruc|iend|at|alignb)\b/i;
/** Behind these the next line is not executed by falling into it. */
const GOES_ELSEWHERE = /^(?:jmp|ret[nf]?[wdq]?|iret[wdq]?|hlt|ud[012]|sysret|sysexit)\b/i;

/**
 * The source lines of an image that are instructions, by address. Of NASM's that is what their text says, since a byte
 * does not tell whether it is code; of compiled code each row of its line table, which begins with an instruction
 * (DWARF 5, 6.2.2). What is in doubt is left out: data, padding, prefixes by themselves, and what comes right behind
 * data that the code before it runs into.
 */
export function codeLines(image: Image): CodeLine[] {
  return codeOf(image).lines;
}

/** Whether an image may have gates that are none of its {@linkcode codeLines}: written as data, or behind a name. */
export function hidesGates(image: Image): boolean {
  return codeOf(image).hidesGates;
}

/** Whether a line is of a compiled language: it may have become many instructions, or a part of one. */
export function isCompiled({ file }: Pick<SourceLine, "file">): boolean {
  return COMPILED.test(file);
}

interface Code {
  readonly lines: CodeLine[];
  readonly hidesGates: boolean;
}

const KNOWN = new WeakMap<Image, Code>();

function codeOf(image: Image): Code {
  let code = KNOWN.get(image);
  if (code === undefined) KNOWN.set(image, code = readCode(image));
  return code;
}

interface Before {
  readonly line: SourceLine;
  readonly text: string;
  readonly isCode: boolean;
}

function readCode(image: Image): Code {
  const lines: Omit<CodeLine, "callers">[] = [];
  let hides = false;
  let before: Before | undefined;
  let unsure = -1n;
  for (const line of image.lines) {
    const text = instructionOf(line);
    const isOfCompiler = isCompiled(line);
    const bytes = bytesOf(image, line);
    const end = line.address + BigInt(line.length);
    const follows = before !== undefined &&
      before.line.address + BigInt(before.line.length) === line.address;
    const isReached = follows && before!.isCode && !GOES_ELSEWHERE.test(before!.text);
    // So far data that is executed may reach into the line behind it.
    if (text === undefined && line.length < LONGEST_INSTRUCTION) {
      // An opcode by hand takes what follows as its operand, or as the rest of its instruction.
      if (isReached || bytes.every((byte) => PREFIX_BYTES.has(byte))) {
        unsure = end + BigInt(LONGEST_INSTRUCTION - line.length);
      }
    }
    const isCode = text !== undefined && line.length > 0 && line.address >= unsure &&
      !PADDING.test(text) && !PADDING.test(ownText(image, line)) &&
      !(follows && ONLY_PREFIX.test(before!.text));
    if (isCode) lines.push({ ...line, isGate: !isOfCompiler && GATE.test(text) });
    else if (GATE.test(line.text)) hides = true;
    else if (text === undefined && (isReached || !DATA.test(line.text))) {
      hides ||= GATE_BYTES.test(hexBytes(bytes));
    }
    before = { line, text: text ?? "", isCode: text !== undefined };
  }
  const compiled = image.lines.filter(isCompiled);
  const gates = compiled.length === 0 ? [] : compiledGates(image, compiled);
  const byAddress = new Map([...lines, ...gates ?? []].map((line) => [line.address, line]));
  return {
    lines: withCallers(image, [...byAddress.values()])
      .sort((a, b) => a.address < b.address ? -1 : 1),
    hidesGates: hides || gates === undefined,
  };
}

function withCallers(image: Image, lines: readonly Omit<CodeLine, "callers">[]): CodeLine[] {
  const frames = image.framesAt(lines.map(({ address }) => address));
  return lines.map((line, index) => ({
    ...line,
    callers: frames[index].slice(1).flatMap(({ file, line }) =>
      file === undefined || line === undefined ? [] : [{ file, line }]
    ),
  }));
}

/** The gates in compiled code, of which source lines do not tell; undefined where they cannot be found. */
function compiledGates(
  image: Image,
  compiled: readonly SourceLine[],
): Omit<CodeLine, "callers">[] | undefined {
  const gates: Omit<CodeLine, "callers">[] = [];
  for (const segment of new Set(compiled.map(({ address }) => image.segmentAt(address)))) {
    const own = compiled.filter(({ address }) => image.segmentAt(address) === segment);
    if (segment === undefined) continue;
    const origin = own[0].address;
    const last = own.at(-1)!;
    const start = Number(origin - segment.address);
    const length = Number(last.address + BigInt(last.length) - origin);
    const code = segment.bytes.subarray(start, start + length);
    const { instructions, unavailable } = disassemble(code, { bits: image.bits, origin });
    if (unavailable !== undefined) return undefined;
    for (const { address, bytes, text } of instructions) {
      const line = GATE.test(text) ? image.lineOf(address) : undefined;
      if (line !== undefined) {
        gates.push({ ...line, address, length: bytes.length, isGate: true });
      }
    }
  }
  return gates;
}

function bytesOf(image: Image, { address, length }: SourceLine): Uint8Array {
  const segment = image.segmentAt(address);
  if (segment === undefined) return new Uint8Array(0);
  const start = Number(address - segment.address);
  return segment.bytes.subarray(start, start + length);
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** The instruction in a line; undefined for data, and where the text does not tell. */
function instructionOf(line: SourceLine): string | undefined {
  const { text } = line;
  if (isCompiled(line)) return text;
  let rest = text.replace(COMMENT, "").trim();
  while (LABEL.test(rest)) rest = rest.replace(LABEL, "");
  rest = rest.replace(TIMES, "");
  if (ONLY_PREFIX.test(rest)) return rest;
  // A name that is none of an instruction may stand for data: a macro's, or its parameter.
  return isMnemonic(/^\w+/.exec(rest.replace(PREFIXES, ""))?.[0] ?? "") ? rest : undefined;
}

/** The line as it stands in its file, where that is another than what a macro made of it. */
function ownText(image: Image, { file, line }: SourceLine): string {
  return image.sourceText(file, line)?.trim() ?? "";
}

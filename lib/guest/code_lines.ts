import type { Image } from "./image.ts";
import type { SourceLine } from "./image_init.ts";

/** A source line that became instructions. */
export interface CodeLine extends SourceLine {
  /**
   * Whether it has an instruction by which a CPU may come to a lower privilege (`iret`, a far `ret`, `sysret`,
   * `sysexit`), or into a guest of its own (`vmrun`, `vmlaunch`, `vmresume`).
   */
  readonly isGate: boolean;
}

const COMMENT = /;.*$/;
/** `again:`, and what may stand before an instruction besides. */
const LABEL = /^[\w.$@?#~]+\s*:\s*/;
/** NASM's pseudo-instructions that make data (NASM manual, 3.2), alone, behind a name without a colon, behind TIMES. */
const DATA =
  /^(?:[\w.$@?#~]+\s+)?(?:times\b.*[\s)\w])?(?:d[bwdqtoyz]|res[bwdqtoyz]|incbin|equ|istruc|iend|at|alignb)\b/i;
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
/** Behind these the next line is not executed by falling into it. */
const GOES_ELSEWHERE = /^(?:jmp|ret[nf]?[wdq]?|iret[wdq]?|hlt|ud[012]|sysret|sysexit)\b/i;

/** No instruction is longer: so far data that is executed may reach into the line behind it (Intel SDM volume 2, 2.3.11). */
const LONGEST_INSTRUCTION = 15;

/**
 * The source lines of an image that are instructions, by address. Of NASM's that is what their text says, since a byte
 * does not tell whether it is code; of compiled code each row of its line table, which begins with an instruction
 * (DWARF 5, 6.2.2). What is in doubt is left out: data, padding, prefixes by themselves, and what comes right behind
 * data that the code before it runs into.
 */
export function codeLines(image: Image): CodeLine[] {
  const found: CodeLine[] = [];
  let before:
    | { readonly line: SourceLine; readonly text: string; readonly isData: boolean }
    | undefined;
  let unsure = -1n;
  for (const line of image.lines) {
    const text = instructionOf(line);
    const isData = text === undefined;
    const end = line.address + BigInt(line.length);
    const follows = before !== undefined &&
      before.line.address + BigInt(before.line.length) === line.address;
    if (isData && line.length < LONGEST_INSTRUCTION) {
      const isReached = follows && !before!.isData && !GOES_ELSEWHERE.test(before!.text);
      // An opcode by hand takes what follows as its operand, or as the rest of its instruction.
      if (isReached || isPrefixes(image, line)) {
        unsure = end + BigInt(LONGEST_INSTRUCTION - line.length);
      }
    }
    const isCode = !isData && line.length > 0 && line.address >= unsure && !PADDING.test(text) &&
      !PADDING.test(ownText(image, line)) && !(follows && ONLY_PREFIX.test(before!.text));
    if (isCode) found.push({ ...line, isGate: GATE.test(text) });
    before = { line, text: text ?? "", isData };
  }
  return found;
}

/** The instruction in a line; undefined for data, and where the text that would tell is not there. */
function instructionOf({ file, text }: SourceLine): string | undefined {
  let rest = text.replace(COMMENT, "").trim();
  while (LABEL.test(rest)) rest = rest.replace(LABEL, "");
  const isAssembler = /\.(?:asm|nasm|inc|mac)$/i.test(file);
  if (rest === "") return isAssembler ? undefined : "";
  return DATA.test(rest) ? undefined : rest;
}

/** The line as it stands in its file, where that is another than what a macro made of it. */
function ownText(image: Image, { file, line }: SourceLine): string {
  return image.sourceText(file, line)?.trim() ?? "";
}

function isPrefixes(image: Image, { address, length }: SourceLine): boolean {
  const segment = image.segmentAt(address);
  if (segment === undefined) return false;
  const start = Number(address - segment.address);
  return segment.bytes.subarray(start, start + length).every((byte) => PREFIX_BYTES.has(byte));
}

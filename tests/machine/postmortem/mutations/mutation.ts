import type { SplitMix32 } from "../../../../lib/x86/split_mix.ts";

/** A change of a line of correct boot code. */
export interface Mutation {
  /** The line, from 1. */
  readonly line: number;
  /** What it was. */
  readonly was: string;
  /** What it is. */
  readonly is: string;
  /** What was done, in words. */
  readonly what: string;
}

/** A line that is one instruction; directives and data are none. */
const INSTRUCTION = /^ {4}(?!(?:bits|org|align|times|d[bwdq]|%)\b)[a-z]\w*(?: |$)/;
/** An entry of a descriptor table, or of page tables. */
const TABLE_ENTRY = /^ {4}dq (\d[^,]*)$/;
const ENTRY_BITS = 64;

/** A random change: an instruction is dropped, or a bit of a table entry turned. */
export function mutate(source: string, random: SplitMix32): Mutation {
  const lines = source.split("\n");
  const numbered = lines.map((text, index) => ({ text, line: index + 1 }));
  const entries = numbered.filter(({ text }) => TABLE_ENTRY.test(text));
  const instructions = numbered.filter(({ text }) => INSTRUCTION.test(text));
  if (random.below(2) === 0) {
    const { text, line } = instructions[random.below(instructions.length)];
    return { line, was: text.trim(), is: "", what: `dropped: ${text.trim()}` };
  }
  const { text, line } = entries[random.below(entries.length)];
  const bit = random.below(ENTRY_BITS);
  const [value, label] = TABLE_ENTRY.exec(text)![1].split(" + ");
  // A label has no value for the assembler's operators yet: the constant is what is turned.
  const turned = `    dq ((${value}) ^ (1 << ${bit}))${label === undefined ? "" : ` + ${label}`}`;
  return { line, was: text.trim(), is: turned, what: `bit ${bit} turned: ${text.trim()}` };
}

/** The source with the change made. */
export function mutated(source: string, { line, is }: Mutation): string {
  const lines = source.split("\n");
  lines[line - 1] = is;
  return lines.join("\n");
}

/** How far from the line of a dropped instruction, which has no bytes any more, a page must point. */
const NEAR = 2;

/**
 * Whether a page names what was changed: the line, by its number or in the source that it shows; of an instruction that
 * was dropped, a line beside it, or what it would have written, said to be as it was.
 */
export function isNamed(page: string, file: string, { line, is, was }: Mutation): boolean {
  const shown = [
    ...page.matchAll(new RegExp(`${RegExp.escape(file)}:(\\d+)`, "g")),
    ...page.matchAll(/^ *→? *(\d+) │/gm),
  ].map(([, number]) => Number(number));
  // An entry of 16 bytes has two lines, and its first one's name.
  if (is !== "") return shown.includes(line) || (was === "dq 0" && shown.includes(line - 1));
  if (shown.some((each) => Math.abs(each - line) <= NEAR)) return true;
  return missing(was).some((name) => page.includes(name)) || isAsAtBoot(page, was);
}

/** Whether a page says of the general register that an instruction would have written that nothing has written it. */
function isAsAtBoot(page: string, instruction: string): boolean {
  const register = /^mov e([abcd]x|[sd]i|[sb]p),/.exec(instruction)?.[1].toUpperCase();
  const said = new RegExp(`\\bR${register} \\(0x[\\da-f]+\\) is as it was at boot`);
  return register !== undefined && said.test(page.replaceAll(/\s+/g, " "));
}

const FULL_NAMES: Readonly<Record<string, string>> = { lgdt: "GDTR", lidt: "IDTR", ltr: "TR" };

/** How a page calls what an instruction would have written. */
function missing(instruction: string): string[] {
  const [mnemonic, destination = ""] = instruction.split(/[ ,]+/);
  const table = FULL_NAMES[mnemonic];
  if (table !== undefined) return [`${table} (`];
  if (mnemonic === "wrmsr") return ["EFER ("];
  if (destination === "cr0") return ["CR0 (", "CR0.PE = 0"];
  if (mnemonic === "jmp") return ["no far jump has loaded CS"];
  const register = /^(cr\d|[c-gs]s)$/.exec(destination)?.[1];
  if (register !== undefined) {
    return [`${register.toUpperCase()} (`, `${register.toUpperCase()} = `];
  }
  const address = /\[(0x[\da-f]+)\]/.exec(instruction)?.[1];
  return address === undefined ? [] : [` at ${address} `];
}

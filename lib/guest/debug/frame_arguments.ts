import { HostError, SystemError } from "../../ffi/errors.ts";
import type { FrameArguments, StoppedState } from "../image_init.ts";
import { MemoryFile, type ToolHost, toolHost } from "../tool.ts";
import { runReader } from "./binutils.ts";
import { coreFile } from "./core_file.ts";

/** `EI_CLASS` of an ELF file (elf.h). */
const EI_CLASS = 4;
const ELFCLASS64 = 2;

/** A file that has symbols and debug information, and what was added to the addresses that it was linked for. */
export interface SymbolFile {
  /** All of the ELF file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What was added. */
  readonly base: bigint;
}

/** Functions further out are not asked for. */
const MOST_FRAMES = 64;
const LONGEST_VALUE = 80;

/**
 * What keeps gdb to the files that it is given: what an ELF file has of scripts is not run, nothing is fetched, and no
 * value becomes a page of its own (gdb manual, "Auto-loading", "Print Settings").
 */
const SETTINGS: readonly string[] = [
  "set auto-load off",
  "set debuginfod enabled off",
  "set index-cache enabled off",
  "set width 0",
  "set backtrace past-main on",
  `set backtrace limit ${MOST_FRAMES}`,
  "set print entry-values if-needed",
  "set print elements 32",
  "set print repeats 8",
  "set print max-depth 3",
];

/**
 * Registers that a function may change and not restore (System V ABI, "Register Usage"). gdb takes them to have in a
 * caller what they have now. So it is asked twice, the second time with others in them, and what then differs is not
 * known.
 */
const NOT_RESTORED: Readonly<Record<32 | 64, readonly string[]>> = {
  32: ["rax", "rcx", "rdx"],
  64: ["rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"],
};
const CHANGED = 0x5a5a_5a5a_5a5a_5a5an;
/** As gdb has it of a register. */
const NOT_KNOWN = "<not saved>";

/** What gdb has said of frames, or why it has said nothing; both are missing where there is no gdb. */
export interface ArgumentsReading {
  readonly frames: readonly FrameArguments[];
  readonly complaint?: string;
}

/**
 * The functions in which a CPU has stopped, the innermost first, with what they were called with, as gdb finds it from
 * their debug information. Nothing is thrown.
 *
 * @param own How many functions are where the CPU is: one, and those that were inlined into it.
 */
export function frameArguments(
  files: readonly SymbolFile[],
  { bits: codeBits, registers, memory }: StoppedState,
  own: number,
  host: ToolHost = toolHost,
): ArgumentsReading {
  const bits = codeBits === 64 ? 64 : 32;
  const ofWidth = files.filter(({ bytes }) => (bytes[EI_CLASS] === ELFCLASS64) === (bits === 64));
  if (ofWidth.length === 0) return { frames: [] };
  const others = NOT_RESTORED[bits].map((name) => [name, (registers[name] ?? 0n) ^ CHANGED]);
  const threads = [registers, { ...registers, ...Object.fromEntries(others) }];
  try {
    using open = new DisposableStack();
    const pathOf = (name: string, bytes: Uint8Array<ArrayBuffer>) =>
      open.use(new MemoryFile(host.libc(), name, bytes)).path;
    const { text, complaint, isMissing } = runReader(host, "gdb", [
      ...["-batch", "-nx"],
      ...SETTINGS.flatMap((each) => ["-iex", each]),
      ...ofWidth.flatMap(({ bytes, base }) => {
        const offset = BigInt.asUintN(bits, base).toString(16);
        return ["-ex", `add-symbol-file ${pathOf("symbols", bytes)} -o 0x${offset}`];
      }),
      ...["-ex", `core-file ${pathOf("stopped guest", coreFile(threads, memory, bits))}`],
      ...threads.flatMap((_, index) => [`-thread-select ${index + 1}`, ...QUESTIONS])
        .flatMap((each) => ["-ex", `interpreter-exec mi2 "${each}"`]),
    ]);
    if (isMissing) return { frames: [] };
    const [frames = [], changed = []] = text.split(SELECTED).slice(1).map(framesIn);
    if (frames.length === 0) return { frames, complaint: complaint ?? "gdb: it finds no frame" };
    const [damage] = text.replace(MISSED, "").replace(OPTIMIZED_OUT, "").matchAll(DAMAGED);
    return {
      ...damage === undefined ? {} : { complaint: `gdb: ${damage[1]}` },
      frames: frames.map(({ address, values }, index) => ({
        address,
        values: values.map((value, at) =>
          index < own || changed[index]?.values[at] === value
            ? value
            : `${value.slice(0, value.indexOf("="))}=${NOT_KNOWN}`
        ),
      })),
    };
  } catch (error) {
    if (!(error instanceof HostError) && !(error instanceof SystemError)) throw error;
    return { frames: [], complaint: error.message };
  }
}

const QUESTIONS = ["-stack-list-frames", "-stack-list-arguments --all-values"] as const;

/** What `-thread-select` answers. */
const SELECTED = /^\^done,new-thread-id=.*$/m;
/** A frame of `-stack-list-frames`; one of `-stack-list-arguments`; an argument of that (gdb manual, "GDB/MI"). */
const ITEM =
  /frame=\{level="(\d+)"(?:,addr="(0x[0-9a-f]+)")?|\{name="((?:[^"\\]|\\.)*)",value="((?:[^"\\]|\\.)*)"\}/g;

function framesIn(text: string): FrameArguments[] {
  const frames: { address: bigint; values: string[] }[] = [];
  let frame: { values: string[] } | undefined;
  for (const [, level, address, name, value] of text.matchAll(ITEM)) {
    if (address !== undefined) frames.push({ address: BigInt(address), values: [] });
    else if (level !== undefined) frame = frames[Number(level)];
    else frame?.values.push(`${unquoted(name)}=${shortened(unquoted(value))}`);
  }
  return frames;
}

const unquoted = (text: string) => text.replace(/\\(["\\])/g, "$1");

/** Of a member gdb says so as if it were an error. */
const OPTIMIZED_OUT = /<error reading variable: value has been optimized out>/g;

/** gdb has the memory of the stack and of the image alone: what it misses beyond may be there. */
const MISSED = /\s*<error(?: reading variable)?: Cannot access memory at address 0x[0-9a-f]+>/g;
/** What it finds of a variable whose debug information is damaged. */
const DAMAGED = /<error reading variable: ([^"<>]+)>/g;

function shortened(value: string): string {
  const text = value.replace(MISSED, "").replace(OPTIMIZED_OUT, "<optimized out>")
    .replace(DAMAGED, "<cannot be read>");
  if (text === "") return "…";
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

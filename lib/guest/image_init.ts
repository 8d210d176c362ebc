import type { CodeBits } from "../x86/boot/cpu_state.ts";
import type { NamesOf } from "../x86/defined_entries.ts";
import type { Diagnostic } from "./diagnostic.ts";
import type { BootProtocol, ImageKind } from "./boot_protocol.ts";

/** A source line and the bytes that it became. */
export interface SourceLine {
  /** The linear address of its first byte, as the guest's code refers to it. */
  readonly address: bigint;
  /** How many bytes it became. */
  readonly length: number;
  /** The file it stands in: a path, or the URL of a module that is no local file. */
  readonly file: string;
  /** Its line in that file, from 1. For code out of a macro: the line that called the macro. */
  readonly line: number;
  /** The NASM text, without the white space around it. For code out of a macro: the line in the macro. */
  readonly text: string;
}

/** A stretch of guest memory that an image fills. */
export interface ImageSegment {
  /** The linear address of its first byte, as the guest's code refers to it. */
  readonly address: bigint;
  /**
   * The address where it lies when the guest is loaded, where that is another: `p_paddr` of an ELF file, a section's
   * start where it has a `vstart=`. Without it: `address`.
   */
  readonly loadAddress?: bigint;
  /** What it holds at the start. May be empty. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How many bytes of memory it takes. Those past `bytes` are zero (`.bss`). */
  readonly size: number;
}

/** A function at a place in code, and where in its source that is. What is not known is left out. */
export interface SourceFrame {
  /** Its name, demangled: `kernel::Queue::take`. */
  readonly name?: string;
  /** The path of its source file. */
  readonly file?: string;
  /** The line there, from 1: of the code itself, or of the call that was inlined. */
  readonly line?: number;
}

/** How the caller of a function is found, at an address in it (DWARF 5, 6.4). */
export interface UnwindRow {
  /** The canonical frame address, a register's value and an offset; undefined where an expression says it. */
  readonly cfa: { readonly register: string; readonly offset: bigint } | undefined;
  /** Where the caller's registers are, as offsets from there. `ra` is the return address. */
  readonly saved: readonly { readonly register: string; readonly offset: bigint }[];
}

/** A stopped CPU, as far as it takes to say what functions were called with. */
export interface StoppedState {
  /** How wide the code is. */
  readonly bits: CodeBits;
  /** The general registers, `rip` and `rflags`, by their names in 64-bit mode. */
  readonly registers: Readonly<Record<string, bigint>>;
  /** Stretches of memory by linear address: the stack, and whatever else values may be in. */
  readonly memory: readonly { readonly address: bigint; readonly bytes: Uint8Array }[];
}

/** What a function was called with. */
export interface FrameArguments {
  /** Where it goes on: a linear address. */
  readonly address: bigint;
  /** `name=value`, in the order in which it takes them. */
  readonly values: readonly string[];
}

/** What debug information says, by addresses as they were linked. */
export interface DebugInformation {
  /** What was not found, or could not be read, and why. */
  readonly notes: readonly string[];
  /** The functions at addresses, of each the innermost first. */
  framesAt(addresses: readonly bigint[]): (readonly SourceFrame[])[];
  /** How the caller is found of the function at an address; undefined where nothing is said of it. */
  unwindRowAt(address: bigint): UnwindRow | undefined;
  /** The ELF files that gdb needs to say what functions were called with; none where nothing says that. */
  readonly symbolFiles: readonly Uint8Array<ArrayBuffer>[];
  /** Those of some names that a compiler has mangled, each with its name in the source. */
  demangled(names: readonly string[]): ReadonlyMap<string, string>;
}

/** What an {@linkcode Image} is made of. */
export interface ImageInit {
  /** The stretches of memory it fills, by address, none overlapping. */
  readonly segments: readonly ImageSegment[];
  /** The address that it was assembled for. Without it: the lowest at which a segment is loaded. */
  readonly origin?: bigint;
  /** The linear address where execution starts. Without it: the origin. */
  readonly entry?: bigint;
  /** The width of the code at the entry. Without it: 16. */
  readonly bits?: CodeBits;
  /** Addresses by label. */
  readonly labels?: Readonly<Record<string, bigint>>;
  /** Constants by name (`equ`, offsets in a `struc`). */
  readonly constants?: Readonly<Record<string, bigint>>;
  /** Which source line became which bytes; a function reads them when they are asked for first. */
  readonly lines?: readonly SourceLine[] | (() => readonly SourceLine[]);
  /** The text of a line of a file, whether it became bytes or not; undefined where it is not known. */
  readonly sourceText?: (file: string, line: number) => string | undefined;
  /** The debug information of a linked file, and what was added to the addresses that it was linked for. */
  readonly debug?: { readonly info: DebugInformation; readonly base: bigint };
  /** What the assembler warned of. */
  readonly warnings?: readonly Diagnostic[];
  /** What kind of file it comes from. Without it: `"flat"`. */
  readonly kind?: ImageKind;
  /** What it is, for people: "multiboot kernel (ELF, 32 bits)". */
  readonly what?: string;
  /** How it is started, where it says so itself. */
  readonly protocol?: BootProtocol;
}

/** How a flat binary is to be taken. */
export interface FlatOptions {
  /** The address of its first byte, for which its code was made. */
  readonly origin: number | bigint;
  /** Where execution starts. Without it: the origin. */
  readonly entry?: number | bigint;
  /** The width of its code. Without it: 16. */
  readonly bits?: CodeBits;
  /** Addresses by name, for tests and failure pages. */
  readonly symbols?: Readonly<Record<string, number | bigint>>;
}

/** The names of a flat binary's options. */
export const FLAT_OPTIONS: NamesOf<FlatOptions> = {
  origin: "value",
  entry: "value",
  bits: "value",
  symbols: "value",
};

import { posix } from "node:path";
import { HostError, SystemError } from "../../ffi/errors.ts";
import { MemoryFile, type ToolHost, toolHost } from "../tool.ts";
import type { DebugInformation, SourceFrame, UnwindRow } from "../image_init.ts";
import { type Reader, type Reading, runReader } from "./binutils.ts";
import { UnwindTable } from "./unwind_table.ts";

/** A stretch of code and the source line that it comes from. */
export interface CodeRow {
  /** The linear address of its first byte, as it was linked. */
  readonly address: bigint;
  /** How many bytes it has. */
  readonly length: number;
  /** The path of the source file. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** An ELF file to be read. */
export interface DebugFile {
  /** All of it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How many bytes a section has, once it is unpacked; 0 where there is none of that name. */
  readonly sizeOf: (section: string) => number;
}

/** What debug information is read of. */
export interface DebugInfoInit {
  /** The file that has it. */
  readonly file: DebugFile;
  /** The one that has `.eh_frame`, where it was split off from that. */
  readonly frames?: DebugFile;
  /** What is to be said of it from the start. */
  readonly note?: string;
}

/** What a compiler of C++ (Itanium C++ ABI, 5.1) or Rust (RFC 2603) has mangled. */
const MANGLED = /^_[ZR]/;

/** Larger tables become hundreds of megabytes of text: of them single places are read. */
const LARGEST_TABLE = 8 << 20;

/**
 * A linked file's debug information (DWARF 2 to 5) as GNU binutils read it. Nothing is read before it is asked for, and
 * nothing is thrown: what could not be read is among the {@linkcode DebugInfo.notes}.
 */
export class DebugInfo implements DebugInformation {
  readonly #file: DebugFile;
  readonly #framesFile: DebugFile;
  readonly #host: ToolHost;
  readonly #notes: Set<string>;
  #unwindTable?: UnwindTable;
  readonly #frames: Map<bigint, readonly SourceFrame[]> = new Map();

  /** What is read by the programs of `host`. */
  constructor({ file, frames = file, note }: DebugInfoInit, host: ToolHost = toolHost) {
    this.#file = file;
    this.#framesFile = frames;
    this.#host = host;
    this.#notes = new Set(note === undefined ? [] : [note]);
  }

  /** See {@linkcode DebugInformation.notes}. */
  get notes(): readonly string[] {
    return [...this.#notes];
  }

  /**
   * The rows of its line tables, in no order.
   *
   * @param isCode Whether there is code at an address: linkers leave tables of functions that they have dropped.
   */
  rows(isCode: (address: bigint) => boolean): CodeRow[] {
    const table = this.#table(this.#file, "decodedline", [".debug_line"]);
    const stretches = stretchesOf(table).filter(({ address }) => isCode(address));
    const places = this.#ask([], stretches.map(({ address }) => address)).trimEnd().split("\n");
    const rows = stretches.flatMap((stretch, index) => {
      const { file, line } = placeOf(places[index] ?? "");
      return file === undefined || line === undefined ? [] : [{ ...stretch, file, line }];
    });
    if (rows.length === 0 && stretches.length > 0) {
      this.#notes.add("addr2line: it finds no line, though there is a table of them: damaged?");
    }
    return rows;
  }

  /** See {@linkcode DebugInformation.framesAt}. Empty where nothing is known of an address. */
  framesAt(addresses: readonly bigint[]): (readonly SourceFrame[])[] {
    const unknown = addresses.filter((address) => !this.#frames.has(address));
    if (unknown.length > 0) {
      const answers = this.#ask(["-a", "-f", "-i", "-C"], unknown).split(/^0x[0-9a-f]+\n/m).slice(
        1,
      );
      unknown.forEach((address, index) =>
        this.#frames.set(address, framesOf(answers[index] ?? ""))
      );
    }
    return addresses.map((address) => this.#frames.get(address)!);
  }

  /** See {@linkcode DebugInformation.unwindRowAt}. */
  unwindRowAt(address: bigint): UnwindRow | undefined {
    this.#unwindTable ??= new UnwindTable(
      [...new Set([this.#framesFile, this.#file])].map((file) =>
        this.#table(file, "frames-interp", [".eh_frame", ".debug_frame"])
      ).join(""),
    );
    return this.#unwindTable.at(address);
  }

  /** See {@linkcode DebugInformation.symbolFiles}. */
  get symbolFiles(): readonly Uint8Array<ArrayBuffer>[] {
    if (this.#file.sizeOf(".debug_info") === 0) return [];
    return [...new Set([this.#file.bytes, this.#framesFile.bytes])];
  }

  /** See {@linkcode DebugInformation.demangled}. */
  demangled(names: readonly string[]): ReadonlyMap<string, string> {
    const mangled = names.filter((name) => MANGLED.test(name) && !/\s/.test(name));
    if (mangled.length === 0) return new Map();
    const text = this.#guarded(() => {
      using input = this.#memoryFile("names", new TextEncoder().encode(mangled.join("\n")));
      return this.#noted(runReader(this.#host, "c++filt", ["-i", `@${input.path}`]));
    });
    const found = text.split("\n");
    return new Map(mangled.flatMap((name, index) => found[index] ? [[name, found[index]]] : []));
  }

  /** What sections of a file say, as text; none where there are none, or where that would be too much. */
  #table(file: DebugFile, what: string, sections: readonly string[]): string {
    const size = sections.reduce((sum, section) => sum + file.sizeOf(section), 0);
    if (size === 0) return "";
    if (size > LARGEST_TABLE) {
      const [has, limit] = [size, LARGEST_TABLE].map((bytes) => `${bytes >> 20} MiB`);
      this.#notes.add(`${sections.join(", ")}: ${has}, more than is read as a whole (${limit})`);
      return "";
    }
    return this.#read(file, "readelf", (path) => ["-W", `--debug-dump=${what}`, path]);
  }

  #ask(options: readonly string[], addresses: readonly bigint[]): string {
    if (addresses.length === 0) return "";
    const list = addresses.map((address) => `0x${address.toString(16)}\n`).join("");
    return this.#guarded(() => {
      // A command line has not room enough for all rows of a table.
      using input = this.#memoryFile("addresses", new TextEncoder().encode(list));
      const { path } = input;
      return this.#read(this.#file, "addr2line", (elf) => [...options, "-e", elf, `@${path}`]);
    });
  }

  #read({ bytes }: DebugFile, name: Reader, args: (path: string) => string[]): string {
    return this.#guarded(() => {
      using file = this.#memoryFile("debug information", bytes);
      return this.#noted(runReader(this.#host, name, args(file.path)));
    });
  }

  #noted({ text, complaint }: Reading): string {
    if (complaint !== undefined) this.#notes.add(complaint);
    return text;
  }

  #memoryFile(name: string, content: Uint8Array<ArrayBuffer>): MemoryFile {
    return new MemoryFile(this.#host.libc(), name, content);
  }

  #guarded(read: () => string): string {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof HostError) && !(error instanceof SystemError)) throw error;
      this.#notes.add(error.message);
      return "";
    }
  }
}

/** `kernel.c   17   0x100020   3   x`; the line `-` ends a sequence (binutils, `display_debug_lines_decoded`). */
const ROW = /^\S.*?\s(-|\d+)\s+(0x[0-9a-f]+|0)(?:\s.*)?$/gm;

/** From each row's address to the next one's, of those that have code in between. */
function stretchesOf(table: string): { address: bigint; length: number }[] {
  const found = new Map<bigint, number>();
  let before: bigint | undefined;
  for (const [, line, text] of table.matchAll(ROW)) {
    const address = BigInt(text);
    if (before !== undefined && before < address) found.set(before, Number(address - before));
    before = line === "-" ? undefined : address;
  }
  return [...found].map(([address, length]) => ({ address, length }));
}

/** `/src/kernel.c:17 (discriminator 3)`; `?` and `??` stand for what is not known. */
function placeOf(text: string): Pick<SourceFrame, "file" | "line"> {
  const [, file, line] = /^(.+):(\d+|\?)(?: \(discriminator \d+\))?$/.exec(text) ?? [];
  if (file === undefined || file === "??") return {};
  const path = posix.normalize(file);
  return Number(line) > 0 ? { file: path, line: Number(line) } : { file: path };
}

/** Rows in pairs: a function's name, and a place in it. */
function framesOf(answer: string): SourceFrame[] {
  const rows = answer.trimEnd().split("\n");
  const frames: SourceFrame[] = [];
  for (let index = 0; index + 1 < rows.length; index += 2) {
    const name = rows[index];
    const frame = { ...name === "??" ? {} : { name }, ...placeOf(rows[index + 1]) };
    if (Object.keys(frame).length > 0) frames.push(frame);
  }
  return frames;
}

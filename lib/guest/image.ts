import { checkNames, checkOptions } from "../x86/defined_entries.ts";
import { hex } from "../x86/hex.ts";
import { FLAT_OPTIONS, type FlatOptions, type ImageInit, type ImageSegment } from "./image_init.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";
import { checkAddress } from "./address.ts";
import { atCaller, callSite, checkFileIsThere, localPath } from "./call_site.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { frameArguments } from "./debug/frame_arguments.ts";
import { type ElfOptions, readElf } from "./elf.ts";
import type {
  FrameArguments,
  SourceFrame,
  SourceLine,
  StoppedState,
  UnwindRow,
} from "./image_init.ts";
import type { BootProtocol, ImageKind } from "./loaders/boot_protocol.ts";
import { type OpenOptions, readImageFile } from "./loaders/open_file.ts";
import { addressesOf, noSuchPlace } from "./source_places.ts";

/** {@linkcode Image.bytes} of images with wider gaps would exhaust the host: their segments still serve. */
const MAXIMUM_FLAT_SIZE = 1 << 30;

/**
 * A guest's code and data, ready to be placed in memory, with what is known of its source.
 *
 * @example
 * ```ts
 * import { Image } from "@vmexit/vmexit";
 * import { assertEquals } from "@std/assert";
 *
 * const image = Image.fromBytes(new Uint8Array([0x90, 0xf4]), { origin: 0x7c00 });
 * assertEquals(image.entry, 0x7c00n);
 * ```
 */
export class Image {
  /** The address that it was assembled or linked to be loaded at: that of the first of {@linkcode Image.bytes}. */
  readonly origin: bigint;
  /** The linear address where execution starts: the label `_start` where there is one, else the origin. */
  readonly entry: bigint;
  /** The width of the code at the entry. */
  readonly bits: CodeBits;
  /** The stretches of memory that it fills, in the order in which they lie when it is loaded. */
  readonly segments: readonly ImageSegment[];
  /**
   * Every label's linear address and every constant's value by name; a local label as `main.loop`.
   * {@linkcode Image.symbol} refuses a name that is not there.
   */
  readonly symbols: Readonly<Record<string, bigint>>;
  /** What the assembler warned of. */
  readonly warnings: readonly Diagnostic[];
  /** What kind of file it is. */
  readonly kind: ImageKind;
  /** How it is started, where the file says so itself: then `boot` follows that. */
  readonly protocol: BootProtocol | undefined;
  readonly #what: string;
  readonly #labels: readonly [name: string, address: bigint][];
  readonly #constants: ReadonlySet<string>;
  #lines: readonly SourceLine[] | (() => readonly SourceLine[]);
  readonly #sourceText: NonNullable<ImageInit["sourceText"]>;
  readonly #debug: ImageInit["debug"];
  #linesAreSorted = false;
  readonly #notes: Set<string> = new Set();
  #demangled?: ReadonlyMap<string, string>;
  #bytes?: Uint8Array<ArrayBuffer>;

  /**
   * Checks the segments and puts them in the order of their addresses.
   *
   * @throws {RangeError} When segments overlap, there is none, or an address is not one of 64 bits.
   */
  constructor(init: ImageInit) {
    this.segments = [...init.segments].sort((a, b) => order(loadAddressOf(a), loadAddressOf(b)));
    checkSegments(this.segments);
    const lowest = loadAddressOf(this.segments[0]);
    this.origin = checkAddress(init.origin ?? lowest, "an image's origin");
    if (lowest < this.origin) {
      throw new RangeError(
        `Cannot make an image with the origin ${hex(this.origin)}: it has bytes at ${
          hex(lowest)
        }, below it`,
      );
    }
    this.entry = checkAddress(init.entry ?? this.origin, "an image's entry");
    this.bits = init.bits ?? 16;
    // Without a prototype, so that `symbols.constructor` is what the guest defines or undefined.
    this.symbols = Object.freeze(
      Object.assign(Object.create(null), init.constants, init.labels),
    );
    this.#labels = Object.entries(init.labels ?? {}).sort(([, a], [, b]) => order(a, b));
    this.#constants = new Set(Object.keys(init.constants ?? {}));
    this.#lines = init.lines ?? [];
    this.#sourceText = init.sourceText ?? (() => undefined);
    this.#debug = init.debug;
    this.warnings = init.warnings ?? [];
    this.kind = init.kind ?? "flat";
    this.protocol = init.protocol;
    this.#what = init.what ?? "flat binary";
  }

  /**
   * An image of a file, of whatever kind: its headers say what it is ({@linkcode Image.kind}, in words
   * {@linkcode Image.description}), and `boot` starts it as its kind is started.
   *
   * - ELF executables of 32 and 64 bits, in the mode of the test's choice; position-independent ones are relocated.
   * - Kernels with a multiboot header (1 or 2), also without ELF, or a note for PVH; Linux kernels (bzImage). Option
   *   `kernel` of `boot` has the command line and files for them.
   * - ROMs, which end at 4 GiB and start at the reset vector; boot sectors, also of whole disks.
   * - Flat binaries, which are known by the option `origin`.
   *
   * @param path A path or `file:` URL. A relative one counts from the folder of the module that calls.
   * @throws {TypeError} When it is of no kind that can be started, such as an EFI application, or is given options that
   *   its kind does not take.
   * @throws {RangeError} When it is damaged: the message names the field of its header.
   * @throws {Deno.errors.NotFound} When there is no such file.
   * @throws {Deno.errors.NotCapable} When it may not be read.
   *
   * @example
   * ```ts no-eval
   * import { boot, Image } from "@vmexit/vmexit";
   *
   * const image = Image.open("../build/kernel.elf");
   * console.log(image.description); // multiboot kernel (ELF, 32 bits), 0x100000–0x1020ff, starts at 0x10000c
   * using vm = boot(image, { kernel: { commandLine: "test" } });
   * ```
   */
  static open(path: string | URL, options: OpenOptions = {}): Image {
    const { folder = "/" } = callSite(Image.open);
    return atCaller(Image.open, () => {
      const file = localPath(path, folder, "an image");
      checkFileIsThere(file);
      return imageOfFile(Deno.readFileSync(file), options, file);
    });
  }

  /**
   * {@linkcode Image.open} of a file's bytes.
   *
   * @param file The whole file.
   * @throws {TypeError | RangeError} As {@linkcode Image.open} does.
   *
   * @example
   * ```ts
   * import { Image } from "@vmexit/vmexit";
   * import { assertEquals } from "@std/assert";
   *
   * const sector = new Uint8Array(512);
   * sector.set([0xf4], 0);
   * sector.set([0x55, 0xaa], 510);
   * assertEquals(Image.fromFile(sector).kind, "boot-sector");
   * ```
   */
  static fromFile(file: Uint8Array, options: OpenOptions = {}): Image {
    return atCaller(Image.fromFile, () => imageOfFile(file, options));
  }

  /**
   * An image of a flat binary: its bytes as they are.
   *
   * @throws {TypeError} When `bytes` is not a `Uint8Array`.
   * @throws {RangeError} When it is empty, or an address is not one of 64 bits.
   */
  static fromBytes(bytes: Uint8Array, options: FlatOptions): Image {
    return atCaller(Image.fromBytes, () => flatImage(bytes, options));
  }

  /**
   * An image of a linked ELF executable for x86, 32 or 64 bits: its loadable segments, which lie at their physical
   * addresses (`p_paddr`), its entry there, and the symbols of its symbol table, at the virtual addresses that the
   * linker gave them. A kernel of the upper half that sets its page tables up by itself is known by its symbols before
   * and after.
   *
   * @throws {TypeError} When the file is not such an executable; the message says how to link one.
   * @throws {RangeError} When it is damaged.
   *
   * @example
   * ```ts
   * import { boot, Image, type Machine } from "@vmexit/vmexit";
   *
   * function bootKernel(path: string): Machine {
   *   return boot(Image.fromElf(Deno.readFileSync(path)), { mode: "long" });
   * }
   * ```
   */
  static fromElf(file: Uint8Array, options: ElfOptions = {}): Image {
    return atCaller(Image.fromElf, () => new Image(readElf(file, options)));
  }

  /**
   * {@linkcode Image.fromElf} of a file, named as `asm.file` names one.
   *
   * @param path A path or `file:` URL. A relative one counts from the folder of the module that calls.
   * @throws {TypeError} When the file is not such an executable; the message says how to link one.
   * @throws {RangeError} When it is damaged.
   * @throws {Deno.errors.NotFound} When there is no such file.
   * @throws {Deno.errors.NotCapable} When it may not be read.
   *
   * @example
   * ```ts no-eval
   * import { boot, Image } from "@vmexit/vmexit";
   *
   * using vm = boot(Image.elf("../build/kernel.elf"), { mode: "long" });
   * ```
   */
  static elf(path: string | URL, options: ElfOptions = {}): Image {
    const { folder = "/" } = callSite(Image.elf);
    return atCaller(Image.elf, () => {
      const file = localPath(path, folder, "an ELF file");
      checkFileIsThere(file);
      return new Image(readElf(Deno.readFileSync(file), options, file));
    });
  }

  /**
   * What it puts in memory from its origin on, gaps between its segments as zeros, without the zeros of a
   * `.bss` at its end. A copy of its own for every image, the same on every access.
   *
   * @throws {RangeError} When its segments lie more than 1 GiB apart. {@linkcode Image.segments} serves then.
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes ??= this.#flatten();
  }

  /**
   * Which source line became which bytes, by address. Those of an ELF file are read from its debug information (DWARF)
   * at the first access, by GNU binutils, where it has any: `gcc -g`, `nasm -g -F dwarf` (NASM 2.16 numbers the lines of
   * one section of code in each file right, and those of further ones wrong). {@linkcode Image.debugNotes} says why
   * there are none.
   */
  get lines(): readonly SourceLine[] {
    if (!this.#linesAreSorted) {
      const lines = typeof this.#lines === "function" ? this.#lines() : this.#lines;
      this.#lines = lines.flatMap((line) => this.#within(line))
        .sort((a, b) => order(a.address, b.address));
      this.#linesAreSorted = true;
    }
    return this.#lines as readonly SourceLine[];
  }

  /** The bytes of memory from its origin to its end, `.bss` included. */
  get size(): number {
    return Math.max(...this.segments.map((part) => this.offsetOf(part) + part.size));
  }

  /** What it is, where it lies and where it starts, in words. */
  get description(): string {
    return `${this.#what}, ${hex(this.origin)}–${
      hex(this.origin + BigInt(this.size - 1))
    }, starts at ${hex(this.entry)}`;
  }

  /** How many bytes a segment is loaded behind the origin. */
  offsetOf(segment: ImageSegment): number {
    return Number(loadAddressOf(segment) - this.origin);
  }

  /**
   * The address of a label or the value of a constant.
   *
   * @throws {RangeError} When the guest defines no such name. The message names the most similar ones.
   */
  symbol(name: string): bigint {
    const value = this.symbols[name];
    if (value !== undefined) return value;
    const error = noSuchPlace(this, name);
    Error.captureStackTrace(error, this.symbol);
    throw error;
  }

  /** Whether a symbol is a constant (`equ`, an offset in a `struc`), and no place in the image. */
  isConstant(name: string): boolean {
    return this.#constants.has(name);
  }

  /** The last label at or before the linear address, within the image, and how many bytes behind it that lies. */
  symbolAt(address: number | bigint):
    | { readonly name: string; readonly offset: number }
    | undefined {
    const linear = BigInt(address);
    const inside = this.lineOf(linear) !== undefined || this.segmentAt(linear) !== undefined;
    const index = lastNotAfter(this.#labels, linear, ([, value]) => value);
    if (!inside || index < 0) return undefined;
    const [name, value] = this.#labels[index];
    return { name, offset: Number(linear - value) };
  }

  /** The source line whose bytes cover the linear address. */
  lineOf(address: number | bigint): SourceLine | undefined {
    const linear = BigInt(address);
    const line = this.lines[lastNotAfter(this.lines, linear, (line) => line.address)];
    return line !== undefined && linear < line.address + BigInt(line.length) ? line : undefined;
  }

  /**
   * The functions that the code at linear addresses belongs to, of each address the innermost first: what was inlined
   * stands before that into which it was. Known of ELF files, by their debug information or their symbols; else empty.
   *
   * @example
   * ```ts no-eval
   * import { Image } from "@vmexit/vmexit";
   *
   * const image = Image.elf("../build/kernel.elf");
   * const [frames] = image.framesAt([image.symbol("panic")]);
   * console.log(frames[0].name, frames[0].file, frames[0].line); // panic /src/kernel.c 12
   * ```
   */
  framesAt(addresses: readonly (number | bigint)[]): (readonly SourceFrame[])[] {
    if (this.#debug === undefined) return addresses.map(() => []);
    const { info, base } = this.#debug;
    return info.framesAt(addresses.map((address) => BigInt.asUintN(64, BigInt(address) - base)));
  }

  /**
   * How the caller is found of the function at a linear address, as `.eh_frame` and `.debug_frame` of an ELF file have
   * it; undefined where nothing is said of it.
   */
  unwindRowAt(address: bigint): UnwindRow | undefined {
    if (this.#debug === undefined) return undefined;
    const { info, base } = this.#debug;
    return info.unwindRowAt(BigInt.asUintN(64, address - base));
  }

  /**
   * The functions in which a CPU has stopped, the innermost first, and what they were called with, as gdb reads the
   * debug information; none where there is no gdb, or that is not known.
   *
   * @param moved What is to be added to the image's addresses to have those of `state`.
   */
  argumentsOf(state: StoppedState, moved = 0n): readonly FrameArguments[] {
    if (this.#debug === undefined) return [];
    const { info, base } = this.#debug;
    const files = info.symbolFiles.map((bytes) => ({ bytes, base: base + moved }));
    const own = this.framesAt([state.registers.rip - moved])[0].length;
    const { frames, complaint } = frameArguments(files, state, Math.max(1, own));
    if (complaint !== undefined) this.#notes.add(complaint);
    return frames;
  }

  /** What of its debug information is not there, or could not be read, and why; known once it was asked for. */
  get debugNotes(): readonly string[] {
    return [...this.#debug?.info.notes ?? [], ...this.#notes];
  }

  /**
   * The text of a source line with its indentation, also of one that became no bytes: a label, a comment, an empty one.
   *
   * @param file As {@linkcode SourceLine.file} has it.
   * @param line From 1.
   * @returns Undefined where it is not known: of an ELF file, whose sources may not be there.
   */
  sourceText(file: string, line: number): string | undefined {
    return this.#sourceText(file, line);
  }

  /** The segment that has the linear address. */
  segmentAt(address: number | bigint): ImageSegment | undefined {
    const linear = BigInt(address);
    return this.segments.find((part) =>
      linear >= part.address && linear < part.address + BigInt(part.size)
    );
  }

  /**
   * The linear address of a place in the guest's source: of a label, of a function by its demangled name
   * (`"kernel::Queue::take"`), or of the first byte that a source line became (`"kernel.c:78"`). Of a line that was
   * inlined into several functions that of the lowest. Undefined where there is none.
   *
   * @param place A name; or a line, behind the end of its file's path.
   * @param line The line, from 1, where `place` is a file alone.
   */
  addressOf(place: string, line?: number): bigint | undefined {
    return addressesOf(this, line === undefined ? place : `${place}:${line}`)[0];
  }

  /** The symbols that a compiler has mangled (C++, Rust), each with its name in the source. */
  demangledNames(): ReadonlyMap<string, string> {
    return this.#demangled ??= this.#debug?.info.demangled(Object.keys(this.symbols)) ?? new Map();
  }

  /** A line as far as its segment reaches: a table's row has no end where another section's follows. */
  #within(line: SourceLine): SourceLine[] {
    const segment = this.segmentAt(line.address);
    if (segment === undefined) return [];
    const room = Number(segment.address + BigInt(segment.size) - line.address);
    return [line.length <= room ? line : { ...line, length: room }];
  }

  #flatten(): Uint8Array<ArrayBuffer> {
    const filled = this.segments.filter((segment) => segment.bytes.length > 0);
    const end = Math.max(0, ...filled.map((part) => this.offsetOf(part) + part.bytes.length));
    if (end > MAXIMUM_FLAT_SIZE) {
      throw new RangeError(
        `Cannot give the image's bytes in one piece: it reaches from ${hex(this.origin)} to ${
          hex(this.origin + BigInt(end))
        }; take its segments`,
      );
    }
    const bytes = new Uint8Array(end);
    for (const part of filled) bytes.set(part.bytes, this.offsetOf(part));
    return bytes;
  }
}

function imageOfFile(file: Uint8Array, options: OpenOptions, path?: string): Image {
  const init = readImageFile(file, options, path);
  if (init !== undefined) return new Image(init);
  const { origin, entry, bits, symbols } = options;
  return flatImage(file, { origin: origin!, entry, bits, symbols });
}

function flatImage(bytes: Uint8Array, options: FlatOptions): Image {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot make an image of ${typeof bytes}: give a Uint8Array, as Deno.readFileSync returns`,
    );
  }
  const given = options ?? {};
  checkOptions("make an image", given, FLAT_OPTIONS);
  const { origin, entry, bits = 16, symbols = {} } = given;
  checkNames("make an image with symbols", symbols);
  checkBits(bits);
  const address = checkAddress(origin, "an image's origin");
  return new Image({
    segments: [{ address, bytes: new Uint8Array(bytes), size: bytes.length }],
    entry: entry === undefined ? undefined : checkAddress(entry, "an image's entry"),
    bits,
    labels: Object.fromEntries(
      Object.entries(symbols).map((
        [name, value],
      ) => [name, checkAddress(value, `the symbol ${name}`)]),
    ),
  });
}

/** Where a segment lies when its image is loaded. */
export function loadAddressOf({ address, loadAddress = address }: ImageSegment): bigint {
  return loadAddress;
}

function checkBits(bits: unknown): void {
  if (bits === 16 || bits === 32 || bits === 64) return;
  throw new RangeError(`Cannot make an image of ${bits} bits: code on x86 has 16, 32 or 64`);
}

function checkSegments(segments: readonly ImageSegment[]): void {
  if (segments.every((segment) => segment.size === 0)) {
    throw new RangeError("Cannot make an image: it has no bytes; give it at least one instruction");
  }
  let end = 0n;
  let previous = "";
  for (const segment of segments) {
    if (segment.size === 0) continue;
    checkAddress(segment.address, "an image's segment address");
    const start = checkAddress(loadAddressOf(segment), "an image's segment address");
    const last = BigInt(segment.size - 1);
    checkAddress(segment.address + last, "an image's segment end");
    checkAddress(start + last, "an image's segment end");
    if (start < end) {
      throw new RangeError(
        `Cannot make an image: its segments at ${previous} and ${hex(start)} overlap`,
      );
    }
    end = start + last + 1n;
    previous = `${hex(start)} (${hex(segment.size)} bytes)`;
  }
}

const order = (a: bigint, b: bigint) => a < b ? -1 : a > b ? 1 : 0;

/** The index of the last item whose key is at most `key`, or -1. The items are sorted by it. */
function lastNotAfter<Item>(
  items: readonly Item[],
  key: bigint,
  keyOf: (item: Item) => bigint,
): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keyOf(items[middle]) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

import { hex } from "../x86/hex.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";
import { checkAddress } from "./address.ts";
import { atCaller, callSite, checkFileIsThere, localPath } from "./call_site.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { frameArguments } from "./debug/frame_arguments.ts";
import { type ElfOptions, readElf } from "./elf.ts";
import {
  checkSegments,
  flattened,
  lastNotAfter,
  loadAddressOf,
  order,
  symbolsOf,
} from "./image_parts.ts";
import { moved } from "./moved_image.ts";
import { flatImage } from "./flat_image.ts";
import type {
  FlatOptions,
  FrameArguments,
  ImageInit,
  ImageSegment,
  SourceFrame,
  SourceLine,
  StoppedState,
  UnwindRow,
} from "./image_init.ts";
import type { BootProtocol, ImageKind } from "./boot_protocol.ts";
import { type OpenOptions, readImageFile } from "./loaders/open_file.ts";
import { addressesOf, noSuchPlace } from "./source_places.ts";

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
  /** Images that the guest brings into memory by itself, by name: see {@linkcode Image.with}. */
  readonly others: ReadonlyMap<string, Image>;
  readonly #init: ImageInit;
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
   * @param others As {@linkcode Image.with} takes them.
   * @throws {RangeError} When segments overlap, there is none, or an address is not one of 64 bits.
   */
  constructor(init: ImageInit, others: Readonly<Record<string, Image>> = {}) {
    this.#init = init;
    this.others = new Map(Object.entries(others));
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
      Object.assign(Object.create(null), symbolsOf(this.others), init.constants, init.labels),
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
    return atCaller(Image.fromBytes, () => new Image(flatImage(bytes, options)));
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
    return this.#bytes ??= flattened(this.segments, this.origin);
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

  /**
   * This image, which knows others that the guest brings into memory by itself: a boot loader's kernel, a copy of itself
   * elsewhere. They are not loaded; lines, functions, callers and names are known of them, too. Names that several have
   * are this image's; `kernel:main` is that of the image that was given as `kernel`. Where two have code at an address,
   * it is taken to be that of this one, or of the first.
   *
   * @throws {TypeError} When one is no image.
   *
   * @example
   * ```ts
   * import { asm, Image } from "@vmexit/vmexit";
   * import { assertEquals } from "@std/assert";
   *
   * const kernel = Image.fromBytes(Uint8Array.of(0xf4), { origin: 0x10_0000, symbols: { main: 0x10_0000 } });
   * const sector = asm`jmp 0:0x600`.assemble({ origin: 0x7c00 }).with({ kernel });
   * assertEquals(sector.symbolAt(0x10_0000), { name: "main", offset: 0, image: "kernel" });
   * ```
   */
  with(others: Readonly<Record<string, Image>>): Image {
    for (const [name, other] of Object.entries(others ?? {})) {
      if (other instanceof Image) continue;
      throw new TypeError(
        `Cannot know the image ${name} as ${typeof other}: give an Image, such as Image.elf("kernel.elf")`,
      );
    }
    return new Image(this.#init, others);
  }

  /**
   * This image at other addresses than it was made for: its bytes are the same, and its entry, symbols and lines are
   * known where they are then. For code that runs wherever it is, or that moves itself.
   *
   * @param distance What is added to each address; may be negative.
   * @throws {RangeError} When an address becomes none.
   */
  movedBy(distance: number | bigint): Image {
    return atCaller(this.movedBy, () => new Image(moved(this.#init, BigInt(distance))));
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

  /**
   * The last label at or before the linear address, within the image, and how many bytes behind it that lies. Of one of
   * the {@linkcode Image.others} with that one's name.
   */
  symbolAt(address: number | bigint):
    | { readonly name: string; readonly offset: number; readonly image?: string }
    | undefined {
    const linear = BigInt(address);
    const [other, home] = this.#homeOf(linear);
    if (other !== undefined) {
      const symbol = home.symbolAt(linear);
      return symbol && { ...symbol, image: other };
    }
    const inside = this.lineOf(linear) !== undefined || this.segmentAt(linear) !== undefined;
    const index = lastNotAfter(this.#labels, linear, ([, value]) => value);
    if (!inside || index < 0) return undefined;
    const [name, value] = this.#labels[index];
    return { name, offset: Number(linear - value) };
  }

  /** The source line whose bytes cover the linear address. */
  lineOf(address: number | bigint): SourceLine | undefined {
    const linear = BigInt(address);
    const [other, home] = this.#homeOf(linear);
    if (other !== undefined) return home.lineOf(linear);
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
    const homes = addresses.map((address) => this.#homeOf(BigInt(address))[1]);
    // All of an image at once: each question starts a program. Its answers are kept.
    for (const home of new Set(homes)) {
      home.#ownFramesAt(addresses.filter((_, index) => homes[index] === home));
    }
    return addresses.map((address, index) => homes[index].#ownFramesAt([address])[0]);
  }

  #ownFramesAt(addresses: readonly (number | bigint)[]): (readonly SourceFrame[])[] {
    if (this.#debug === undefined) return addresses.map(() => []);
    const { info, base } = this.#debug;
    return info.framesAt(addresses.map((address) => BigInt.asUintN(64, BigInt(address) - base)));
  }

  /**
   * How the caller is found of the function at a linear address, as `.eh_frame` and `.debug_frame` of an ELF file have
   * it; undefined where nothing is said of it.
   */
  unwindRowAt(address: bigint): UnwindRow | undefined {
    const { info, base } = this.#homeOf(address)[1].#debug ?? {};
    if (info === undefined || base === undefined) return undefined;
    return info.unwindRowAt(BigInt.asUintN(64, address - base));
  }

  /**
   * The functions in which a CPU has stopped, the innermost first, and what they were called with, as gdb reads the
   * debug information; none where there is no gdb, or that is not known.
   *
   * @param moved What is to be added to the image's addresses to have those of `state`.
   */
  argumentsOf(state: StoppedState, moved = 0n): readonly FrameArguments[] {
    const place = state.registers.rip - moved;
    const [, home] = this.#homeOf(place);
    const files = [this, ...this.others.values()].flatMap((image) =>
      image.#debug?.info.symbolFiles.map((bytes) => ({
        bytes,
        base: image.#debug!.base + (image === home ? moved : 0n),
      })) ?? []
    );
    const own = this.framesAt([place])[0].length;
    const { frames, complaint } = frameArguments(files, state, Math.max(1, own));
    if (complaint !== undefined) this.#notes.add(complaint);
    return frames;
  }

  /** What of its debug information is not there, or could not be read, and why; known once it was asked for. */
  get debugNotes(): readonly string[] {
    return [
      ...this.#debug?.info.notes ?? [],
      ...this.#notes,
      ...[...this.others].flatMap(([name, { debugNotes }]) =>
        debugNotes.map((note) => `${name}: ${note}`)
      ),
    ];
  }

  /**
   * The text of a source line with its indentation, also of one that became no bytes: a label, a comment, an empty one.
   *
   * @param file As {@linkcode SourceLine.file} has it.
   * @param line From 1.
   * @returns Undefined where it is not known: of an ELF file, whose sources may not be there.
   */
  sourceText(file: string, line: number): string | undefined {
    return [this, ...this.others.values()]
      .map((image) => image.#sourceText(file, line))
      .find((text) => text !== undefined);
  }

  /** The segment that has the linear address, its own or one of the {@linkcode Image.others}. */
  segmentAt(address: number | bigint): ImageSegment | undefined {
    const linear = BigInt(address);
    return this.#ownSegmentAt(linear) ?? this.#homeOf(linear)[1].#ownSegmentAt(linear);
  }

  #ownSegmentAt(linear: bigint): ImageSegment | undefined {
    return this.segments.find((part) =>
      linear >= part.address && linear < part.address + BigInt(part.size)
    );
  }

  /** The image that has a linear address, with the name of one of the others; itself where none has it. */
  #homeOf(linear: bigint): readonly [name: string | undefined, image: Image] {
    const other = this.others.size === 0 || this.#ownSegmentAt(linear) !== undefined
      ? undefined
      : [...this.others].find(([, image]) => image.#ownSegmentAt(linear) !== undefined);
    return other ?? [undefined, this];
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
    return this.#demangled ??= new Map([
      ...[...this.others.values()].flatMap((other) => [...other.demangledNames()]),
      ...this.#debug?.info.demangled(this.#labels.map(([name]) => name)) ?? [],
    ]);
  }

  /** A line as far as its segment reaches: a table's row has no end where another section's follows. */
  #within(line: SourceLine): SourceLine[] {
    const segment = this.segmentAt(line.address);
    if (segment === undefined) return [];
    const room = Number(segment.address + BigInt(segment.size) - line.address);
    return [line.length <= room ? line : { ...line, length: room }];
  }
}

function imageOfFile(file: Uint8Array, options: OpenOptions, path?: string): Image {
  const { origin, entry, bits, symbols } = options;
  return new Image(
    readImageFile(file, options, path) ??
      flatImage(file, { origin: origin!, entry, bits, symbols }),
  );
}

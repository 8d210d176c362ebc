import { hex } from "../x86/hex.ts";
import { nearestNames } from "../x86/nearest_names.ts";
import type { CodeBits, FlatOptions, ImageParts, ImageSegment } from "./image_parts.ts";
import { atCaller, callSite, localPath } from "./call_site.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { type ElfOptions, readElf } from "./elf.ts";
import type { SourceLine } from "./image_parts.ts";

/** A label, and how far behind it an address lies. */
export interface SymbolOffset {
  /** The label. */
  readonly name: string;
  /** Bytes behind it. */
  readonly offset: number;
}

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
 * assertEquals(image.entry, 0x7c00);
 * ```
 */
export class Image {
  /** The guest-physical address that it was assembled for, and of the first of {@linkcode Image.bytes}. */
  readonly origin: number;
  /** The address where execution starts: the label `_start` where there is one, else the origin. */
  readonly entry: number;
  /** The width of the code at the entry. */
  readonly bits: CodeBits;
  /** The stretches of memory that it fills, by address. */
  readonly segments: readonly ImageSegment[];
  /**
   * Every label's address and every constant's value by name; a local label as `main.loop`. Values that a
   * `number` cannot hold exactly are left out. {@linkcode Image.symbol} refuses a name that is not there.
   */
  readonly symbols: Readonly<Record<string, number>>;
  /** Which source line became which bytes, by address. */
  readonly lines: readonly SourceLine[];
  /** What the assembler warned of. */
  readonly warnings: readonly Diagnostic[];
  readonly #labels: readonly [name: string, address: number][];
  #bytes?: Uint8Array<ArrayBuffer>;

  /**
   * Checks the parts and puts them in the order of their addresses.
   *
   * @throws {RangeError} When segments overlap, there is none, or an address is not a whole number from 0 to
   * 2^53 − 1.
   */
  constructor(parts: ImageParts) {
    this.segments = [...parts.segments].sort((a, b) => a.address - b.address);
    checkSegments(this.segments);
    this.origin = checkAddress("origin", parts.origin ?? this.segments[0].address);
    if (this.segments[0].address < this.origin) {
      throw new RangeError(
        `Cannot make an image with the origin ${hex(this.origin)}: it has bytes at ` +
          `${hex(this.segments[0].address)}, below it`,
      );
    }
    this.entry = checkAddress("entry", parts.entry ?? this.origin);
    this.bits = parts.bits ?? 16;
    // Without a prototype, so that `symbols.constructor` is what the guest defines or undefined.
    this.symbols = Object.freeze(
      Object.assign(Object.create(null), parts.constants, parts.labels),
    );
    this.#labels = Object.entries(parts.labels ?? {}).sort(([, a], [, b]) => a - b);
    this.lines = [...parts.lines ?? []].sort((a, b) => a.address - b.address);
    this.warnings = parts.warnings ?? [];
  }

  /**
   * An image of a flat binary: its bytes as they are.
   *
   * @throws {TypeError} When `bytes` is not a `Uint8Array`.
   * @throws {RangeError} When it is empty, or an address is not a whole number from 0 to 2^53 − 1.
   */
  static fromBytes(bytes: Uint8Array, options: FlatOptions): Image {
    return atCaller(Image.fromBytes, () => {
      if (!(bytes instanceof Uint8Array)) {
        throw new TypeError(
          `Cannot make an image of ${typeof bytes}: give a Uint8Array, as Deno.readFileSync returns`,
        );
      }
      const { origin, entry, bits, symbols } = options;
      return new Image({
        segments: [{ address: origin, bytes: new Uint8Array(bytes), size: bytes.length }],
        origin,
        entry,
        bits,
        labels: symbols,
      });
    });
  }

  /**
   * An image of a linked ELF executable for x86, 32 or 64 bits: its loadable segments at their physical addresses
   * (`p_paddr`), its entry, and the symbols of its symbol table.
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
      return new Image(readElf(Deno.readFileSync(file), options));
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

  /** The bytes of memory from its origin to its end, `.bss` included. */
  get size(): number {
    const ends = this.segments.map((segment) => segment.address + segment.size);
    return Math.max(...ends) - this.origin;
  }

  /**
   * The address of a label or the value of a constant.
   *
   * @throws {RangeError} When the guest defines no such name. The message names the most similar ones.
   */
  symbol(name: string): number {
    const value = this.symbols[name];
    if (value !== undefined) return value;
    const names = Object.keys(this.symbols);
    throw new RangeError(
      `Cannot find the symbol ${name}: ` +
        (names.length === 0
          ? "the image has no symbols"
          : `the image has none of that name; near it are ${nearestNames(name, names).join(", ")}`),
    );
  }

  /** The last label at or before `address`, within the image. */
  symbolAt(address: number): SymbolOffset | undefined {
    const inside = this.lineAt(address) !== undefined ||
      this.segments.some((part) => address >= part.address && address < part.address + part.size);
    const index = lastNotAfter(this.#labels, address, ([, value]) => value);
    if (!inside || index < 0) return undefined;
    const [name, value] = this.#labels[index];
    return { name, offset: address - value };
  }

  /** The source line whose bytes cover `address`. */
  lineAt(address: number): SourceLine | undefined {
    const line = this.lines[lastNotAfter(this.lines, address, (line) => line.address)];
    return line !== undefined && address < line.address + line.length ? line : undefined;
  }

  /**
   * The address of the first byte that a source line became.
   *
   * @param file The file's whole path, or the end of it: `"boot.asm"`.
   * @param line From 1.
   */
  addressOf(file: string, line: number): number | undefined {
    return this.lines.find((candidate) =>
      candidate.line === line &&
      (candidate.file === file || candidate.file.endsWith(`/${file}`))
    )?.address;
  }

  #flatten(): Uint8Array<ArrayBuffer> {
    const filled = this.segments.filter((segment) => segment.bytes.length > 0);
    const end = Math.max(this.origin, ...filled.map((part) => part.address + part.bytes.length));
    if (end - this.origin > MAXIMUM_FLAT_SIZE) {
      throw new RangeError(
        `Cannot give the image's bytes in one piece: it reaches from ${hex(this.origin)} to ${
          hex(end)
        }; ` +
          "take its segments",
      );
    }
    const bytes = new Uint8Array(end - this.origin);
    for (const part of filled) bytes.set(part.bytes, part.address - this.origin);
    return bytes;
  }
}

function checkAddress(what: string, address: number): number {
  if (Number.isSafeInteger(address) && address >= 0) return address;
  throw new RangeError(
    `Cannot use ${address} as an image's ${what}: it is not a whole number from 0 to 2^53 - 1`,
  );
}

function checkSegments(segments: readonly ImageSegment[]): void {
  if (segments.every((segment) => segment.size === 0)) {
    throw new RangeError("Cannot make an image: it has no bytes; give it at least one instruction");
  }
  let previous: ImageSegment | undefined;
  for (const segment of segments) {
    checkAddress("segment address", segment.address);
    checkAddress("segment end", segment.address + segment.size);
    if (previous !== undefined && segment.address < previous.address + previous.size) {
      throw new RangeError(
        `Cannot make an image: its segments at ${hex(previous.address)} (${
          hex(previous.size)
        } bytes) and ` +
          `${hex(segment.address)} overlap`,
      );
    }
    if (segment.size > 0) previous = segment;
  }
}

/** The index of the last item whose key is at most `key`, or -1. The items are sorted by it. */
function lastNotAfter<Item>(
  items: readonly Item[],
  key: number,
  keyOf: (item: Item) => number,
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

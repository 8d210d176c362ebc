import type { SourceLine } from "./image_init.ts";

/** A section as NASM placed it. */
export interface MapSection {
  /** Its name: `.text`. */
  readonly name: string;
  /** The address that its labels count from. */
  readonly virtualStart: bigint;
  /** The address where its bytes lie in the image. */
  readonly start: bigint;
  /** Bytes. */
  readonly length: number;
  /** Whether it has bytes in the image; else it is memory alone (`nobits`). */
  readonly hasBytes: boolean;
}

/** What the map file of `nasm -f bin` says. */
export interface NasmMap {
  /** The address that the source was assembled for. */
  readonly origin: bigint;
  /** In the order of the file. */
  readonly sections: readonly MapSection[];
  /** Addresses by label. */
  readonly labels: Readonly<Record<string, bigint>>;
  /** Constants by name. */
  readonly constants: Readonly<Record<string, bigint>>;
}

const ORIGIN = /^-- Program origin -+\s+([0-9A-F]+)$/m;
const SECTION =
  /^\s*([0-9A-F]+)\s+([0-9A-F]+)\s+[0-9A-F]+\s+([0-9A-F]+)\s+(progbits|nobits)\s+(\S+)$/gm;
const SYMBOL_GROUP = /^---- (No Section|Section (\S+)) -+$/;
const LABEL = /^\s*[0-9A-F]+\s+([0-9A-F]+)\s+(\S+)$/;
const CONSTANT = /^\s*([0-9A-F]+)\s+(\S+)$/;
const SYMBOLS_HEADING = "-- Symbols ---";

const SMALLEST_CONSTANT = -(2n ** 31n);

/** Names that NASM makes up for the labels inside macros. */
const MACRO_LOCAL = "..@";

/**
 * Reads the map that the directive `[map all FILE]` has `nasm -f bin` write (NASM manual, "map: Generating map
 * files"). Undefined when the text has no origin: it is no such map.
 *
 * @param firstLabel A label that is none of the source's own; its local labels (`first.next`) are: `.next`.
 */
export function parseMap(text: string, firstLabel?: string): NasmMap | undefined {
  const origin = ORIGIN.exec(text)?.[1];
  if (origin === undefined) return undefined;
  const sections = [...text.matchAll(SECTION)].map((
    [, virtualStart, start, length, kind, name],
  ) => ({
    name,
    virtualStart: BigInt(`0x${virtualStart}`),
    start: BigInt(`0x${start}`),
    length: parseInt(length, 16),
    hasBytes: kind === "progbits",
  }));
  return { origin: BigInt(`0x${origin}`), sections, ...parseSymbols(text, firstLabel) };
}

function parseSymbols(
  text: string,
  firstLabel: string | undefined,
): Pick<NasmMap, "labels" | "constants"> {
  const labels: Record<string, bigint> = Object.create(null);
  const constants: Record<string, bigint> = Object.create(null);
  const at = text.indexOf(SYMBOLS_HEADING);
  let inSection = false;
  for (const row of at < 0 ? [] : text.slice(at).split("\n")) {
    const group = SYMBOL_GROUP.exec(row);
    if (group !== null) inSection = group[2] !== undefined;
    const [, value, whole] = (inSection ? LABEL : CONSTANT).exec(row) ?? [];
    if (whole === undefined || whole === firstLabel || whole.startsWith(MACRO_LOCAL)) continue;
    const name = whole.startsWith(`${firstLabel}.`) ? whole.slice(firstLabel!.length) : whole;
    const integer = BigInt(`0x${value}`);
    if (inSection) labels[name] = integer;
    else constants[name] = constantValue(integer);
  }
  return { labels, constants };
}

/**
 * NASM writes -1 as 2^64 - 1. Small negative numbers are taken as such; a large one is more likely an upper address.
 */
function constantValue(value: bigint): bigint {
  const signed = BigInt.asIntN(64, value);
  return signed > SMALLEST_CONSTANT && signed < 0n ? signed : value;
}

/** What {@linkcode parseListing} needs beside the listing. */
export interface ListingContext {
  /** Where NASM placed the sections. */
  readonly sections: readonly MapSection[];
  /** The image's bytes, from `origin` on. */
  readonly bytes: Uint8Array;
  /** The address of the first of them. */
  readonly origin: bigint;
  /** The path of the file that an `%include` of this name reached. */
  includedFile(name: string): string;
}

/** One row of a listing. */
interface Row {
  readonly line: number;
  /** How deep in includes and macros. */
  readonly level: number;
  /** Its offset in its section, where it made bytes. */
  readonly offset?: number;
  /** The bytes as the listing shows them: `B8[3412]`, `90<rep Bh>`, `6162-`. */
  readonly shown: string;
  /** The white space before the text. */
  readonly indentation: string;
  readonly text: string;
}

interface Frame {
  file: string;
  line: number;
  /** What the frame above this one comes from: an include has a file and lines of its own. */
  inside: "include" | "repetition" | "macro";
}

interface Piece extends Omit<SourceLine, "address" | "length"> {
  readonly section: MapSection;
  readonly offset: number;
  readonly shown: string;
}

const ROW =
  /^\s*(\d+) (?:([0-9A-F]{8,}) ((?:[0-9A-F?[\]()-]|<[a-z][^>]*>)+))?\s*(?:<(\d{1,5})> ?)?(.*)$/;
/** Where the source begins in a row (`LIST_INDENT` of NASM's `asm/listing.c`). */
const TEXT_COLUMN = 40;
const LINE_DIRECTIVE = /^%line\s+(\d+)(?:\+\d+)?(?:\s+(.*))?$/;
const INCLUDE_DIRECTIVE = /^%include\s+(["'`]?)(.*?)\1\s*(?:;.*)?$/i;
const SECTION_DIRECTIVE = /^(\[\s*)?(?:section|segment)\s+([^\s\]]+)/i;
const SECTION_AGAIN = /^(?:__\??SECT\??__|endstruc|iend)\b/i;
const ABSOLUTE_DIRECTIVE = /^(\[\s*)?absolute\s/i;
const STRUCTURE = /^struc\s/i;
const DEFAULT_SECTION = ".text";

/** What a listing says of the source. */
export interface NasmListing {
  /** Which lines became which bytes. */
  readonly lines: SourceLine[];
  /** The text of every line that was assembled, with its indentation, by file and number. */
  readonly texts: ReadonlyMap<string, ReadonlyMap<number, string>>;
}

/**
 * Reads the source, and which lines of it became which bytes, from a listing of `nasm -l`. The bytes are compared with
 * the image's, and a line that does not agree is left out: better no line than a wrong one.
 */
export function parseListing(listing: string, context: ListingContext): NasmListing {
  const pieces: Piece[] = [];
  const texts = new Map<string, Map<number, string>>();
  const frames: Frame[] = [{ file: "", line: 0, inside: "macro" }];
  const sections = new SectionTracker(context.sections);
  for (const source of listing.split("\n")) {
    const row = parseRow(source);
    if (row === undefined) continue;
    const frame = enter(frames, row);
    const directive = LINE_DIRECTIVE.exec(row.text);
    if (directive !== null) {
      if (directive[2] !== undefined) frame.file = directive[2].trim();
      continue;
    }
    noteText(texts, frame, row);
    const section = sections.current;
    if (row.offset !== undefined && section?.hasBytes) {
      const last = pieces.at(-1);
      const continues = row.text === "" && last?.section === section;
      if (!continues) {
        const { file, line } = frame;
        const { offset, shown, text } = row;
        pieces.push({ file, line, text, section, offset, shown });
      }
    }
    sections.follow(row.text);
    const include = INCLUDE_DIRECTIVE.exec(row.text);
    frame.inside = include !== null
      ? "include"
      : /^%rep|^%endrep/i.test(row.text)
      ? "repetition"
      : "macro";
    if (include !== null) {
      frames[row.level + 1] = { file: context.includedFile(include[2]), line: 0, inside: "macro" };
    }
  }
  const lines = measure(pieces)
    .filter((line) => line.length > 0 && agrees(line, context))
    .map(publicPart);
  return { lines, texts };
}

/** A line's own row comes before those of what it expands to, and of the rest of its bytes. */
function noteText(texts: Map<string, Map<number, string>>, { file, line }: Frame, row: Row): void {
  let ofFile = texts.get(file);
  if (ofFile === undefined) texts.set(file, ofFile = new Map());
  if (!ofFile.has(line)) ofFile.set(line, row.indentation + row.text);
}

/** The innermost file and line at a row, with the frames above it dropped. */
function enter(frames: Frame[], row: Row): Frame {
  const { level } = row;
  // A macro that is not listed takes a level without a row.
  while (frames.length < level) frames.push({ ...frames[frames.length - 1] });
  const below = frames[level - 1];
  if (level > 0 && (frames.length <= level || below.inside !== "include")) {
    const line = below.inside === "repetition" ? row.line : below.line;
    frames[level] = { file: below.file, line, inside: "macro" };
  } else {
    frames[level].line = row.line;
  }
  frames.length = level + 1;
  return frames[level];
}

function parseRow(source: string): Row | undefined {
  const match = ROW.exec(source);
  // NASM repeats its messages in the listing, after a row of asterisks.
  if (match === null || match[5].startsWith("****")) return undefined;
  const [, line, offset, shown = "", level = "0", text] = match;
  return {
    line: Number(line),
    level: Number(level),
    ...(offset === undefined ? {} : { offset: parseInt(offset, 16) }),
    shown,
    // Behind the level, or from the column on in which rows without one begin.
    indentation: match[4] === undefined
      ? source.slice(TEXT_COLUMN, Math.max(TEXT_COLUMN, source.length - text.length))
      : /^\s*/.exec(text)![0],
    text: text.trim(),
  };
}

/** Which section the assembler is in, from the directives that it passes. */
class SectionTracker {
  readonly #sections: ReadonlyMap<string, MapSection>;
  /** Undefined in an absolute segment: a `struc`, or behind `absolute`. */
  current: MapSection | undefined;
  /** What `__?SECT?__` returns to: the last that a macro, and not a primitive in brackets, switched to. */
  #declared: MapSection | undefined;

  constructor(sections: readonly MapSection[]) {
    this.#sections = new Map(sections.map((section) => [section.name, section]));
    this.current = this.#declared = this.#sections.get(DEFAULT_SECTION);
  }

  follow(text: string): void {
    const section = SECTION_DIRECTIVE.exec(text);
    const absolute = ABSOLUTE_DIRECTIVE.exec(text);
    if (section !== null) this.#switch(this.#sections.get(section[2]), section[1] !== undefined);
    else if (absolute !== null) this.#switch(undefined, absolute[1] !== undefined);
    else if (STRUCTURE.test(text)) this.#switch(undefined, true);
    else if (SECTION_AGAIN.test(text)) this.current = this.#declared;
  }

  #switch(to: MapSection | undefined, primitive: boolean): void {
    this.current = to;
    if (!primitive) this.#declared = to;
  }
}

type Measured = SourceLine & Piece;

/** A line reaches to where the next of its section starts, so that `times` and `incbin` need no reading. */
function measure(pieces: readonly Piece[]): Measured[] {
  const ends = new Map<MapSection, number>();
  return pieces.toReversed().map((piece) => {
    const { section, offset } = piece;
    const end = ends.get(section) ?? section.length;
    ends.set(section, offset);
    return { ...piece, address: section.virtualStart + BigInt(offset), length: end - offset };
  }).reverse();
}

function agrees(line: Measured, { bytes, origin }: ListingContext): boolean {
  const shown = /^[0-9A-F]*/.exec(line.shown)![0].match(/../g) ?? [];
  const at = Number(line.section.start - origin) + line.offset;
  return shown.every((byte, index) => bytes[at + index] === parseInt(byte, 16));
}

function publicPart({ address, length, file, line, text }: Measured): SourceLine {
  return { address, length, file, line, text };
}

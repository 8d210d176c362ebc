import { nearestNames } from "../x86/nearest_names.ts";
import type { SourceLine } from "./image_init.ts";

/** What is asked of an image. */
export interface NamedCode {
  readonly symbols: Readonly<Record<string, bigint>>;
  readonly lines: readonly SourceLine[];
  readonly debugNotes: readonly string[];
  readonly others: ReadonlyMap<string, { readonly lines: readonly SourceLine[] }>;
  demangledNames(): ReadonlyMap<string, string>;
  symbolAt(address: bigint): { readonly name: string } | undefined;
}

/** `kernel.c:78`. */
const LINE = /^(.+):(\d+)$/;

/** How many lines on either side are named where one has no code. */
const LINES_NAMED = 2;

/**
 * The linear addresses of a place in the guest's source, the lowest first: of a label, of a function by its demangled name
 * (`kernel::Queue::take`, with or without its parameters), or of a line (`kernel.c:78`, by the end of the file's path)
 * where its code begins in each function that has it, those into which it was inlined too. Empty where there is none.
 */
export function addressesOf(image: NamedCode, place: string): bigint[] {
  const symbol = image.symbols[place];
  if (symbol !== undefined) return [symbol];
  const [, file, line] = LINE.exec(place) ?? [];
  if (file !== undefined) {
    return firstOfEachFunction(
      image,
      linesOfFile(image, file).filter((each) => each.line === Number(line)),
    );
  }
  const functions = new Set<bigint>();
  for (const [name, demangled] of image.demangledNames()) {
    if (isNamed(demangled, place)) functions.add(image.symbols[name]);
  }
  return [...functions].sort((a, b) => a < b ? -1 : 1);
}

/** Why there is no such place in a guest's source, and what is near. */
export function noSuchPlace(image: NamedCode, place: string): RangeError {
  const [, file, line] = LINE.exec(place) ?? [];
  const because = file === undefined
    ? noSuchSymbol(image, place)
    : linesOf(image).length === 0
    ? ["the image has no source lines", ...image.debugNotes].join("; ")
    : noSuchLine(image, file, Number(line));
  return new RangeError(
    `Cannot find ${file === undefined ? "the symbol " : ""}${place}: ${because}`,
  );
}

function noSuchSymbol({ symbols }: NamedCode, name: string): string {
  const names = Object.keys(symbols);
  return names.length === 0
    ? "the image has no symbols"
    : `the image has none of that name; near it are ${nearestNames(name, names).join(", ")}`;
}

function noSuchLine(image: NamedCode, file: string, line: number): string {
  const numbers = [...new Set(linesOfFile(image, file).map((each) => each.line))].sort((a, b) =>
    a - b
  );
  if (numbers.length === 0) {
    const files = [...new Set(linesOf(image).map((each) => each.file.split("/").at(-1)!))];
    return `no code comes from a file of that name; near it are ${
      nearestNames(file, files).join(", ")
    }`;
  }
  const near = [
    ...numbers.filter((each) => each < line).slice(-LINES_NAMED),
    ...numbers.filter((each) => each > line).slice(0, LINES_NAMED),
  ];
  return `no code comes from that line; the nearest that have some are ${near.join(", ")}`;
}

/** The lines of an image, and of the others that it knows. */
function linesOf(image: NamedCode): SourceLine[] {
  return [image, ...image.others.values()].flatMap(({ lines }) => lines);
}

function linesOfFile(image: NamedCode, name: string): SourceLine[] {
  return linesOf(image).filter(({ file }) => file === name || file.endsWith(`/${name}`));
}

function firstOfEachFunction(image: NamedCode, lines: readonly SourceLine[]): bigint[] {
  const first = new Map<string | undefined, bigint>();
  for (const { address } of lines) {
    const name = image.symbolAt(address)?.name.split(".")[0];
    if (!first.has(name)) first.set(name, address);
  }
  return [...first.values()];
}

/** Whether a demangled name is meant: `<kernel::Queue>::take`, `drivers::Disk::read(unsigned int) const`. */
function isNamed(demangled: string, name: string): boolean {
  const plain = demangled.replace(/^<([\w:]+)>::/, "$1::");
  return [demangled, plain].some((each) => each === name || each.startsWith(`${name}(`));
}

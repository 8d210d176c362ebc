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

/** NASM writes -1 as 2^64 - 1. Small negative numbers are taken as such; a large one is more likely an upper address. */
function constantValue(value: bigint): bigint {
  const signed = BigInt.asIntN(64, value);
  return signed > SMALLEST_CONSTANT && signed < 0n ? signed : value;
}

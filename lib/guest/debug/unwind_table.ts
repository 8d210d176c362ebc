import type { UnwindRow } from "../image_init.ts";

/** A function's rows, each from an address on. */
interface Function {
  readonly start: bigint;
  readonly end: bigint;
  readonly rows: readonly { readonly address: bigint; readonly row: UnwindRow }[];
}

/** `00000018 000000000000003c 0000001c FDE cie=00000000 pc=0000000000100070..00000000001000d6`. */
const FUNCTION = /^\S+ \S+ \S+ FDE cie=(\S+) pc=([0-9a-f]+)\.\.([0-9a-f]+)/;
/** `00000000 0000000000000014 00000000 CIE "zR" cf=1 df=-8 ra=16`: what its functions begin with. */
const COMMON = /^(\S+) \S+ \S+ CIE /;
const SECTION = /^Contents of the /;
const HEADER = /^\s*LOC\s+CFA\s+(.+)$/;
const ROW = /^([0-9a-f]+)\s+(\S+)\s+(.+)$/;
const CFA = /^(\w+)([+-]\d+)$/;
/** Of a column: saved at an offset from the CFA. All else is not saved, or by an expression, which is not followed. */
const SAVED = /^c([+-]\d+)$/;

/**
 * How the callers of functions are found (DWARF 5, 6.4), from the text of `readelf --debug-dump=frames-interp`, which
 * has run the instructions of `.eh_frame` and `.debug_frame`.
 */
export class UnwindTable {
  readonly #functions: readonly Function[];

  /** The table that is printed in `text`. */
  constructor(text: string) {
    this.#functions = readFunctions(text);
  }

  /** What holds at an address; undefined where nothing is said of it. */
  at(address: bigint): UnwindRow | undefined {
    const home = this.#functions.find(({ start, end }) => address >= start && address < end);
    return home?.rows.findLast((row) => row.address <= address)?.row;
  }
}

function readFunctions(text: string): Function[] {
  const functions: Function[] = [];
  const common = new Map<string, UnwindRow>();
  let columns: readonly string[] = [];
  let take: (address: bigint, row: UnwindRow) => void = () => {};
  for (const line of text.split("\n")) {
    const [, offset] = COMMON.exec(line) ?? [];
    const [, of, start, end] = FUNCTION.exec(line) ?? [];
    const [, names] = HEADER.exec(line) ?? [];
    const [, address, cfa, rules] = ROW.exec(line) ?? [];
    if (SECTION.test(line)) common.clear();
    else if (offset !== undefined) take = (_, row) => common.set(offset, row);
    else if (start !== undefined) {
      const first = common.get(of);
      const rows = first === undefined ? [] : [{ address: BigInt(`0x${start}`), row: first }];
      functions.push({ start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), rows });
      take = (address, row) => rows.push({ address, row });
    } else if (names !== undefined) columns = names.trim().split(/\s+/);
    else if (address !== undefined) {
      take(BigInt(`0x${address}`), rowOf(cfa, columns, rules.trim().split(/\s+/)));
    }
  }
  return functions;
}

function rowOf(cfa: string, columns: readonly string[], rules: readonly string[]): UnwindRow {
  const [, register, offset] = CFA.exec(cfa) ?? [];
  return {
    cfa: register === undefined ? undefined : { register: wide(register), offset: BigInt(offset) },
    saved: columns.flatMap((column, index) => {
      const [, at] = SAVED.exec(rules[index] ?? "") ?? [];
      return at === undefined ? [] : [{ register: wide(column), offset: BigInt(at) }];
    }),
  };
}

/** A register by the name that it has in 64-bit code. */
function wide(register: string): string {
  return register.replace(/^e(?=..$)/, "r");
}

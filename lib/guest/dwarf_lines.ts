import { permitted } from "./cache_folder.ts";
import type { SourceLine } from "./image_init.ts";

/** The sections of an ELF file that say which line became which code. */
export interface DebugSections {
  /** `.debug_line`. */
  readonly lines: Uint8Array;
  /** `.debug_line_str` and `.debug_str`: the names of files, since DWARF 5. */
  readonly lineStrings: Uint8Array;
  /** See above. */
  readonly strings: Uint8Array;
}

/** A row of the line table: from this address on, up to the next row's, the code is of this line. */
interface Row {
  readonly address: bigint;
  readonly file: number;
  readonly line: number;
  readonly isEnd: boolean;
}

// DWARF 5, 7.22: opcodes of line number programs, 7.5.6: forms, and 6.2.4.1: content types.
const DW_LNS = {
  copy: 1,
  advance_pc: 2,
  advance_line: 3,
  set_file: 4,
  const_add_pc: 8,
  fixed_advance_pc: 9,
} as const;
const DW_LNE = { end_sequence: 1, set_address: 2 } as const;
const DW_LNCT = { path: 1, directory_index: 2 } as const;
const DW_FORM = {
  data2: 0x05,
  data4: 0x06,
  data8: 0x07,
  string: 0x08,
  block: 0x09,
  data1: 0x0b,
  strp: 0x0e,
  udata: 0x0f,
  data16: 0x1e,
  line_strp: 0x1f,
} as const;
const LONG_FORMAT = 0xffff_ffff;
const VERSIONS = { first: 2, last: 5 } as const;
const LARGEST_OPCODE = 255;

/**
 * The source lines of linked code, from its DWARF line tables, versions 2 to 5 (DWARF 5, 6.2). What is damaged or of
 * another kind is left out: better no line than a wrong one. A line's text is empty where its file cannot be read
 * without asking.
 */
export function readDwarfLines(
  sections: DebugSections,
  texts: SourceTexts = new SourceTexts(),
): SourceLine[] {
  const found: SourceLine[] = [];
  const units = new Reader(sections.lines);
  try {
    while (!units.isAtEnd) {
      const { unit, isLong } = units.unit();
      for (const line of linesOf(unit, isLong, sections)) {
        found.push({ ...line, text: texts.at(line.file, line.line)?.trim() ?? "" });
      }
    }
  } catch (error) {
    // What is read past its end is damaged.
    if (!(error instanceof RangeError)) throw error;
  }
  return found;
}

function linesOf(
  unit: Reader,
  isLong: boolean,
  sections: DebugSections,
): Omit<SourceLine, "text">[] {
  const version = unit.u16();
  if (version < VERSIONS.first || version > VERSIONS.last) return [];
  if (version >= 5) unit.skip(2); // the sizes of an address and of a selector
  const programStart = unit.offset(isLong);
  const start = unit.position + programStart;
  const settings = {
    minimumLength: unit.u8(),
    operations: version >= 4 ? unit.u8() : 1,
    isStatement: unit.u8(),
    lineBase: unit.i8(),
    lineRange: unit.u8(),
    opcodeBase: unit.u8(),
  };
  const operands = Array.from({ length: settings.opcodeBase - 1 }, () => unit.u8());
  const files = version >= 5 ? fileTable(unit, isLong, sections) : oldFileTable(unit);
  unit.position = start;
  const rows = run(unit, settings, operands);
  return rows.slice(0, -1).flatMap((row, index) => {
    const { address } = rows[index + 1];
    const file = files[row.file];
    if (row.isEnd || row.line === 0 || file === undefined || address <= row.address) return [];
    return [{
      address: row.address,
      length: Number(address - row.address),
      file,
      line: row.line,
    }];
  });
}

/** Runs a line number program (DWARF 5, 6.2.5). */
function run(
  program: Reader,
  { minimumLength, lineBase, lineRange, opcodeBase }: Readonly<
    Record<"minimumLength" | "lineBase" | "lineRange" | "opcodeBase", number>
  >,
  operands: readonly number[],
): Row[] {
  const rows: Row[] = [];
  let [address, file, line] = [0n, 1, 1];
  const advance = (operations: number) => {
    address = BigInt.asUintN(64, address + BigInt(operations * minimumLength));
  };
  const append = (isEnd: boolean) => rows.push({ address, file, line, isEnd });
  while (!program.isAtEnd) {
    const opcode = program.u8();
    if (opcode >= opcodeBase) {
      const adjusted = opcode - opcodeBase;
      advance(Math.floor(adjusted / lineRange));
      line += lineBase + adjusted % lineRange;
      append(false);
    } else if (opcode === 0) {
      const length = program.uleb();
      const end = program.position + length;
      const extended = length === 0 ? undefined : program.u8();
      if (extended === DW_LNE.end_sequence) {
        append(true);
        [address, file, line] = [0n, 1, 1];
      } else if (extended === DW_LNE.set_address) {
        address = length === 9 ? program.u64() : BigInt(program.u32());
      }
      program.position = end;
    } else if (opcode === DW_LNS.copy) append(false);
    else if (opcode === DW_LNS.advance_pc) advance(program.uleb());
    else if (opcode === DW_LNS.advance_line) line += program.sleb();
    else if (opcode === DW_LNS.set_file) file = program.uleb();
    else if (opcode === DW_LNS.const_add_pc) {
      advance(Math.floor((LARGEST_OPCODE - opcodeBase) / lineRange));
    } else if (opcode === DW_LNS.fixed_advance_pc) {
      address += BigInt(program.u16());
    } else for (let index = 0; index < operands[opcode - 1]; index++) program.uleb();
  }
  return rows;
}

/** Of versions 2 to 4: files count from 1, and directory 0 is that of the compilation, which is not named here. */
function oldFileTable(unit: Reader): (string | undefined)[] {
  const folders = [""];
  for (let name = unit.string(); name !== ""; name = unit.string()) folders.push(name);
  const files: (string | undefined)[] = [undefined];
  for (let name = unit.string(); name !== ""; name = unit.string()) {
    files.push(joined(folders[unit.uleb()], name));
    unit.uleb(); // when it was changed
    unit.uleb(); // its length
  }
  return files;
}

function fileTable(unit: Reader, isLong: boolean, sections: DebugSections): string[] {
  const folders = entries(unit, isLong, sections).map(({ path }) => path);
  return entries(unit, isLong, sections).map(({ path, folder }) => joined(folders[folder], path));
}

function joined(folder: string | undefined, name: string): string {
  return name.startsWith("/") || !folder ? name : `${folder}/${name}`;
}

/** A table of folders or files, whose entries say by themselves what they are made of. */
function entries(
  unit: Reader,
  isLong: boolean,
  sections: DebugSections,
): { path: string; folder: number }[] {
  const format = Array.from({ length: unit.u8() }, () => ({
    content: unit.uleb(),
    form: unit.uleb(),
  }));
  const count = unit.uleb();
  const found: { path: string; folder: number }[] = [];
  while (format.length > 0 && found.length < count) {
    const entry = { path: "", folder: 0 };
    for (const { content, form } of format) {
      const value = unit.form(form, isLong, sections);
      if (content === DW_LNCT.path) entry.path = String(value);
      if (content === DW_LNCT.directory_index) entry.folder = Number(value);
    }
    found.push(entry);
  }
  return found;
}

/** The lines of source files, each read once. */
export class SourceTexts {
  readonly #files: Map<string, readonly string[]> = new Map();

  /** The text of a line, from 1; undefined where its file cannot be read without asking, or has no such line. */
  at(file: string, line: number): string | undefined {
    const known = this.#files.get(file) ?? linesOfFile(file);
    this.#files.set(file, known);
    return known[line - 1];
  }
}

function linesOfFile(file: string): readonly string[] {
  if (!file.startsWith("/") || !permitted(file, "read")) return [];
  try {
    return Deno.readTextFileSync(file).split(/\r?\n/);
  } catch {
    // It was built elsewhere: its lines have numbers all the same.
    return [];
  }
}

/** Reads a section from its start to its end. A read past it throws a `RangeError`. */
class Reader {
  position = 0;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get isAtEnd(): boolean {
    return this.position >= this.#view.byteLength;
  }

  /** What a table of lines takes, which begins with its length. */
  unit(): { unit: Reader; isLong: boolean } {
    const first = this.u32();
    const isLong = first === LONG_FORMAT;
    const length = isLong ? Number(this.u64()) : first;
    const start = this.position;
    this.skip(length);
    const { buffer, byteOffset } = this.#view;
    return { unit: new Reader(new Uint8Array(buffer, byteOffset + start, length)), isLong };
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  i8(): number {
    return this.#view.getInt8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** An offset into a section. */
  offset(isLong: boolean): number {
    return isLong ? Number(this.u64()) : this.u32();
  }

  /** An integer in LEB128 (DWARF 5, 7.6). */
  uleb(): number {
    return this.#leb().value;
  }

  /** The same, with a sign. */
  sleb(): number {
    const { value, scale, last } = this.#leb();
    return (last & 0x40) === 0 ? value : value - scale;
  }

  /** Text up to a NUL. */
  string(): string {
    const bytes: number[] = [];
    for (let byte = this.u8(); byte !== 0; byte = this.u8()) bytes.push(byte);
    return new TextDecoder().decode(new Uint8Array(bytes));
  }

  skip(length: number): void {
    const end = this.position + length;
    if (!(end <= this.#view.byteLength)) throw new RangeError("past the end");
    this.position = end;
  }

  /** A value in one of the forms that tables of files have. */
  form(form: number, isLong: boolean, { lineStrings, strings }: DebugSections): string | number {
    switch (form) {
      case DW_FORM.string:
        return this.string();
      case DW_FORM.line_strp:
        return stringAt(lineStrings, this.offset(isLong));
      case DW_FORM.strp:
        return stringAt(strings, this.offset(isLong));
      case DW_FORM.udata:
        return this.uleb();
      case DW_FORM.data1:
        return this.u8();
      case DW_FORM.data2:
        return this.u16();
      case DW_FORM.data4:
        return this.u32();
      case DW_FORM.data8:
        return Number(this.u64());
      case DW_FORM.data16:
        this.skip(16);
        return 0;
      case DW_FORM.block:
        this.skip(this.uleb());
        return 0;
      default:
        throw new RangeError(`form ${form} is not known`);
    }
  }

  #leb(): { value: number; scale: number; last: number } {
    let [value, scale] = [0, 1];
    for (;;) {
      const last = this.u8();
      value += (last & 0x7f) * scale;
      scale *= 0x80;
      if ((last & 0x80) !== 0) continue;
      if (!Number.isSafeInteger(value)) throw new RangeError("a number is too large");
      return { value, scale, last };
    }
  }

  #take(length: number): number {
    const { position } = this;
    this.position += length;
    return position;
  }
}

function stringAt(section: Uint8Array, offset: number): string {
  const reader = new Reader(section);
  reader.position = offset;
  return reader.string();
}

/** Registers that are read by their paths: `"rax"`, `"cs.base"`. */
interface ReadableRegisters {
  get(path: string): unknown;
}

const ROWS = [
  ["rip", "rflags"],
  ["rax", "rbx", "rcx", "rdx"],
  ["rsi", "rdi", "rbp", "rsp"],
  ["r8", "r9", "r10", "r11"],
  ["r12", "r13", "r14", "r15"],
  ["cr0", "cr2", "cr3", "cr4"],
  ["cr8", "efer", "apic_base"],
  ["dr0", "dr1", "dr2", "dr3"],
  ["dr6", "dr7"],
] as const;

const SEGMENTS = ["cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt"] as const;

/** The columns of a segment: fields of `kvm_segment`, their titles where they are shorter, and their hexadecimal digits. */
const COLUMNS = [
  { field: "selector", title: "selector", digits: 4 },
  { field: "base", title: "base", digits: 16 },
  { field: "limit", title: "limit", digits: 8 },
  { field: "type", title: "type", digits: 1 },
  { field: "present", title: "p", digits: 1 },
  { field: "dpl", title: "dpl", digits: 1 },
  { field: "db", title: "db", digits: 1 },
  { field: "s", title: "s", digits: 1 },
  { field: "l", title: "l", digits: 1 },
  { field: "g", title: "g", digits: 1 },
  { field: "avl", title: "avl", digits: 1 },
] as const;

const NAME_WIDTH = "apic_base".length;
const LIMIT_DIGITS = 4;
const QUADWORD_DIGITS = 16;

const inHex = (value: number | bigint, digits: number) => value.toString(16).padStart(digits, "0");

/** All registers but the FPU's and the vectors', as a table of text. */
export function registerDump(registers: ReadableRegisters): string {
  const get = (path: string) => registers.get(path) as bigint | number;
  const rows = ROWS.map((names) =>
    names.map((name) => {
      return `${name.padEnd(NAME_WIDTH)} ${inHex(get(name), QUADWORD_DIGITS)}`;
    }).join("  ")
  );
  const width = ({ title, digits }: typeof COLUMNS[number]) => Math.max(title.length, digits);
  const segment = (name: typeof SEGMENTS[number]) =>
    COLUMNS.map((column) =>
      inHex(get(`${name}.${column.field}`), column.digits).padEnd(width(column))
    );
  const table = (name: string, cells: readonly string[]) =>
    `${name.padEnd(NAME_WIDTH)} ${cells.join("  ")}`.trimEnd();
  const tables = (["gdt", "idt"] as const).map((name) => {
    const [base, limit] = [get(`${name}.base`), get(`${name}.limit`)];
    return table(name, [
      "    ".padEnd(8),
      inHex(base, QUADWORD_DIGITS),
      inHex(limit, LIMIT_DIGITS),
    ]);
  });
  return [
    ...rows,
    table("", COLUMNS.map((column) => column.title.padEnd(width(column)))),
    ...SEGMENTS.map((name) => table(name, segment(name))),
    ...tables,
  ].join("\n");
}

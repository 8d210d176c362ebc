import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { boot, Image } from "@vmexit/vmexit";
import { frameArguments } from "../../../lib/guest/debug/frame_arguments.ts";
import { type ToolHost, toolHost, type ToolResult } from "../../../lib/guest/tool.ts";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import { FREESTANDING, needs, run, TestFolder } from "./kernels.ts";

/** The page of a kernel in C that has called `stop`. */
function pageOf(source: string, folder: TestFolder, ...options: string[]): string {
  const file = `${folder.path}/kernel.c`;
  Deno.writeTextFileSync(file, source);
  run("gcc", "-g", ...FREESTANDING, ...options, "-o", `${file}.elf`, file);
  using vm = boot(Image.elf(`${file}.elf`), { mode: "long", memory: "4M" });
  assertThrows(() => vm.run(), Error, "IO out 0xf4");
  return statePage(vm);
}

const STOP = `__asm__ volatile("outb %b0, $0xf4" : : "a"(1));`;

Deno.test(
  needs(["gcc", "gdb"], "arguments are shown as their types have them: texts, structures, lists"),
  () => {
    using folder = new TestFolder();
    const page = pageOf(
      `struct place { short x, y; };
enum colour { RED, GREEN };
static void draw(const char *text, struct place place, enum colour colour, const char *elsewhere,
                 const int *values, char letter) {
  ${STOP}
}
void _start(void) {
  struct place place = {3, -4};
  int values[] = {1, 2};
  static char written[] = "as it was linked";
  written[0] = 'A';
  draw(written, place, GREEN, (char *)0x300000, values, 'x');
  for (;;) __asm__ volatile("hlt");
}
`,
      folder,
      "-O0",
    );
    const [, shown] = /kernel\.c:5 {2}draw\+0x[0-9a-f]+ \((.+)\)$/m.exec(page) ?? [];
    assertEquals(
      shown?.replaceAll(/0x(?!300000)[0-9a-f]+/g, "0x…"),
      `text=0x… <written> "As it was linked", place={x = 3, y = -4}, colour=GREEN, elsewhere=0x300000, ` +
        `values=0x…, letter=120 'x'`,
    );
  },
);

Deno.test(needs(["gcc", "gdb"], "a text without end is cut short"), () => {
  using folder = new TestFolder();
  const page = pageOf(
    `static void say(const char *text) { ${STOP} }
static char long_text[1000] = {[0 ... 998] = 'a', [0] = 'b', [3] = 'c'};
void _start(void) { say(long_text); for (;;) {} }
`,
    folder,
    "-O0",
  );
  const [row] = /^.*say\+.*$/m.exec(page)!;
  assert(row.length < 250, row);
});

Deno.test(
  needs(
    ["gcc", "gdb"],
    "a function that was interrupted, and what has called it, are shown without arguments",
  ),
  () => {
    using folder = new TestFolder();
    const file = `${folder.path}/kernel.c`;
    Deno.writeTextFileSync(
      file,
      `__asm__(".text\\n handler: mov $7, %edi\\n call tell\\n hlt");
void tell(int code) { ${STOP} }
static void work(int depth, int width) { __asm__ volatile("int3"); }
void _start(void) { work(3, 4); for (;;) {} }
`,
    );
    run("gcc", "-g", "-O0", ...FREESTANDING, "-o", `${file}.elf`, file);
    const image = Image.elf(`${file}.elf`);
    using vm = boot(image, { mode: "long", memory: "4M", gates: { 3: "handler" } });
    assertThrows(() => vm.run(), Error, "IO out 0xf4");
    const page = statePage(vm);
    const rows = [...page.matchAll(/(?:^ {2}| {2})(?:\S+:\d+ {2})?(\w+)\+0x[0-9a-f]+(.*)$/gm)];
    assertEquals(
      rows.map(([, name, rest]) => `${name}${rest}`).filter((row) => !row.includes(">")),
      [
        "tell (code=7)",
        "handler",
        "work  (interrupted there)",
        "_start",
      ],
    );
  },
);

Deno.test(
  needs(["gcc", "gdb"], "what an ELF file has for gdb to execute is not executed"),
  () => {
    using folder = new TestFolder();
    const proof = `${folder.path}/executed`;
    const page = pageOf(
      `__asm__(".pushsection .debug_gdb_scripts, \\"MS\\", @progbits, 1\\n"
  ".byte 4\\n .ascii \\"inlined\\\\n\\"\\n .ascii \\"open('${proof}', 'w')\\\\n\\"\\n .byte 0\\n"
  ".popsection");
static void stop(int code) { ${STOP} }
void _start(void) { stop(5); for (;;) {} }
`,
      folder,
      "-O0",
    );
    assertStringIncludes(page, "(code=5)");
    assertThrows(() => Deno.statSync(proof), Deno.errors.NotFound);
  },
);

const ELF_OF_64_BITS = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1);
const STATE = { bits: 64, registers: { rip: 0x10_0000n }, memory: [] } as const;

/** What is said of arguments on a host that answers so. */
const said = (run: ToolHost["run"], bytes = ELF_OF_64_BITS) =>
  frameArguments([{ bytes, base: 0n }], STATE, 1, { libc: toolHost.libc, run });

const answer = (result: Partial<ToolResult>) => (command: string): ToolResult => ({
  command,
  code: 0,
  stdout: "",
  stderr: "",
  ...result,
});

Deno.test("without gdb there are no arguments, and nothing is said of that", () => {
  const missing: ToolHost["run"] = () => {
    throw new Deno.errors.NotFound();
  };
  assertEquals(said(missing), { frames: [] });
  assertEquals(said(answer({ code: 127 })), { frames: [] });
});

Deno.test("of code that is not as wide as a file's gdb is not asked", () => {
  const never: ToolHost["run"] = () => {
    throw new Error("it was asked");
  };
  assertEquals(said(never, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 1, 1, 1)), { frames: [] });
});

Deno.test("what keeps gdb from saying something is noted", () => {
  const cases: [complaint: string, result: Partial<ToolResult>][] = [
    ["gdb did not end in 30 s", { code: 124 }],
    ["gdb was ended by signal 11", { code: 139 }],
    ["gdb: No symbol table", { stderr: "No symbol table\n" }],
    ["gdb: it finds no frame", { stdout: '^done,new-thread-id="1"\n' }],
  ];
  for (const [complaint, result] of cases) {
    assertEquals(said(answer(result)), { frames: [], complaint });
  }
});

/** What gdb prints of two threads in the same two functions. */
const printed = (inner: string, ...outer: string[]) =>
  outer.map((value, index) =>
    `^done,new-thread-id="${index + 1}",frame={level="0",addr="0x100000",args=[]}
^done,stack=[frame={level="0",addr="0x100000",func="f"},frame={level="1",addr="0x100020"}]
^done,stack-args=[frame={level="0",args=[{name="a",value="${inner}${index}"}]},` +
    `frame={level="1",args=[{name="b",value="${value}"},{name="c",value="7"}]}]
`
  ).join("");

Deno.test("what a caller had in a register that is not restored is not known", () => {
  assertEquals(said(answer({ stdout: printed("", "4", "1515870814") })).frames, [
    { address: 0x10_0000n, values: ["a=0"] },
    { address: 0x10_0020n, values: ["b=<not saved>", "c=7"] },
  ]);
  // Where the second answer is lost, nothing of callers is certain.
  assertEquals(said(answer({ stdout: printed("", "4") })).frames[1].values, [
    "b=<not saved>",
    "c=<not saved>",
  ]);
});

Deno.test("a value whose debug information is damaged is said to be so, and one that lies elsewhere is not", () => {
  const damaged = "<error reading variable: Corrupted DWARF expression.>";
  const elsewhere = "0x5 <error: Cannot access memory at address 0x5>";
  const missed = "<error reading variable: Cannot access memory at address 0x6>";
  assertEquals(said(answer({ stdout: printed("", damaged, damaged) })), {
    complaint: "gdb: Corrupted DWARF expression.",
    frames: [
      { address: 0x10_0000n, values: ["a=0"] },
      { address: 0x10_0020n, values: ["b=<cannot be read>", "c=7"] },
    ],
  });
  const unknown = "{x = <error reading variable: value has been optimized out>}";
  for (
    const [value, shown] of [
      [elsewhere, "b=0x5"],
      [missed, "b=…"],
      [unknown, "b={x = <optimized out>}"],
    ]
  ) {
    const { frames, complaint } = said(answer({ stdout: printed("", value, value) }));
    assertEquals([frames[1].values[0], complaint], [shown, undefined]);
  }
});

Deno.test("a value may hold anything", () => {
  const hostile = String.raw`\"x\"},frame={level=\"0\",args=[{name=\"y\",value=\"\\`;
  assertEquals(said(answer({ stdout: printed(hostile, "1", "1") })).frames[0].values, [
    String.raw`a="x"},frame={level="0",args=[{name="y",value="\0`,
  ]);
});

import { assertEquals, assertThrows } from "@std/assert";
import { boot, type BootOptions, Image } from "@vmexit/vmexit";
import { statePage } from "../../../lib/machine/report/state_page.ts";
import { needs, run, TestFolder } from "./kernels.ts";

const SOURCE = `__attribute__((noinline)) void stop(int code) {
  __asm__ volatile("outb %b0, $0xf4" : : "a"(code));
  for (;;) __asm__ volatile("hlt");
}
__attribute__((noinline)) int work(int depth) {
  if (depth == 0) stop(7);
  return work(depth - 1) * 2;
}
void _start(void) {
  work(1);
  for (;;) __asm__ volatile("hlt");
}
`;

/** Where the guest is, and how it came there: whatever it is linked for. */
const TOLD = ["stop:2 (code=7)", "work:6 (depth=0)", "work:7 (depth=1)", "_start:10"];

const OPTIONS: readonly string[] = [
  ...["-g", "-O1", "-fno-optimize-sibling-calls", "-ffreestanding", "-nostdlib"],
  ...["-fno-stack-protector", "-fcf-protection=none", "-Wl,--build-id=none"],
];

/** A kernel of the upper half, which is loaded at 1 MiB. */
const UPPER_HALF = `ENTRY(_start)
SECTIONS {
  . = 0xffffffff80100000;
  .text : AT(ADDR(.text) - 0xffffffff80000000) { *(.text*) }
  .eh_frame : AT(ADDR(.eh_frame) - 0xffffffff80000000) { *(.eh_frame*) }
  /DISCARD/ : { *(.note*) *(.comment) }
}
`;
const UPPER_HALF_OPTIONS = [
  ...["-static", "-no-pie", "-fno-pie", "-mcmodel=kernel", "-mno-red-zone"],
];

/** What the page of a guest says, which has stopped three calls deep: the lines, the functions and their arguments. */
function told(
  { gcc, script, options = {}, open = Image.elf }: {
    gcc: readonly string[];
    script?: string;
    options?: BootOptions;
    open?: (elf: string) => Image;
  },
): string[] {
  using folder = new TestFolder();
  const file = `${folder.path}/kernel.c`;
  Deno.writeTextFileSync(file, SOURCE);
  const linked = script === undefined ? [] : [`-Wl,-T,${folder.path}/kernel.ld`];
  if (script !== undefined) Deno.writeTextFileSync(`${folder.path}/kernel.ld`, script);
  run("gcc", ...OPTIONS, ...gcc, ...linked, "-o", `${file}.elf`, file);
  using vm = boot(open(`${file}.elf`), options);
  assertThrows(() => vm.run(), Error, "IO out 0xf4 byte 0x7");
  const rows = statePage(vm).matchAll(/kernel\.c:(\d+) {2}(\w+)(?:\+0x[0-9a-f]+)?( \(.*\))?/g);
  return [...rows].map(([, line, name, values = ""]) => `${name}:${line}${values}`);
}

const PIE = ["-fpie", "-static-pie", "-Wl,-z,notext"];
const mappings = [
  { linear: 0, size: 0x40_0000 },
  { linear: 0xffff_ffff_8000_0000n, physical: 0, size: 0x40_0000 },
];

const KINDS: Record<string, Parameters<typeof told>[0] & { told?: readonly string[] }> = {
  "position-independent": { gcc: PIE, options: { mode: "long", memory: "4M" } },
  "position-independent, at a base of the test's": {
    gcc: PIE,
    options: { mode: "long", memory: "8M" },
    open: (elf) => Image.elf(elf, { base: 0x40_0000 }),
  },
  "with debug information of version 2": {
    gcc: ["-static", "-no-pie", "-fno-pie", "-Wl,-Ttext=0x100000", "-gdwarf-2"],
    options: { mode: "long", memory: "4M" },
  },
  "with compressed debug information": {
    gcc: ["-static", "-no-pie", "-fno-pie", "-Wl,-Ttext=0x100000", "-gz"],
    options: { mode: "long", memory: "4M" },
  },
  "linked for another address than where it is": {
    gcc: ["-static", "-no-pie", "-fno-pie", "-Wl,-Ttext=0x100000"],
    options: { mode: "long", memory: "8M" },
    open: (elf) => Image.elf(elf, { base: 0x40_0000 }),
  },
  "of the upper half, before it has set paging up": {
    gcc: UPPER_HALF_OPTIONS,
    script: UPPER_HALF,
    options: { mode: "long", memory: "4M" },
  },
  "of the upper half": {
    gcc: UPPER_HALF_OPTIONS,
    script: UPPER_HALF,
    options: { mode: "long", memory: "4M", mappings, load: 0x10_0000 },
    open: (elf) => Image.elf(elf, { addresses: "virtual" }),
  },
  "of 32 bits": {
    gcc: ["-m32", "-static", "-no-pie", "-fno-pie", "-Wl,-Ttext=0x100000"],
    options: { mode: "protected", memory: "4M" },
  },
  "of 16 bits, at 0x7c00": {
    gcc: ["-m16", "-static", "-no-pie", "-fno-pie", "-Wl,-Ttext=0x7c00", "-Wl,-N"],
    options: { mode: "real", memory: "1M" },
  },
  "of 16 bits, with frame pointers alone": {
    gcc: [
      ...["-m16", "-static", "-no-pie", "-fno-pie", "-Wl,-Ttext=0x7c00", "-Wl,-N"],
      ...["-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"],
    ],
    options: { mode: "real", memory: "1M" },
    // Without a table gdb does not know what a caller had in its registers.
    told: TOLD.map((row) => row.replace(/(?<=depth=)\d/, "<optimized out>")),
  },
};

for (const [kind, guest] of Object.entries(KINDS)) {
  Deno.test(
    needs(["gcc", "gdb"], `a kernel in C has its lines, callers and arguments: ${kind}`),
    () => {
      assertEquals(told(guest), guest.told ?? TOLD);
    },
  );
}

import { asm, boot, disassemble, Image } from "@vmexit/vmexit";
import { assertMatch, assertThrows } from "@std/assert";

const flat = new Uint8Array([0xf4]);

/** What takes options beside `boot` and the runs, each with one that there is not, and the name that was meant. */
const MISSPELT: Record<string, [call: (vm: ReturnType<typeof booted>) => unknown, meant: string]> =
  {
    "a slot": [
      ({ memory }) => memory.addSlot({ gpa: 0x100_0000, size: "4K", readnoly: true } as never),
      "readonly",
    ],
    "the deletion of a slot": [
      ({ memory }) => memory.deleteSlot(memory.slots[0], { froce: true } as never),
      "force",
    ],
    "dirty pages": [({ memory }) => memory.dirty({ kep: true } as never), "keep"],
    "a notification of a port": [
      ({ ports }) => ports.notify(0x50, { lenght: 1 } as never),
      "length",
    ],
    "a notification of an address": [
      ({ mmio }) => mmio.notify(0x100_0000, { length: 1, datmatch: 2 } as never),
      "datamatch",
    ],
    "a breakpoint": [({ debug }) => debug.breakAt("here", { bye: "step" } as never), "by"],
    "a watchpoint": [({ debug }) => debug.watch("here", { sise: 2 } as never), "size"],
    "an exception": [
      ({ inject }) => inject.exception("#GP", { errorCode: 0, errorcode: 1 } as never),
      "errorCode",
    ],
    "an eventfd": [
      ({ interrupts }) => interrupts.eventfd(5, { resmple: true } as never),
      "resample",
    ],
    "a flat image": [() => Image.fromBytes(flat, { origin: 0, bts: 32 } as never), "bits"],
    "an ELF file": [() => Image.fromElf(flat, { adresses: "virtual" } as never), "addresses"],
    "assembly": [() => asm`hlt`.assemble({ orgin: 0x7c00 } as never), "origin"],
    "macros": [() => asm({ defin: { A: 1 } } as never), "define"],
    "an assembly file": [() => asm.file("x.asm", { inculde: [] } as never), "include"],
    "disassembly": [() => disassemble(flat, { bit: 32 } as never), "bits"],
  };

function booted() {
  return boot(
    asm`
    here:
      hlt
    `,
    { dirtyPages: "log", irqchip: true },
  );
}

for (const [name, [call, meant]] of Object.entries(MISSPELT)) {
  Deno.test(`an option of ${name} that there is not is refused, and not ignored`, () => {
    using vm = booted();
    const error = assertThrows(() => call(vm), TypeError, `the nearest are ${meant}`);
    assertMatch(error.stack!.split("\n").find((line) => /^ +at /.test(line))!, /options_test/);
  });
}

Deno.test("an option that is yes or no is true or false", () => {
  using vm = booted();
  assertThrows(() => vm.memory.dirty({ keep: "no" } as never), TypeError, "give true or false");
  assertThrows(
    () => vm.memory.addSlot({ gpa: 0x100_0000, size: "4K", readonly: 1 } as never),
    TypeError,
    "give true or false",
  );
});

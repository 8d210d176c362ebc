import { asm, boot, Image, UnhandledExitError } from "@vmexit/vmexit";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

const echo = () =>
  boot(asm`
    in  al, 0x42
    out 0x43, al
    hlt
  `);

Deno.test("run returns the exit that ended it, and handlers answer those before", () => {
  using vm = echo();
  const written: number[] = [];
  vm.ports.on(0x42, { read: () => 0x5a });
  vm.ports.on(0x43, { write: (_port, value) => void written.push(value) });
  assertEquals(vm.lastExit, undefined);
  const exit = vm.run();
  assertEquals(exit.reason, "HLT");
  assertEquals(vm.lastExit, exit);
  assertEquals(written, [0x5a]);
  assertEquals(vm.log.records().map(({ reason, answeredBy }) => [reason, answeredBy]), [
    [2, "handler"],
    [2, "handler"],
    [5, undefined],
  ]);
});

Deno.test("a machine runs on behind its HLT", () => {
  using vm = boot(asm`
    mov al, 1
    hlt
    mov al, 2
    hlt
  `);
  vm.run();
  assertEquals(vm.registers.al, 1);
  vm.run();
  assertEquals(vm.registers.al, 2);
});

Deno.test("an exit that nobody answers stops the run, and the run goes on once it has a handler", () => {
  using vm = echo();
  const error = assertThrows(() => vm.run(), UnhandledExitError, "vm.ports.on(0x42");
  assertEquals(error.exit.reason, "IO");
  assertEquals(vm.lastExit, error.exit);
  // Asked once more, it says the same: the read still waits.
  assertThrows(() => vm.run(), UnhandledExitError, "Nothing answers exit 1: IO in 0x42 byte");
  using _input = vm.ports.on(0x42, { read: () => 7 });
  assertThrows(() => vm.run(), UnhandledExitError, "Nothing answers exit 2: IO out 0x43 byte 0x7");
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.portOutput.bytes(0x43), new Uint8Array([7]));
});

Deno.test("a read that stopped the run can be answered by the test", () => {
  using vm = echo();
  assertThrows(() => vm.run(), UnhandledExitError);
  vm.answer(9);
  assertEquals(vm.registers.al, 9);
  vm.ports.on(0x43, { write() {} });
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("an MMIO exit that nobody answers says what to do", () => {
  using vm = boot(
    asm`
      mov al, [0x2000]
      mov [0x2001], al
      hlt
    `,
    { memory: "4K" },
  );
  assertThrows(() => vm.run(), UnhandledExitError, "vm.mmio.on(0x2000, { read:");
  vm.answer(0xbb);
  assertThrows(() => vm.run(), UnhandledExitError, "mmioWrite(0x2001)");
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.registers.al, 0xbb);
});

Deno.test("stop in a handler ends the run with that exit, its instruction finished", () => {
  using vm = echo();
  vm.ports.on([0x42, 0x43], { read: () => (vm.stop(), 0x5a), write: () => vm.stop() });
  const start = vm.registers.rip;
  const input = vm.run();
  assert(input.reason === "IO" && input.direction === "in");
  assertEquals([vm.registers.al, vm.registers.rip], [0x5a, start + 2n]);
  const output = vm.run();
  assert(output.reason === "IO" && output.direction === "out");
  assertEquals(vm.registers.rip, start + 4n);
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("stop outside of a run does not end the next one", () => {
  using vm = echo();
  vm.ports.on([0x42, 0x43], { read: () => 1, write() {} });
  vm.stop();
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("the exit port ends the run with a status", () => {
  using vm = boot(
    asm`
      mov ax, 0x1234
      out 0xf4, ax
      mov bl, 1
      hlt
    `,
    { exitPort: 0xf4 },
  );
  assertEquals(vm.exitStatus, undefined);
  const exit = vm.run();
  assert(exit.reason === "IO" && exit.port === 0xf4);
  assertEquals(vm.exitStatus, 0x1234);
  assertEquals(vm.log.latest?.answeredBy, "exit port");
  assertEquals(vm.registers.rip, BigInt(vm.image.origin) + 5n);
  assertEquals([vm.run().reason, vm.registers.bl], ["HLT", 1]);
});

Deno.test("a handler that throws: its exception surfaces as it is, and the machine can be used", () => {
  using vm = echo();
  const mistake = new Error("the device is on fire");
  let broken = true;
  vm.ports.on(0x42, {
    read() {
      if (broken) throw mistake;
      return 3;
    },
  });
  const thrown: unknown[] = [];
  vm.ports.on(0x43, {
    write() {
      throw thrown;
    },
  });
  const start = vm.registers.rip;
  assert(assertThrows(() => vm.run()) === mistake);
  assertEquals(vm.registers.rip, start);
  broken = false;
  assert(assertThrows(() => vm.run()) === thrown);
  // A write is done once the device has seen it, whatever the device makes of it.
  assertEquals([vm.registers.al, vm.registers.rip], [3, start + 4n]);
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("a handler can look at the machine, and write to its memory and registers", () => {
  using vm = boot(asm`
    mov bx, 0x700
    out 0x10, al
    mov cl, [bx]
    hlt
  `);
  vm.ports.on(0x10, {
    write() {
      assertEquals(vm.registers.bx, 0x700);
      vm.registers.bx = 0x800;
      vm.memory.setU8(0x800, 0x99);
    },
  });
  vm.run();
  assertEquals(vm.registers.cl, 0x99);
});

Deno.test("a machine cannot be run, stepped, answered or disposed from inside its own handler", () => {
  using vm = echo();
  const refused: string[] = [];
  vm.ports.on([0x42, 0x43], {
    read() {
      for (
        const use of [
          () => vm.run(),
          () => vm.step(),
          () => vm.exits().next(),
          () => vm.answer(1),
          () => vm[Symbol.dispose](),
        ]
      ) {
        const error = assertThrows(use, TypeError);
        refused.push(error.message);
      }
      return 0x21;
    },
    write() {},
  });
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.registers.al, 0x21);
  assertEquals(refused.length, 5);
  for (const message of refused) assertStringIncludes(message, "is running");
});

Deno.test("two machines live side by side, and one can be run from the other's handler", () => {
  using inner = echo();
  using outer = echo();
  inner.ports.on([0x42, 0x43], { read: () => 0x11, write() {} });
  outer.ports.on([0x42, 0x43], {
    read() {
      inner.run();
      return inner.registers.al + 1;
    },
    write() {},
  });
  outer.run();
  assertEquals([inner.registers.al, outer.registers.al], [0x11, 0x12]);
});

Deno.test("a guest of plain bytes boots without NASM", () => {
  const hlt = 0xf4;
  using vm = boot(Image.fromBytes(new Uint8Array([hlt]), { origin: 0x7c00 }));
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.registers.rip, 0x7c01n);
  assertEquals(vm.mode, "real");
});

Deno.test("an instruction that KVM cannot emulate is an error of the run that names it", () => {
  using vm = boot(asm`
    mov ax, 0xffff
    mov ds, ax
    mov byte [0xffff], 1  ; MMIO on the way: memory ends below
    hlt
  `);
  assertThrows(() => vm.run(), UnhandledExitError, "MMIO write 0x10ffef");
});

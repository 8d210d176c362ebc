import {
  asm,
  boot,
  expect,
  hlt,
  type ObservedExit,
  portIn,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertThrows } from "@std/assert";

const echo = () =>
  boot(asm`
    in  al, 0x42
    out 0x43, al
    hlt
  `);

Deno.test("exits gives each exit as it happens, up to the one that ends the guest", () => {
  using vm = echo();
  const seen: string[] = [];
  for (const { number, exit, answeredBy, value } of vm.exits()) {
    seen.push(`${number} ${exit.reason} ${answeredBy} ${value}`);
    if (exit.reason === "IO" && exit.direction === "in") vm.answer(0x5a);
  }
  assertEquals(seen, [
    "1 IO undefined undefined",
    "2 IO undefined 90",
    "3 HLT undefined undefined",
  ]);
  assertEquals(vm.log.records()[0].answeredBy, "the test");
});

Deno.test("exits: a read that nobody answers is an error at the next exit, and can be made good", () => {
  using vm = echo();
  const exits = vm.exits();
  exits.next();
  assertThrows(() => exits.next(), UnhandledExitError, "Nothing answers exit 1: IO in 0x42 byte");
  vm.answer(1);
  assertEquals([...vm.exits()].map(({ exit }) => exit.reason), ["IO", "HLT"]);
});

Deno.test("exits: handlers answer theirs, and are named", () => {
  using vm = echo();
  vm.ports.on(0x42, { name: "keyboard", read: () => 0x1c });
  const [input, output] = [...vm.exits()];
  assertEquals([input.answeredBy, input.value], ["keyboard", 0x1cn]);
  assertEquals([output.answeredBy, output.value], [undefined, 0x1cn]);
});

Deno.test("exits: the registers show each instruction's outcome while test code has control", () => {
  using vm = echo();
  const start = vm.registers.rip;
  const exits = vm.exits();
  exits.next();
  vm.answer(0x66);
  assertEquals([vm.registers.al, vm.registers.rip], [0x66, start + 2n]);
  exits.next();
  assertEquals(vm.registers.rip, start + 4n);
});

Deno.test("exits: stop in a handler, or between two, ends the iteration", () => {
  using vm = echo();
  vm.ports.on(0x42, { read: () => (vm.stop(), 1) });
  assertEquals([...vm.exits()].length, 1);
  const rest: ObservedExit[] = [];
  for (const exit of vm.exits()) {
    rest.push(exit);
    vm.stop();
  }
  assertEquals(rest.map(({ exit }) => exit.reason), ["IO"]);
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("exits: leaving the loop early leaves the machine usable", () => {
  using vm = echo();
  for (const _ of vm.exits()) break;
  vm.answer(4);
  vm.ports.on(0x43, { write() {} });
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("exits: what `before` answers no handler sees, and what it foresees without an answer they do", () => {
  using vm = echo();
  const written: number[] = [];
  vm.ports.on(0x42, { name: "device", read: () => 1 });
  vm.ports.on(0x43, { name: "device", write: (_port, value) => void written.push(value) });
  const before = vm.exits({
    before: (exit) =>
      exit.reason !== "IO"
        ? undefined
        : exit.direction === "in"
        ? { by: "script", bytes: new Uint8Array([0x20]) }
        : { by: "script" },
  });
  assertEquals([...before].map(({ answeredBy }) => answeredBy), ["script", "script", undefined]);
  assertEquals(written, [0x20]);
});

Deno.test("exits: an error of `before` surfaces, and the exit still waits", () => {
  using vm = echo();
  const mistake = new Error("no such script");
  const exits = vm.exits({
    before() {
      throw mistake;
    },
  });
  assert(assertThrows(() => exits.next()) === mistake);
  vm.answer(5);
  assertEquals(vm.registers.al, 5);
});

Deno.test("answer: only a read that waits, and only with a value that fits", () => {
  using vm = boot(
    asm`
    mov di, 0x700
    mov cx, 3
    mov dx, 0x42
    rep insw
    mov eax, [es:0x2000]
    hlt
  `,
    { slots: [{ gpa: 0x200000, size: "4K" }], memory: "4K" },
  );
  assertThrows(() => vm.answer(1), TypeError, "not a read that waits");
  const exits = vm.exits();
  exits.next();
  assertThrows(() => vm.answer(0x1_0000), RangeError, "2 bytes as 0x10000");
  assertThrows(() => vm.answer(-1), RangeError, "not a whole number of 16 bits");
  assertThrows(() => vm.answer(1.5), RangeError);
  assertThrows(() => vm.answer(new Uint8Array(5)), RangeError, "6 bytes with 5");
  vm.answer(0x1234);
  assertThrows(() => vm.answer(1), TypeError, "not a read that waits");
  exits.next();
  assertEquals(vm.memory.read(0x700, 6), new Uint8Array([0x34, 0x12, 0x34, 0x12, 0x34, 0x12]));
  vm.answer(0xdead_beefn);
  assertEquals(vm.registers.eax, 0xdead_beef);
});

Deno.test("answer takes the bytes of every element of a string instruction", () => {
  using vm = boot(asm`
    mov di, 0x700
    mov cx, 3
    mov dx, 0x42
    rep insb
    hlt
  `);
  vm.exits().next();
  vm.answer(new Uint8Array([1, 2, 3]));
  vm.run();
  assertEquals(vm.memory.read(0x700, 3), new Uint8Array([1, 2, 3]));
});

Deno.test("an answer to an instruction that rip was set away from is refused, by whoever gives it", () => {
  using vm = boot(asm`
    in   al, 0x42
    hlt
  elsewhere:
    hlt
  `);
  const elsewhere = vm.image.symbol("elsewhere");
  const message = "Cannot answer exit 1: rip, or cs, was set while the instruction waited";
  vm.exits().next();
  const { rip } = vm.registers;
  vm.registers.rip = elsewhere;
  assertThrows(() => vm.answer(5), TypeError, message);
  using handler = vm.ports.on(0x42, { read: () => 6 });
  assertThrows(() => vm.run(), TypeError, message);
  handler[Symbol.dispose]();
  vm.registers.set({ rip, ah: 7 });
  vm.answer(5);
  vm.registers.rip = elsewhere;
  vm.run();
  assertEquals([vm.registers.ax, vm.registers.rip], [0x705, elsewhere + 1n]);
});

Deno.test("an answer to a string instruction is in the log as its first element", () => {
  const guest = asm`
    mov di, 0x700
    mov cx, 2
    mov dx, 0x42
    rep insd
    hlt
  `;
  using vm = boot(guest);
  vm.exits().next();
  vm.answer(0xffff_fff0);
  assertEquals(vm.log.latest?.value, 0xffff_fff0n);

  using told = boot(guest);
  expect(told).toExit([portIn(0x42, 4).returns("QEMUQEMU"), hlt()]);
  assertEquals(told.log.records()[0].value, 0x554d_4551n);
  assertEquals(told.memory.read(0x700, 8), new TextEncoder().encode("QEMUQEMU"));
});

Deno.test("a transcript that ends in an IN leaves its answer in the register", () => {
  using vm = echo();
  const start = vm.registers.rip;
  expect(vm).toExit([portIn(0x42).returns(0xaa)]);
  assertEquals([vm.registers.al, vm.registers.rip], [0xaa, start + 2n]);
});

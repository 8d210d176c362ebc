import { asm, boot, exit, expect, hlt, type Machine, portIn, portOut } from "@vmexit/vmexit";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";

/** The line at which an error's stack begins. */
function firstFrame({ stack }: Error): string {
  return stack!.split("\n").find((line) => /^ +at .*:\d+:\d+\)?$/.test(line)) ?? "";
}

/** What is refused, and what the message says. */
const REFUSED: Record<string, [call: (vm: Machine) => unknown, message: string]> = {
  "an unknown register": [({ registers }) => (registers as never)["raxx"], "raxx"],
  "setting an unknown register": [
    ({ registers }) => (registers as unknown as { raxx: bigint }).raxx = 5n,
    "raxx",
  ],
  "a register that is no number": [({ registers }) => registers.rax = NaN, "rax as NaN"],
  "a part that is too wide": [({ registers }) => registers.al = 0x100, "wider than 8 bits"],
  "an unknown flag": [
    ({ registers }) => registers.rflags = { cff: true } as never,
    'flag "cff"',
  ],
  "a flag from a table that does not have it": [
    ({ registers }) => registers.rflags = { cf: ({} as { yes?: boolean }).yes } as never,
    "cf as undefined",
  ],
  "flags that are a promise": [
    ({ registers }) => registers.rflags = Promise.resolve({ cf: true }) as never,
    "a promise",
  ],
  "no flags": [({ registers }) => registers.rflags = {}, "it names nothing"],
  "one flag": [({ registers }) => registers.rflags.iopl = 7, "iopl"],
  "a whole flag register": [({ registers }) => registers.rflags.value = -1n, "rflags"],
  "a segment's base": [({ registers }) => registers.cs.base = -1n, "base"],
  "an unknown member of a segment": [
    ({ registers }) => (registers.cs as unknown as { bass: number }).bass = 1,
    "cs.bass",
  ],
  "a segment that is a promise": [
    ({ registers }) => registers.set({ cs: Promise.resolve({ base: 0n }) } as never),
    "a promise",
  ],
  "lanes of a vector": [({ registers }) => registers.xmm0.u8 = [1], "xmm0.u8"],
  "a number of x87": [({ registers }) => registers.st0.f64 = "1" as never, "st0.f64"],
  "an MP state": [(vm) => vm.mpState = "HALT" as never, "HALT"],
  "a handler that is no function": [(vm) => vm.on("HLT", {} as never), "give a function"],
  "a handler of a misspelt reason": [(vm) => vm.on("HALT" as never, () => {}), "HLT"],
  "a handler of an MSR that has neither method": [
    ({ msrs }) => msrs.on("LSTAR", { raed() {} } as never),
    "neither read nor write",
  ],
  "a handler of an MSR that is none": [
    ({ msrs }) => msrs.on("LSTAR", null as never),
    "by null: give { read, write }",
  ],
  "access to an MSR by a misspelt name": [
    ({ msrs }) => msrs.intercept("LSTAR", { wirte: false } as never),
    "the nearest are write",
  ],
  "a handler of a port that has neither method": [
    ({ ports }) => ports.on(0x80, { wirte() {} } as never),
    "neither read nor write",
  ],
  "a handler of an address that has neither method": [
    ({ mmio }) => mmio.on(0x100_0000, { wirte() {} } as never),
    "neither read nor write",
  ],
  "a handler of a port whose read is no function": [
    ({ ports }) => ports.on(0x80, { read: 5, write() {} } as never),
    "by a read that is 5: give a function",
  ],
  "an interrupt that is a text": [
    ({ inject }) => inject.interrupt("6" as never),
    "Cannot inject interrupt 6",
  ],
  "what is asked before each exit": [
    (vm) => vm.exits({ before: 5 as never }),
    "Cannot ask 5 before each exit",
  ],
  "an answer to nothing": [(vm) => vm.answer(5), "Cannot answer an exit"],
  "a byte that is a bigint": [
    (vm) => expect(vm).toHaveMemory(0x500, [0xf4n] as never),
    "Cannot store 244 as a byte: element 0 is a bigint; give a number",
  ],
  "a byte that is a text": [
    ({ memory }) => memory.write(0x500, ["244"] as never),
    'Cannot store "244" as a byte: element 0 is a string',
  ],
  "a port that is a bigint": [
    () => portOut(0x80n as never),
    "Cannot expect port 128: it is a bigint; give a number",
  ],
  "an option of a run": [(vm) => vm.run({ timout: 5 } as never), "the nearest are timeout"],
  "a run that is given a number": [(vm) => vm.run(500 as never), "give an object"],
  "an option of a step": [(vm) => vm.step({ timout: 5 } as never), "the nearest are timeout"],
  "an end that there is not": [(vm) => vm.run({ until: "halt" } as never), '"halt"'],
  "an option of an iteration": [
    (vm) => vm.exits({ timout: 5 } as never),
    "the nearest are timeout",
  ],
};

for (const [name, [call, message]] of Object.entries(REFUSED)) {
  Deno.test(`${name} is refused at the line of the test`, () => {
    using vm = boot(asm`hlt`);
    const error = assertThrows(() => call(vm), Error, message);
    assertMatch(firstFrame(error), /refused_at_line_test/);
    assert(!vm.hasRun);
  });
}

Deno.test("a machine that is disposed is refused at the line of the test, whatever is to run it", () => {
  const vm = boot(asm`hlt`);
  vm[Symbol.dispose]();
  for (
    const call of [
      () => vm.run(),
      () => vm.step(),
      () => vm.call(0x1000),
      () => vm.exits().next(),
      () => expect(vm).toExit([hlt()]),
    ]
  ) {
    const error = assertThrows(call, TypeError, "the machine is disposed");
    assertMatch(firstFrame(error), /refused_at_line_test/);
  }
});

Deno.test("errors of an iteration begin at the line that asks for the next exit", () => {
  using vm = boot(asm`
    in al, 0x60
    jmp $
  `);
  const loop = () => {
    for (const { exit } of vm.exits({ timeout: 5 })) assertEquals(exit.reason, "IO");
  };
  const unanswered = assertThrows(loop, Error, "Nothing answers exit 1");
  assertMatch(firstFrame(unanswered), /refused_at_line_test/);
  vm.answer(0);
  const late = assertThrows(loop, Error, "did not end within");
  assertMatch(firstFrame(late), /refused_at_line_test/);
});

Deno.test("what a handler's own code meets is told at its line, and not where the machine runs", () => {
  using vm = boot(asm`
    out 0x80, al
    hlt
  `);
  using other = boot(asm`jmp $`);
  const setWrongRegister = () => void (vm.registers.al = 0x100);
  const runOther = () => void other.run({ timeout: 5 });
  for (const [write, name] of [[setWrongRegister, "setWrong"], [runOther, "runOther"]] as const) {
    using _port = vm.ports.on(0x80, { write });
    vm.registers.rip = 0x1000;
    vm.registers.rip = vm.image.entry;
    const error = assertThrows(() => vm.run(), Error);
    assertMatch(firstFrame(error), new RegExp(name));
  }
});

Deno.test("a handler of SHUTDOWN that leaves the guest as it is says so at the line of the test", () => {
  using vm = boot(asm`
    bits 64
    ud2
  `);
  using _handler = vm.on("SHUTDOWN", () => {});
  const error = assertThrows(
    () => vm.run(),
    TypeError,
    "Cannot run on behind SHUTDOWN: its handler has set no registers",
  );
  assertMatch(firstFrame(error), /refused_at_line_test/);
});

Deno.test("an answer is a number, bytes or fields, as the exit takes them", () => {
  using vm = boot(asm`
    in al, 0x60
    out 0x80, al
    hlt
  `);
  for (const { exit: { reason } } of vm.exits()) {
    assertEquals(reason, "IO");
    break;
  }
  for (const wrong of [true, "5", [5], Promise.resolve(5), null, undefined, { ret: 5 }]) {
    const error = assertThrows(
      () => vm.answer(wrong as never),
      TypeError,
      "Cannot answer a read by",
    );
    assertMatch(firstFrame(error), /refused_at_line_test/);
  }
  vm.answer(5);
  expect(vm).toExit([portOut(0x80, 5), hlt()]);
});

Deno.test("exits that wait for fields are answered by no data, and a handler's true is no answer", () => {
  using vm = boot(asm`
    bits 64
    mov ecx, 0xc0000082
    rdmsr
    out 0x80, al
    hlt
  `);
  using _intercept = vm.msrs.intercept("LSTAR");
  for (const answer of [true, null, 5]) {
    using _handler = vm.on("X86_RDMSR", (() => answer) as never);
    assertThrows(() => vm.run(), TypeError, "returned none");
  }
  for (const wrong of [5, 5n, new Uint8Array(0), Promise.resolve({ data: 5 }), [5]]) {
    const error = assertThrows(
      () => vm.answer(wrong as never),
      TypeError,
      "Cannot answer X86_RDMSR by",
    );
    assertMatch(firstFrame(error), /refused_at_line_test/);
  }
  vm.answer({ data: 5 });
  expect(vm).toExit([portOut(0x80, 5), exit("HLT")]);
  assertEquals(portIn(0x60).minimum, 1);
});

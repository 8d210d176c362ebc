import {
  asm,
  boot,
  CallError,
  expect,
  GuestFaultError,
  type Machine,
  requires,
  TimeLimitError,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { callFrame } from "../../../lib/machine/run/routine_call.ts";
import { modes, needsOf } from "../../modes/modes.ts";

const driver = asm.file("../../../guests/uart_driver.asm");
const DATA = 0x3f8;
const LINE_STATUS = 0x3fd;
const TRANSMITTER_EMPTY = 0x20;
/** The port of the stub that a routine returns to. */
const STUB_PORT = 0xbe;

for (const { name, options, bits } of modes) {
  const test = (what: string, body: () => void) =>
    Deno.test(requires(needsOf(options), `${name}: ${what}`), body);

  test("a driver's routine runs by registers, with the machine's device, and the CPU stands as before", () => {
    using vm = boot(driver, options);
    const before = { rip: vm.registers.rip, rsp: vm.registers.rsp };
    for (const character of "ok") {
      vm.call("uart_putc", { al: character.charCodeAt(0), rbx: 0x1234 });
      assertEquals({ rip: vm.registers.rip, rsp: vm.registers.rsp }, before);
    }
    assertEquals(vm.serial.text, "ok");
    assertEquals([vm.registers.al, vm.registers.dx], ["k".charCodeAt(0), 0x3f8]);
    assertEquals(vm.registers.rbx, 0x1234n);
    assertEquals(vm.log.records().filter(({ address }) => address === STUB_PORT), []);
  });

  test("functions take their arguments by the C convention, and give results", () => {
    using vm = boot(driver, options);
    assertEquals(vm.call("uart_puts", ["greeting"]), 6n);
    assertEquals(vm.serial.text, "Hello!");
    assertEquals(vm.call("difference", [5, 7n], { returns: "i16" }), -2n);
    assertEquals(vm.call("difference", [5, 7]), BigInt.asUintN(bits, -2n));
    assertEquals(vm.call("difference", [-1, -3]), 2n);
    assertEquals(vm.call("eighth", [1, 2, 3, 4, 5, 6, 7, 0x888]), 0x888n);
  });

  test("a routine that leaves its stack or pops its caller's has not returned", () => {
    using vm = boot(driver, options);
    assertThrows(() => vm.call("unbalanced"), CallError, "unbalanced came back with rsp");
    assertThrows(() => vm.call("pops_argument", [1]), CallError, "came back with rsp");
  });
}

Deno.test("a driver waits for a device that handlers play", () => {
  using vm = boot(driver, { serial: false });
  let polls = 0;
  const sent: number[] = [];
  vm.ports.on(LINE_STATUS, { read: () => ++polls < 3 ? 0 : TRANSMITTER_EMPTY });
  vm.ports.on(DATA, { write: (_port, value) => void sent.push(Number(value)) });
  vm.call("uart_putc", { al: 0x41 });
  assertEquals([polls, sent], [3, [0x41]] as unknown[]);
});

/** Calls that must fail, and what they say. */
function refused(vm: Machine, call: () => unknown, kind: ErrorConstructorLike, text: string) {
  const { rip, rsp } = vm.registers;
  const error = assertThrows(call, kind, text);
  assertEquals([vm.registers.rip, vm.registers.rsp], [rip, rsp]);
  assertMatch(error.stack!.split("\n    at ")[1], /call_test\.ts/);
}

// deno-lint-ignore no-explicit-any -- any constructor of errors
type ErrorConstructorLike = new (...parameters: any[]) => Error;

Deno.test("what cannot be called is refused at the test's line, and the CPU stands as before", () => {
  using vm = boot(driver, { mode: "long" });
  refused(vm, () => vm.call("uart_putcc"), RangeError, "uart_putc");
  refused(vm, () => vm.call(-1), RangeError, "Cannot call -1: -1 is no linear address");
  refused(vm, () => vm.call(1.5), RangeError, "Cannot call 1.5");
  refused(vm, () => vm.call("uart_putc", { a1: 1 } as never), RangeError, "a1");
  refused(vm, () => vm.call("uart_putc", { al: undefined }), TypeError, "al as undefined");
  refused(vm, () => vm.call("uart_putc", { rip: 1 }), TypeError, "rip says where");
  refused(vm, () => vm.call("uart_putc", { "cs.base": 1 }), TypeError, "cs.base says where");
  refused(vm, () => vm.call("uart_putc", 0x41 as never), TypeError, "it is given 65");
  refused(
    vm,
    () => vm.call("difference", [1, undefined as never]),
    TypeError,
    "argument 1 is undefined",
  );
  // deno-lint-ignore no-sparse-arrays -- that is what is refused
  refused(vm, () => vm.call("difference", [1, , 2] as never), TypeError, "argument 1 is undefined");
  refused(
    vm,
    () => vm.call("uart_putc", new Map([["al", 0x41]]) as never),
    TypeError,
    "with a Map: give an object",
  );
  refused(
    vm,
    () => vm.call("uart_putc", Promise.resolve({ al: 0x41 }) as never),
    TypeError,
    "a promise",
  );
  refused(vm, () => vm.call("difference", [1.5]), TypeError, "argument 0 is 1.5");
  refused(vm, () => vm.call("difference", [1n << 64n]), RangeError, "does not fit 64 bits");
  refused(vm, () => vm.call("difference", ["nothing"]), RangeError, "nothing");
  refused(
    vm,
    () => vm.call("difference", [1, 2], { returns: "int" as never }),
    TypeError,
    'it cannot return "int" in 64-bit code',
  );
  refused(vm, () => vm.call("difference", [1, 2], { tiemout: 5 } as never), TypeError, "tiemout");
  refused(
    vm,
    () => vm.call("difference", [1, 2], { until: "halted" } as never),
    TypeError,
    "until",
  );
  refused(vm, () => vm.call("difference", [1, 2], { timeout: 0 }), RangeError, "0 ms");
  vm.registers.rsp = 0n;
  refused(vm, () => vm.call("uart_putc"), RangeError, "no memory for its stack, below rsp 0x0");
  vm.registers.rsp = 0x4000_0000n;
  refused(vm, () => vm.call("uart_putc"), RangeError, "no memory for its stack");
});

Deno.test("a narrow result is refused where registers cannot hold it", () => {
  using vm = boot(driver, { mode: "real" });
  assertThrows(
    () => vm.call("difference", [1, 2], { returns: "u64" }),
    TypeError,
    '"u32" or "i32"',
  );
});

Deno.test("a routine that ends otherwise has not returned: the error has the page, and its trace the test's line", () => {
  using vm = boot(driver, { exitPort: 0xf4 });
  const error = assertThrows(() => vm.call("halts"), CallError);
  assertMatch(error.message, /^halts did not return: the run ended with HLT\.\n\n.*guest at /s);
  assertMatch(error.message, /uart_driver\.asm/);
  assertMatch(error.stack!.split("\n    at ")[1], /call_test\.ts/);
  assertEquals((error as CallError).exit?.reason, "HLT");
});

Deno.test("a triple fault, an unhandled exit, a breakpoint, stop(), the exit port, a fault and the time limit are told", () => {
  const guest = asm`
    bits 64
    hlt
  faults:
    ud2
    ret
  reads:
    in al, 0x60
    ret
  exits:
    mov al, 3
    out 0xf4, al
    ret
  stops:
    out 0x61, al
    ret
  breaks:
    nop
  .here:
    ret
  loops:
    jmp loops
  `;
  using vm = boot(guest, { exitPort: 0xf4 });
  const told = (routine: string, kind: ErrorConstructorLike, text: string, timeout?: number) => {
    const error = assertThrows(() => vm.call(routine, [], { timeout }), kind, text);
    assertMatch(error.message, new RegExp(`^${routine} did not return`));
    assertMatch(error.stack!.split("\n    at ")[1], /call_test\.ts/);
    assert(error.stack!.includes(`${routine} did not return`));
  };
  vm.ports.on(0x61, { write: () => vm.stop() });
  told("reads", UnhandledExitError, "in 0x60");
  assertThrows(() => vm.call("exits"), TypeError, "waits for its answer");
  vm.answer(0);
  told("exits", CallError, "out 0xf4");
  assertEquals(vm.exitStatus, 3);
  told("stops", CallError, "out 0x61");
  told("loops", TimeLimitError, "did not end", 5);
  {
    using _point = vm.debug.breakAt("breaks.here");
    told("breaks", CallError, "DEBUG");
  }
  told("faults", UnhandledExitError, "it triple-faulted");
  assertThrows(() => vm.call("loops"), TypeError, "its guest has shut down");

  using catching = boot(guest, { catchFaults: true });
  const error = assertThrows(
    () => catching.call("faults"),
    GuestFaultError,
    "faults did not return. #UD",
  );
  assertEquals((error as GuestFaultError).fault.name, "#UD");
});

Deno.test("a routine that returns to elsewhere has not returned", () => {
  using vm = boot(asm`
    bits 64
    hlt
  strays:
    mov qword [rsp], elsewhere
    ret
  elsewhere:
    hlt
  `);
  assertThrows(() => vm.call("strays"), CallError, "strays did not return: the run ended with HLT");
  using other = boot(
    asm`
    bits 64
    hlt
  comes_far:
    retfq
  `,
    { catchFaults: true },
  );
  assertThrows(() => other.call("comes_far"), GuestFaultError, "comes_far did not return");
});

Deno.test("a handler cannot call: the machine that waits for its answer is running", () => {
  using vm = boot(driver, { serial: false });
  vm.ports.on(LINE_STATUS, { read: () => Number(vm.call("uart_getc")) });
  assertThrows(() => vm.call("uart_getc"), TypeError, "the machine is running");
});

Deno.test("a guest that has halted still has: the call is none of its exits", () => {
  using vm = boot(driver);
  vm.run();
  vm.call("uart_putc", { al: 0x41 });
  expect(vm).toBeHalted();
  using fresh = boot(driver);
  fresh.call("uart_putc", { al: 0x41 });
  expect(fresh).not.toBeHalted();
  assertEquals(fresh.isAtExit, false);
});

Deno.test("no-execute stacks, and code that does not reach its stack, return to a breakpoint", () => {
  const guest = asm`
    bits 64
    hlt
  twice:
    lea rax, [rdi+rdi]
    ret
  `;
  using vm = boot(guest, {
    mode: "long",
    mappings: [{ linear: 0, size: 0x1_0000, executable: false }],
  });
  assertEquals(vm.call("twice", [21]), 42n);

  using far = boot(
    asm`
    hlt
  twice:
    mov bx, sp
    mov ax, [ss:bx+2]
    add ax, ax
    ret
  `,
    { cs: 0x100, ip: 0, ss: 0x4000, sp: 0x1000 },
  );
  assertEquals(far.call("twice", [21]), 42n);
  assertEquals([far.registers.ip, far.registers.sp], [0, 0x1000]);
});

Deno.test("the red zone of 64-bit code is left alone", () => {
  using vm = boot(driver, { mode: "long" });
  const top = Number(vm.registers.rsp);
  vm.memory.write(top - 128, new Uint8Array(128).fill(0x5a));
  vm.call("eighth", [1, 2, 3, 4, 5, 6, 7, 8]);
  expect(vm).toHaveMemory(top - 128, new Uint8Array(128).fill(0x5a));
});

Deno.test("an interrupt that comes while the routine runs is the guest's own", () => {
  using vm = boot(
    asm`
      bits 64
      hlt
    takes:
      sti
      nop
      mov eax, [taken]
      cli
      ret
    interrupt:
      inc dword [taken]
      iretq
    align 4
    taken: dd 0
    `,
    { mode: "long", gates: { 0x50: "interrupt" } },
  );
  vm.inject.interrupt(0x50);
  assertEquals(vm.call("takes"), 1n);
});

Deno.test("in the middle of an instruction nothing is called", () => {
  using vm = boot(
    asm`
      bits 64
      mov [0x300ffc], rax
      hlt
    returns:
      ret
    `,
    { memory: "2M" },
  );
  for (const { exit } of vm.exits()) {
    assertEquals(exit.reason, "MMIO");
    break;
  }
  assertThrows(() => vm.call("returns"), TypeError, "in the middle of an instruction");
});

Deno.test("with local APICs a call is made from HLT, which goes on waiting", () => {
  const guest = asm`
    bits 64
    sti
  .again:
    hlt
    inc dword [woken]
    jmp .again
  sums:
    mov eax, edi
    add eax, esi
    ret
  never:
    cli
    hlt
    ret
  align 4
  woken: dd 0
  `;
  using vm = boot(guest, { irqchip: true });
  assertEquals(vm.run({ until: "halted" }).reason, "HLT");
  assertEquals(vm.mpState, "HALTED");
  assertEquals(vm.call("sums", [1, 2]), 3n);
  assertEquals(vm.mpState, "HALTED");
  assertEquals(vm.linear.u32("woken"), 0);
  assertThrows(() => vm.call("never"), CallError, "never did not return: the run ended with HLT");
});

Deno.test("other CPUs stand still, and one that waits for its SIPI has nothing to call with", () => {
  const guest = asm`
    bits 64
  first:
    hlt
  counts:
    mov ecx, 100000
  .again:
    dec ecx
    jnz .again
    mov eax, 5
    ret
  second:
    inc dword [counter]
    jmp second
  align 4
  counter: dd 0
  `;
  using vm = boot(guest, { cpus: [{}, { entry: "second" }] });
  assertEquals(vm.call("counts"), 5n);
  assertEquals(vm.linear.u32("counter"), 0);
  assertEquals(vm.cpus[1].call("counts"), 5n);
  assertEquals(vm.cpus[1].registers.rip, vm.image.symbol("second"));
  assertThrows(
    () => vm.cpus[1].call("second", [], { timeout: 5 }),
    TimeLimitError,
    "second did not return",
  );

  using waiting = boot(guest, { cpus: 2 });
  assertEquals(waiting.call("counts"), 5n);
  assertThrows(() => waiting.cpus[1].call("counts"), TypeError, "CPU 1 has not been started");
});

Deno.test("a routine that comes back in another code segment has not returned", () => {
  using vm = boot(asm`
    hlt
  moves:
    pop ax
    sub ax, 0x1000
    push 0x100
    push ax
    retf
  `);
  assertThrows(() => vm.call("moves"), CallError, "moves came back with CS 0x100");
});

Deno.test("what a routine itself writes to the stub's port is an exit like any other", () => {
  using vm = boot(asm`
    hlt
  writes:
    mov al, 7
    out ${STUB_PORT}, al
    ret
  `);
  assertThrows(() => vm.call("writes"), UnhandledExitError, "out 0xbe");
  const written: number[] = [];
  vm.ports.on(STUB_PORT, { write: (_port, value) => void written.push(Number(value)) });
  vm.call("writes");
  assertEquals(written, [7]);
});

Deno.test("a stub whose port makes no exits is no return: its CPU halts behind it", () => {
  using vm = boot(driver);
  using _doorbell = vm.ports.notify(STUB_PORT);
  assertThrows(
    () => vm.call("difference", [1, 2]),
    CallError,
    "did not return: the run ended with HLT",
  );
});

Deno.test("beside a fault catcher, and where single instructions are interleaved, calls return too", () => {
  for (const mode of ["real", "protected", "long"] as const) {
    using vm = boot(driver, { mode, catchFaults: true });
    assertEquals(vm.call("difference", [7, 5]), 2n);
  }
  using vm = boot(driver, { mode: "long", cpus: [{}, {}], interleaving: { seed: 1 } });
  assertEquals(vm.cpus[1].call("uart_puts", ["greeting"]), 6n);
});

Deno.test("a frame has the stub above the arguments, aligned as its convention wants, and the red zone above both", () => {
  for (const bits of [16, 32, 64] as const) {
    const word = BigInt(bits / 8);
    for (let top = 0x1000n; top < 0x1010n; top++) {
      for (let count = 0; count < 9; count++) {
        const { sp, stub } = callFrame(top, bits, count);
        const end = sp + word + word * BigInt(count);
        assert(end <= stub && stub + 3n <= top - (bits === 64 ? 128n : 0n));
        if (bits !== 16) assertEquals((sp + word) % 16n, 0n);
        // Its convention aligns nothing, and stacks are small there.
        else assert(top - stub < 3n + 4n);
        assertEquals(stub % 4n, 0n);
        assert(top - sp < 250n);
      }
    }
  }
});

Deno.test("a stack that is full has its first word at the end of its segment", () => {
  using vm = boot(driver, { mode: "real", registers: { sp: 0 } });
  assertEquals(vm.call("difference", [9, 4]), 5n);
  assertEquals(vm.registers.sp, 0);
});

Deno.test("a C function finds DF clear and AL zero, whatever the guest has left there", () => {
  for (const mode of ["real", "protected", "long"] as const) {
    using vm = boot(driver, { mode, registers: { "rflags.df": true } });
    assertEquals(vm.call("uart_puts", ["greeting"]), 6n);
    assertEquals(vm.serial.text, "Hello!");
  }
  using vm = boot(asm`
    bits 64
    hlt
  nothing:
    ret
  `);
  vm.registers.rax = 0x55;
  assertEquals(vm.call("nothing", []), 0n);
  assertEquals(vm.call("nothing", { rax: 3 }), 3n);
});

Deno.test("code that may not use ports returns to a breakpoint", () => {
  for (const mode of ["protected", "long"] as const) {
    using vm = boot(driver, { mode, cpl: 3, ioPermission: false });
    assertEquals(vm.call("difference", [9, 4]), 5n);
  }
});

Deno.test(
  requires({ smep: true }, "so does code at CPL 0 whose stack lies in pages of CPL 3, under SMEP"),
  () => {
    using vm = boot(driver, {
      mode: "long",
      mappings: [{ linear: 0, size: 0x1_0000, user: true }],
      registers: { "cr4.smep": true },
    });
    assertEquals(vm.call("difference", [9, 4]), 5n);
  },
);

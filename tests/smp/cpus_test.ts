import {
  asm,
  boot,
  expect,
  fault,
  GuestFaultError,
  hlt,
  type Machine,
  portIn,
  portOut,
  requires,
} from "@vmexit/vmexit";
import { openHandles } from "@vmexit/vmexit/kvm";
import {
  assert,
  assertEquals,
  assertGreater,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

const COUNTER = 0x20004;
const spinlock = asm.file("../../guests/smp/spinlock.asm");

const counter = (vm: Machine) => vm.memory.u32(COUNTER);

Deno.test("CPUs that start at once share memory, and have registers of their own", () => {
  using vm = boot(
    asm`
      mov al, 1
      mov [0x2000], al
      hlt
    second:
      push ax
    poll:
      mov bl, [0x2000]
      test bl, bl
      jz poll
      hlt
    `,
    {
      cpus: [{}, { entry: "second", registers: { ax: 0x1234 } }, {
        entry: "second",
        stack: 0x3000,
      }],
    },
  );
  assertEquals(vm.cpus.map(({ number }) => number), [0, 1, 2]);
  assert(vm.cpus[0] === vm && vm.cpus[2].machine === vm);
  assertEquals(vm.run().reason, "HLT");
  expect(vm).toHaveRegisters({ al: 1 });
  expect(vm.cpus[1]).toHaveRegisters({ ax: 0x1234, bl: 1, sp: 0x7c00 - 0x400 - 2 });
  expect(vm.cpus[2]).toHaveRegisters({ bl: 1, sp: 0x3000 - 2 });
  expect(vm.cpus[2]).toBeHalted();
  expect(vm.cpus[1]).toHaveMsrs({ APIC_BASE: 0xfee00000 });
  expect(vm).toHaveMsrs({ APIC_BASE: 0xfee00100 });
});

Deno.test("time slices: CPUs add under a spinlock, and no increment is lost", () => {
  const ROUNDS = 2000;
  using vm = boot(spinlock, { cpus: [{}, {}, {}], registers: { ecx: ROUNDS }, timeout: 20_000 });
  vm.run();
  assertEquals(counter(vm), 3 * ROUNDS);
  assertEquals(vm.log.records().map(({ cpu }) => cpu).sort(), [0, 1, 2]);
});

Deno.test("a CPU that loops does not keep the others from running", () => {
  using vm = boot(
    asm`
      sti
    poll:
      cmp byte [0x2000], 1
      jne poll
      hlt
    second:
      mov byte [0x2000], 1
      hlt
    `,
    { cpus: [{}, { entry: "second" }] },
  );
  vm.run();
  assertEquals(vm.log.records().map(({ cpu }) => cpu), [1, 0]);
});

Deno.test("INIT and SIPI start the CPUs, and each knows its APIC id", () => {
  using vm = boot(asm.file("../../guests/smp/bring_up.asm"), {
    cpus: 4,
    registers: { ebx: 3 },
    timeout: 20_000,
  });
  assertEquals(vm.cpus.map(({ mpState }) => mpState), [
    "RUNNABLE",
    "UNINITIALIZED",
    "UNINITIALIZED",
    "UNINITIALIZED",
  ]);
  vm.run();
  assertEquals(vm.memory.read(0x20010, 4), new Uint8Array([0, 1, 2, 3]));
  for (const cpu of vm.cpus) {
    expect(cpu).toBeHalted();
    assertEquals(cpu.localApic.id, cpu.number);
    assertEquals(cpu.cpuid.leaf(1)!.ebx >>> 16, cpu.number << 8 | vm.cpus.length);
  }
  assert(vm.cpus[1].cpuid.has("ht"));
});

Deno.test("two CPUs wake each other out of HLT", () => {
  const ROUNDS = 5;
  using vm = boot(asm.file("../../guests/smp/ping_pong.asm"), {
    cpus: [{}, { entry: "pong" }],
    irqchip: true,
    gates: { 0x40: "on_interrupt" },
    registers: { ecx: ROUNDS },
    timeout: 20_000,
  });
  expect(vm).toExit({
    0: [portOut(0x10, "i").times(ROUNDS), hlt()],
    1: [portOut(0x10, "o").times(ROUNDS), hlt()],
  });
  expect(vm).toHavePortOutput(0x10, "oi".repeat(ROUNDS));
  expect(vm.cpus[1]).toHaveRegisters({ ecx: 0 });
});

const talking = asm`
    mov al, 'a'
    out 0x10, al
    hlt
    mov al, 'c'
    out 0x10, al
    hlt
second:
    in al, 0x20
    out 0x10, al
    hlt
`;
const two = { cpus: [{}, { entry: "second" }] } as const;

Deno.test("a transcript is about one CPU, and the others' exits are their handlers'", () => {
  using vm = boot(talking, two);
  vm.ports.on(0x10, { write() {} });
  expect(vm.cpus[1]).toExit([portIn(0x20).returns("b"), portOut(0x10, "b"), hlt()]);
  assertEquals(vm.cpus[1].lastExit?.reason, "HLT");
});

Deno.test("transcripts of several CPUs, in whatever order, with a HLT in the middle", () => {
  using vm = boot(talking, two);
  expect(vm).toExit({
    0: [portOut(0x10, "a"), hlt(), portOut(0x10, "c"), hlt()],
    1: [portIn(0x20).returns(5), portOut(0x10, 5), hlt()],
  });
});

Deno.test("an exit of another CPU that nobody answers is a failure, and the page says whose it was", () => {
  using vm = boot(talking, two);
  const error = assertThrows(() => expect(vm).toExit([portOut(0x10, "a"), hlt(), hlt()]), Error);
  assertStringIncludes(error.message, "of CPU 1");
  assertStringIncludes(error.message, "\nCPU 1 at 0x");
  assertStringIncludes(error.message, "the other CPUs\n    CPU 0 at 0x");
  assertStringIncludes(error.message, "second");
});

Deno.test("an exit that does not match names its CPU, and where the others are", () => {
  using vm = boot(talking, two);
  const error = assertThrows(
    () =>
      expect(vm).toExit({ 0: [portOut(0x10, "a"), hlt()], 1: [portIn(0x21).returns(1), hlt()] }),
    Error,
  );
  assertStringIncludes(error.message, "expect(vm).toExit({ 0: [2 patterns], 1: [2 patterns] })");
  assertStringIncludes(error.message, "of CPU 1");
  assertStringIncludes(error.message, "transcript of CPU 0, from exit 1 on");
  assertThrows(
    () => expect(vm).toExit({ 2: [hlt()] }),
    RangeError,
    "transcript of CPU 2: the machine",
  );
  assertThrows(() => expect(vm).toExit({}), TypeError, "give a list of patterns");
});

Deno.test("an exit that nobody answers holds up the machine, says its CPU, and can be answered", () => {
  using vm = boot(talking, { ...two, serial: false });
  vm.ports.on(0x10, { write() {} });
  const error = assertThrows(() => vm.run(), Error);
  assertStringIncludes(error.message, "of CPU 1: IO in 0x20");
  assertStringIncludes(error.message, "CPU 1 at 0x");
  assertEquals(vm.exitingCpu.number, 1);
  assertThrows(() => vm.cpus[0].step(), Error, "of CPU 1");
  assertThrows(() => vm.inject.exception(13), TypeError, "waits for its answer");
  vm.answer(7);
  assertEquals(vm.cpus[1].registers.al, 7);
  vm.run();
  expect(vm).toHavePortOutput(0x10, vm.portOutput.bytes(0x10));
  assertGreater(vm.portOutput.bytes(0x10).indexOf(7), -1);
});

Deno.test(requires({ singleStep: true }, "a CPU is stepped alone"), () => {
  using vm = boot(talking, two);
  const before = vm.registers.rip;
  assertEquals(vm.cpus[1].registers.al, 0);
  vm.ports.on(0x20, { read: () => 9 });
  assertEquals(vm.cpus[1].step().reason, "DEBUG");
  assertEquals([vm.cpus[1].registers.al, vm.registers.rip], [9, before] as unknown[]);
  assertEquals(vm.step().reason, "DEBUG");
  expect(vm).toHaveRegisters({ al: 0x61 });
  assertEquals(vm.cpus[1].registers.al, 9);
});

Deno.test("SHUTDOWN of any CPU ends the run, and the log says whose it was", () => {
  using vm = boot(
    asm`
      sti
    again:
      jmp again
    second:
      lidt [0x3000]
      ud2
    `,
    { cpus: [{}, { entry: "second" }] },
  );
  assertEquals(vm.run({ until: "shutdown" }).reason, "SHUTDOWN");
  assertEquals([vm.log.latest?.cpu, vm.exitingCpu.number], [1, 1]);
  expect(vm.cpus[1]).toBeShutDown();
  expect(vm).not.toBeShutDown();
});

Deno.test("a handler stops all CPUs, the exit port ends the run, and the next run goes on", () => {
  using vm = boot(
    asm`
      sti
    again:
      inc cx
      jmp again
    second:
      out 0x30, al
      mov al, 3
      out 0xf4, al
      hlt
    `,
    { cpus: [{}, { entry: "second" }], exitPort: 0xf4 },
  );
  vm.ports.on(0x30, { write: () => vm.stop() });
  assertEquals([vm.run().reason, vm.log.total], ["IO", 1] as unknown[]);
  vm.run();
  expect(vm).toHaveExitStatus(3);
  const error = assertThrows(() => vm.run({ timeout: 50 }), Error, "did not end within");
  assertStringIncludes(error.message, "the other CPUs\n    CPU 1 at ");
  assertStringIncludes(error.message, "halted");
});

Deno.test("an interrupt from a handler wakes a CPU that has halted", () => {
  using vm = boot(
    asm`
      bits 32
      out 0x30, al
      hlt
    second:
      sti
      hlt
      cli
      hlt
    on_interrupt:
      out 0x31, al
      iretd
    `,
    { cpus: [{}, { entry: "second" }], gates: { 0x40: "on_interrupt" } },
  );
  vm.ports.on(0x30, {
    write() {
      vm.cpus[1].inject.interrupt(0x40);
    },
  });
  vm.ports.on(0x31, { write() {} });
  vm.run();
  assertEquals(vm.log.records().filter(({ address }) => address === 0x31).map(({ cpu }) => cpu), [
    1,
  ]);
});

Deno.test("a CPU that a handler wakes runs on, though the one that was left halts in the same turn", () => {
  using vm = boot(
    asm`
      bits 32
      sti
      hlt
      cli
      hlt
    second:
      in al, 0x30
      test al, al
      jz second
      hlt
    on_interrupt:
      out 0x31, al
      iretd
    `,
    { cpus: [{}, { entry: "second" }], gates: { 0x40: "on_interrupt" } },
  );
  using clock = new DisposableStack();
  vm.ports.on(0x30, {
    read() {
      if (vm.lastExit?.reason !== "HLT") return 0;
      vm.inject.interrupt(0x40);
      // The turn lasts, however slow the host is.
      const { now } = performance;
      const stopped = now.call(performance);
      performance.now = () => stopped;
      clock.defer(() => performance.now = now);
      return 1;
    },
  });
  vm.ports.on(0x31, { write: () => clock.dispose() });
  vm.run();
  assertEquals(vm.portOutput.bytes(0x31).length, 1);
  assertEquals(vm.log.latest?.cpu, 0);
});

Deno.test("with local APICs: a CPU that waits keeps the run going, unless that is to end there", () => {
  using vm = boot(
    asm`
      bits 32
      hlt
    second:
      sti
      hlt
      jmp second
    `,
    { cpus: [{}, { entry: "second" }], irqchip: true },
  );
  assertThrows(() => vm.run({ timeout: 20 }), Error, "did not end within");
  assertEquals(vm.run({ until: "halted" }).reason, "HLT");
  expect(vm).toBeHalted();
  expect(vm.cpus[1]).toBeHalted();
  assertEquals(vm.cpus[1].mpState, "HALTED");
});

Deno.test("with local APICs: a CPU that waits for its timer is woken, and until then it is halted", () => {
  using vm = boot(
    asm`
      bits 32
    %include "../../guests/interrupts/interrupts.inc"
      hlt
    second:
      enable_apic
      mov dword [APIC + 0x320], 0x40        ; the timer's vector
      mov dword [APIC + 0x3e0], 0xb         ; its clock, undivided
      mov dword [APIC + 0x380], ebx         ; how long
      sti
      hlt
      mov al, 1
      out 0xf4, al
    on_interrupt:
      iretd
    `,
    {
      cpus: [{}, { entry: "second" }],
      irqchip: true,
      gates: { 0x40: "on_interrupt" },
      registers: { ebx: 0x7fff_ffff },
      exitPort: 0xf4,
      timeout: 20_000,
    },
  );
  assertEquals(vm.run({ until: "halted" }).reason, "HLT");
  expect(vm.cpus[1]).toBeHalted();
  vm.run();
  expect(vm).toHaveExitStatus(1);
});

const faulting = asm`
    bits 32
    mov al, 1
    ud2
second:
    mov al, 2
    int3
    hlt
`;

Deno.test(requires({ singleStep: true }, "faults are caught on the CPU that has them"), () => {
  const cpus = [{}, { entry: "second" }] as const;
  {
    using vm = boot(faulting, {
      cpus,
      catchFaults: true,
      interleaving: { seed: 2 },
      timeout: 20_000,
    });
    expect(vm).toExit({ 0: [fault("#UD", { rip: 0x10002 })], 1: [fault("#BP"), hlt()] });
    assertEquals([vm.fault?.name, vm.cpus[1].fault?.name], ["#UD", "#BP"]);
    expect(vm).toHaveRegisters({ al: 1, rflags: { tf: false } });
  }
  using vm = boot(faulting, { cpus: [{ entry: "second" }, {}], catchFaults: true });
  const [, cpu] = vm.cpus;
  cpu.registers.rip += 2n;
  vm.registers.rip += 3n;
  const error = assertThrows(() => vm.run(), GuestFaultError);
  assertEquals(error.cpu, 1);
  assertStringIncludes(error.message, "CPU 1: #UD");
  assertThrows(() => expect(vm).toFault("#UD"), Error, "of CPU 1");
  expect(cpu).toFault("#UD");
});

Deno.test("whatever CPUs there are, nothing is left open", () => {
  const before = openHandles();
  {
    using vm = boot(spinlock, { cpus: [{}, {}], registers: { ecx: 1 }, dirtyPages: "ring" });
    vm.run();
    assert(vm.memory.dirty().includes(0x20000));
    assertEquals(openHandles().fds, before.fds + 4);
  }
  assertEquals(openHandles(), before);
});

Deno.test("coalesced writes of several CPUs reach their handler, each CPU's in its order, and none twice", () => {
  const DEVICE = 0xe000_0000;
  const WRITES = 400;
  const SECOND = 0x1_0000;
  using vm = boot(
    asm`
      bits 32
      xor eax, eax
      jmp start
    second:
      mov eax, ${SECOND}
    start:
      mov edi, ${DEVICE}
      mov ecx, ${WRITES}
    next:
      mov [edi], eax
      inc eax
      loop next
      hlt
    `,
    { mode: "protected", cpus: [{}, { entry: "second" }] },
  );
  const seen: number[] = [];
  vm.mmio.coalesce([DEVICE, DEVICE + 3], { write: (_, value) => void seen.push(Number(value)) });
  vm.run();
  const counted = (first: number) => Array.from({ length: WRITES }, (_, index) => first + index);
  assertEquals(seen.filter((value) => value < SECOND), counted(0));
  assertEquals(seen.filter((value) => value >= SECOND), counted(SECOND));
  // Most of them made no exits.
  assert(vm.log.total < WRITES, `${vm.log.total} exits`);
});

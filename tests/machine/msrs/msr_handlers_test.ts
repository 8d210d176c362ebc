import {
  any,
  asm,
  AssertionError,
  boot,
  type BootOptions,
  expect,
  generalProtection,
  hlt,
  type Machine,
  portOut,
  rdmsr,
  UnhandledExitError,
  wrmsr,
} from "@vmexit/vmexit";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

const NOBODYS = 0x12345;
const LSTAR = 0xc0000082;

/**
 * Reads the MSR in ECX into RBX, then writes RSI to it, twice; R8 counts the #GPs. The code of a fault
 * handler goes on behind the instruction, which has two bytes.
 */
const TWICE = asm`
  bits 64
  mov edi, 2
again:
  rdmsr
  shl rdx, 32
  or  rax, rdx
  mov rbx, rax
  mov rax, rsi
  mov rdx, rsi
  shr rdx, 32
  wrmsr
  dec edi
  jnz again
  hlt
fault:
  inc r8
  add rsp, 8                ; the error code
  add qword [rsp], 2
  iretq
`;

function machine(msr: number, options: Partial<BootOptions> = {}): Machine {
  return boot(TWICE, {
    mode: "long",
    gates: { 13: "fault" },
    registers: { rcx: BigInt(msr), rsi: 0xffff_8344_5566_7788n },
    ...options,
  } as BootOptions);
}

Deno.test("reads are answered and writes seen by a handler, and the vCPU's own MSR stays as it is", () => {
  using vm = machine(LSTAR, { msrs: { LSTAR: 3 } });
  const written: [number, bigint][] = [];
  const reads: number[] = [];
  vm.msrs.on("LSTAR", {
    name: "the syscall entry",
    read: (msr) => (reads.push(msr), 0xfedc_ba98_7654_3210n),
    write: (msr, value) => void written.push([msr, value]),
  });
  vm.run();
  expect(vm).toHaveRegisters({ rbx: 0xfedc_ba98_7654_3210n, r8: 0 });
  assertEquals(reads, [LSTAR, LSTAR]);
  assertEquals(written, [[LSTAR, 0xffff_8344_5566_7788n], [LSTAR, 0xffff_8344_5566_7788n]]);
  expect(vm).toHaveMsrs({ LSTAR: 3 });
  const [read, write] = vm.log.records();
  assertEquals([read.address, read.isWrite, read.value], [LSTAR, false, 0xfedc_ba98_7654_3210n]);
  assertEquals([write.address, write.isWrite, write.value], [LSTAR, true, 0xffff_8344_5566_7788n]);
  assertEquals(read.answeredBy, "the syscall entry");
});

Deno.test("a handler takes only what it has a method for", () => {
  using vm = machine(LSTAR, { msrs: { LSTAR: 3 } });
  const written: bigint[] = [];
  vm.msrs.on("LSTAR", { write: (_, value) => void written.push(value) });
  vm.run();
  expect(vm).toHaveRegisters({ rbx: 3, r8: 0 });
  assertEquals(written.length, 2);
});

Deno.test("a handler gives the guest #GP, and an MSR that no CPU has can have one", () => {
  using vm = machine(NOBODYS);
  vm.msrs.on([NOBODYS - 1, NOBODYS + 1], {
    read: () => 7,
    write: () => generalProtection,
  });
  vm.run();
  expect(vm).toHaveRegisters({ rbx: 7, r8: 2 });
  assertEquals(vm.log.records().map(({ faulted }) => faulted), [false, true, false, true, false]);
});

Deno.test("handlers can be added and taken away between runs and by handlers", () => {
  using vm = machine(LSTAR, { msrs: { LSTAR: 3 } });
  const first: Disposable = vm.msrs.on("LSTAR", {
    read: () => 0x99,
    write: () => first[Symbol.dispose](),
  });
  vm.run();
  // The first round is the handler's, the second that of the vCPU.
  expect(vm).toHaveRegisters({ rbx: 3, r8: 0 });
  expect(vm).toHaveMsrs({ LSTAR: 0xffff_8344_5566_7788n });
  assertEquals(vm.log.total, 3);
  vm.registers.rip = BigInt(vm.image.entry);
  vm.msrs.on("LSTAR", { read: () => 5 });
  vm.run();
  expect(vm).toHaveRegisters({ rbx: 5 });
  first[Symbol.dispose]();
});

Deno.test("denied MSRs are #GP without an exit, allowed ones not, and the latest rule decides", () => {
  using vm = machine(LSTAR);
  const denied = vm.msrs.deny("LSTAR");
  vm.run();
  expect(vm).toHaveRegisters({ r8: 4 });
  assertEquals(vm.log.total, 1, "HLT alone");

  denied[Symbol.dispose]();
  vm.msrs.deny(["STAR", "CSTAR"], { read: false });
  vm.registers.set({ rip: BigInt(vm.image.entry), r8: 0 });
  vm.run();
  expect(vm).toHaveRegisters({ r8: 2 });

  vm.msrs.allow("LSTAR");
  vm.registers.set({ rip: BigInt(vm.image.entry), r8: 0 });
  vm.run();
  expect(vm).toHaveRegisters({ r8: 0, rbx: 0xffff_8344_5566_7788n });
});

Deno.test("everything can be denied, with exceptions, beside handlers", () => {
  using vm = machine(LSTAR);
  using all = vm.msrs.denyAll();
  vm.run();
  expect(vm).toHaveRegisters({ r8: 4 });
  vm.msrs.allow("LSTAR");
  vm.registers.set({ rip: BigInt(vm.image.entry), r8: 0 });
  vm.run();
  expect(vm).toHaveRegisters({ r8: 0 });
  vm.msrs.on("STAR", { read: () => 0x55 });
  vm.registers.set({ rip: BigInt(vm.image.entry), r8: 0, rcx: 0xc0000081 });
  vm.run();
  // The handler has reads; writes are denied still.
  expect(vm).toHaveRegisters({ r8: 2, rbx: 0x55 });
  all[Symbol.dispose]();
});

Deno.test("a transcript foresees intercepted MSRs, answers them, and faults", () => {
  using vm = machine(LSTAR);
  vm.msrs.intercept("LSTAR");
  expect(vm).toExit([
    rdmsr("LSTAR").returns(0x1234_5678_9abc_def0n),
    wrmsr("LSTAR", 0xffff_8344_5566_7788n),
    rdmsr(LSTAR).faults(),
    wrmsr(any).faults(),
    hlt(),
  ]);
  expect(vm).toHaveRegisters({ r8: 2 });
});

Deno.test("a transcript that foresees another MSR shows both by name", () => {
  using vm = machine(LSTAR);
  vm.msrs.intercept("LSTAR");
  const error = assertThrows(
    () => expect(vm).toExit([rdmsr("LSTAR").returns(1), wrmsr("STAR", 9), hlt()]),
    AssertionError,
  );
  assertStringIncludes(error.message, "X86_WRMSR 0xc0000081 STAR 0x9");
  assertStringIncludes(error.message, "X86_WRMSR 0xc0000082 LSTAR 0xffff834455667788 (FILTER)");
  assertStringIncludes(error.message, "X86_RDMSR 0xc0000082 LSTAR → 0x1");
});

Deno.test("MSRs that KVM does not know, and values that it refuses, come to a transcript", () => {
  using vm = machine(NOBODYS);
  vm.msrs.onUnknown();
  expect(vm).toExit([
    rdmsr(NOBODYS).returns(0x42),
    wrmsr(NOBODYS, 0xffff_8344_5566_7788n).faults(),
    rdmsr(NOBODYS).faults(),
    wrmsr(NOBODYS),
    hlt(),
  ]);
  expect(vm).toHaveRegisters({ rbx: 0xffff_8344_5566_7788n, r8: 2 });

  // Reserved bits of EFER.
  using other = machine(0xc0000080);
  const refused: string[] = [];
  other.msrs.onUnknown({
    write: (msr, value) => {
      refused.push(`${msr.toString(16)} ${value.toString(16)}`);
      return generalProtection;
    },
  });
  other.run();
  assertEquals(refused, ["c0000080 ffff834455667788", "c0000080 ffff834455667788"]);
  expect(other).toHaveRegisters({ r8: 2 });
});

Deno.test("an unknown MSR is #GP where nothing else is said", () => {
  using vm = machine(NOBODYS);
  vm.run();
  expect(vm).toHaveRegisters({ r8: 4 });
});

Deno.test("an intercepted MSR that nobody answers is an error that names it and its remedies", () => {
  using vm = machine(LSTAR);
  vm.msrs.intercept("LSTAR");
  const error = assertThrows(() => vm.run(), UnhandledExitError);
  assertStringIncludes(
    error.message,
    "Nothing answers exit 1: X86_RDMSR 0xc0000082 LSTAR (FILTER). Handle it with " +
      'vm.msrs.on("LSTAR", { read: () => 0 }), or foresee it in a transcript with rdmsr("LSTAR").returns(0)',
  );
  vm.answer({ data: 8 });
  assertThrows(() => vm.run(), UnhandledExitError, 'wrmsr("LSTAR").faults()');
  expect(vm).toHaveRegisters({ rbx: 8 });

  using own = machine(LSTAR);
  own.msrs.intercept("LSTAR");
  own.on("X86_RDMSR", () => ({ data: 1 }));
  own.on("X86_WRMSR", () => ({ error: 1 }));
  own.run();
  expect(own).toHaveRegisters({ rbx: 1, r8: 2 });
});

Deno.test("a handler of the exit X86_WRMSR that returns nothing accepts the write", () => {
  using vm = machine(LSTAR);
  vm.msrs.intercept("LSTAR");
  vm.on("X86_RDMSR", () => ({ data: 1 }));
  let seen = 0;
  vm.on("X86_WRMSR", () => void seen++);
  vm.run();
  assertEquals(seen, 2);
  expect(vm).toHaveRegisters({ r8: 0 });
  expect(vm).toBeHalted();
  assertEquals(vm.log.records().map(({ answeredBy }) => answeredBy === undefined), [
    false,
    false,
    false,
    false,
    true,
  ]);
});

Deno.test("what a handler returns is checked, and the guest waits for a better answer", () => {
  using vm = machine(LSTAR);
  let value: unknown = 1n << 64n;
  vm.msrs.on("LSTAR", { name: "entry", read: () => value as bigint, write() {} });
  for (
    const [bad, shown] of [
      [1n << 64n, "0x10000000000000000"],
      [-1, "-0x1"],
      [0.5, "0.5"],
      [undefined, "undefined"],
      ["1", "1"],
    ] as const
  ) {
    value = bad;
    assertThrows(
      () => vm.run(),
      RangeError,
      `Cannot answer a read of MSR 0xc0000082 LSTAR as ${shown}: what entry returned`,
    );
  }
  value = 2 ** 40;
  vm.run();
  expect(vm).toHaveRegisters({ rbx: 2n ** 40n, r8: 0 });
});

Deno.test("ranges that cannot be filtered are refused, and what was asked for before stays", () => {
  using vm = machine(LSTAR);
  vm.msrs.on(["STAR", "CSTAR"], { name: "calls", read: () => 1 });
  const handler = { read: () => 0 };
  assertThrows(
    () => vm.msrs.on("LSTAR", handler),
    RangeError,
    "Cannot handle MSR 0xc0000082 LSTAR: calls has 0xc0000081 STAR to 0xc0000083 CSTAR already",
  );
  assertThrows(() => vm.msrs.on("EFER", {}), TypeError, "has neither read nor write");
  assertThrows(() => vm.msrs.on(["LSTAR", "STAR"], handler), RangeError, "below the first");
  assertThrows(
    () => vm.msrs.deny("IA32_X2APIC_TPR"),
    RangeError,
    "KVM never filters those of the x2APIC",
  );
  assertThrows(() => vm.msrs.deny([0, 0x1fff]), RangeError, "0x800 to 0x8ff");
  assertThrows(() => vm.msrs.deny([0x10000, 0xffffffff]), RangeError, "more than the 16 ranges");
  assertThrows(() => vm.msrs.intercept("LSTR" as "LSTAR"), RangeError, "the nearest are LSTAR");
  const unknown = vm.msrs.onUnknown(handler);
  assertThrows(() => vm.msrs.onUnknown(), RangeError, "another handler does already");
  unknown[Symbol.dispose]();
  assertThrows(() => rdmsr("LSTR" as "LSTAR"), RangeError, "the nearest are LSTAR");
  assertThrows(() => rdmsr("LSTAR").returns(1n << 64n), RangeError, "wider");
  assertThrows(() => wrmsr("LSTAR", -1), RangeError, "not a whole number");
  assertThrows(() => wrmsr("LSTAR", "x" as unknown as number), TypeError, "type string");
  vm.run();
  expect(vm).toHaveRegisters({ rbx: 1 });
});

Deno.test("a handler does not outlive its machine", () => {
  const vm = machine(LSTAR);
  const handler = vm.msrs.on("LSTAR", { read: () => 0 });
  vm[Symbol.dispose]();
  handler[Symbol.dispose]();
  assertThrows(() => vm.msrs.deny("STAR"), TypeError, "the machine is disposed");
});

Deno.test("other exits come in between", () => {
  using vm = boot(asm`
    bits 16
    mov ecx, 0x277
    rdmsr
    out 0x80, al
    hlt
  `);
  vm.msrs.intercept("IA32_PAT");
  expect(vm).toExit([rdmsr("IA32_PAT").returns(0xab), portOut(0x80, 0xab), hlt()]);
});

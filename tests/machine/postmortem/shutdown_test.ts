import { asm, boot, type Machine, requires } from "@vmexit/vmexit";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { intelHost } from "../../hosts/intel.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { InputRecord } from "../../../lib/machine/exits/input_record.ts";
import { type Postmortem, postmortemOf } from "../../../lib/machine/report/postmortem.ts";

const STEPS = { singleStep: true } as const;

/** What a repeated run has shown of a machine whose guest has shut down. */
function found(vm: Machine): Postmortem {
  const result = postmortemOf(vm)!;
  assert("cpu" in result, "obstacle" in result ? result.obstacle : undefined);
  return result;
}

/** Why a run could not be repeated. */
function obstacle(vm: Machine): string {
  const result = postmortemOf(vm)!;
  assert("obstacle" in result, "it was repeated");
  return result.obstacle;
}

Deno.test(requires(STEPS, "the interrupt that came before the IDT is named"), () => {
  using vm = boot(asm.file("../../../guests/reported/interrupts_on_after_bios.asm"), {
    mode: "real",
    origin: 0x7c00,
    memory: "8M",
  });
  using _ = vm.debug.breakAt("entry32");
  vm.run();
  vm.inject.interrupt(8);
  const { message } = assertThrows(() => vm.run(), Error, "it triple-faulted");
  assertEquals(found(vm).incident.interrupt, { vector: 8, source: "external" });
  assertMatch(message, /Vector 8 \(an interrupt\) arrived at 0008:7c44/);
  // Though it stood behind an instruction that was stepped into no handler.
  assertMatch(message, /RFLAGS.IF was set by `iret` at 0x7c8a/);
});

Deno.test(requires(STEPS, "the repeated run is given what the first one was given"), () => {
  using vm = boot(
    asm`
    in   al, 0x60             ; a handler's answers
    mov  ah, al
    in   al, 0x60
    mov  bx, [0x900]          ; what the test has written
    mov  cx, [0xe000]         ; MMIO
    mov  edx, 0x10
    mov  di, 0xa00
    push ax
    push dx
    mov  dx, 0x70
    mov  cx, 3
    rep  insb
    pop  dx
    pop  ax
    out  0x80, al             ; behind it the handler sets a register
    lidt [zero]
    ud2
  zero: dq 0
  `,
    { memory: "32K" },
  );
  let key = 0x10;
  vm.ports.on(0x60, { read: () => key++ });
  vm.ports.on(0x70, { read: () => key++ });
  vm.mmio.on([0xe000, 0xe001], { read: () => 0x1234 });
  vm.ports.on(0x80, {
    write() {
      vm.registers.si = 0x77;
      vm.memory.write(0xb00, [9]);
    },
  });
  vm.memory.write(0x900, [0x55, 0xaa]);
  vm.registers.bp = 0x4321;
  vm.run({ until: "shutdown" });
  const { incident } = found(vm);
  const { registers: { rax, rbx, rsi, rbp }, read } = incident;
  assertEquals([rax, rbx, rsi, rbp], [0x1011n, 0xaa55n, 0x77n, 0x4321n]);
  assertEquals([...read(0xa00, 3)!], [0x12, 0x13, 0x14]);
  assertEquals([...read(0xb00, 1)!], [9]);
  assertEquals(read(0x10_0000, 1), undefined);
});

Deno.test(requires(STEPS, "a run that began at a snapshot is repeated from there"), () => {
  using vm = boot(asm`
    mov bx, 7
    hlt
    add bx, [0x900]
    lidt [zero]
    ud2
  zero: dq 0
  `);
  vm.run();
  const start = vm.snapshot();
  for (const number of [1, 2]) {
    vm.restore(start);
    vm.memory.write(0x900, [number]);
    vm.run({ until: "shutdown" });
    assertEquals(found(vm).incident.registers.rbx, 7n + BigInt(number));
  }
});

Deno.test(
  requires(STEPS, "a repeated run that goes another way is none, and the difference is told"),
  () => {
    using vm = boot(asm`
    rdtsc
    out 0x80, eax
    lidt [zero]
    ud2
  zero: dq 0
  `);
    vm.ports.on(0x80, { write() {} });
    const { message } = assertThrows(() => vm.run(), Error, "it triple-faulted");
    assertMatch(
      message,
      /its run could not be repeated: it went another way: exit 1 was IO out 0x80 dword 0x[\da-f]+ .*instead of IO out 0x80 dword 0x/,
    );
  },
);

Deno.test("a CPU that stands where it failed, as Intel's do, has its rule without a repeated run", () => {
  using vm = boot(
    asm`
    bits 64
    rdtsc
    out 0x80, eax
    ud2
  `,
    { libc: intelHost(kvmLibc()), ports: { 0x80: { write() {} } } },
  );
  // A look at the registers lets KVM finish the OUT: the entry that fails begins at the UD2.
  const run = () => {
    for (const _ of vm.exits()) assertEquals(vm.registers.rip, 0x1_0004n);
  };
  const { message } = assertThrows(run, Error, "it triple-faulted");
  assertMatch(
    message,
    /what happened\n {4}#UD at 0x10004, `ud2`, shutdown_test\.ts:\d+: it is there to raise #UD\n {4}#UD is not delivered: entry 6 of the IDT/,
  );
  assertStringIncludes(message, "its run could not be repeated: ");
});

Deno.test(
  requires(STEPS, "a run that is too long to be repeated, or not recorded, is said to be so"),
  () => {
    const counted = { total: 0 };
    const inputs = new InputRecord(counted);
    assertEquals(inputs.obstacle, "it was not recorded");
    inputs.begin();
    assertEquals(inputs.obstacle, undefined);
    counted.total = 10_001;
    assertEquals(inputs.obstacle, "it has made 10001 exits, and 10000 are recorded at most");
    inputs.begin();
    inputs.wrote(0, 0, new Uint8Array(4 << 20));
    assertEquals(inputs.obstacle, undefined);
    inputs.wrote(0, 0, Uint8Array.of(1));
    assertEquals(inputs.obstacle, "more came to its guest from outside than is recorded");

    using slots = boot(asm`
    hlt
    lidt [zero]
    ud2
  zero: dq 0
  `);
    slots.run();
    slots.memory.addSlot({ gpa: 0x100_0000, size: "4K" });
    slots.restore(slots.snapshot());
    slots.run({ until: "shutdown" });
    assertEquals(
      obstacle(slots),
      "it had other memory slots when it came to the snapshot than at boot",
    );
  },
);

import { assertEquals, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  type BootOptions,
  type CoverageMeans,
  expect,
  hlt,
  type Machine,
  portOut,
  template,
} from "../../../mod.ts";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { kvmLibc, type Libc } from "../../../lib/kvm/mod.ts";
import { emulatedMachineName } from "../../../lib/machine/host/emulated_machine.ts";
import { TestClock } from "../../../lib/devices/mod.ts";
import { covered, missed } from "./covered.ts";

/** How lines are found out where the guest is at CPL 0 and has no local APIC, by the machine whose KVM is used. */
const MEANS: Readonly<Record<string, CoverageMeans>> = {
  "qemu-svm": "hlt",
  "qemu-icount": "hlt",
  "bochs-vmx": "int3",
  hardware: "int3",
};

Deno.test(`lines are found out by ${MEANS[emulatedMachineName() ?? "hardware"]}, one exit for each`, () => {
  let runs = 0;
  const real = kvmLibc();
  const libc: Libc = {
    ...real,
    ioctl(fd, request, argument) {
      if (request === IOCTLS.KVM_RUN.number) runs++;
      return real.ioctl(fd, request, argument);
    },
  };
  using vm = boot(
    asm`
      mov cx, 1000
    again:
      dec cx
      jnz again
      hlt
  `,
    { coverage: true, libc },
  );
  assertEquals(vm.coverage.means, MEANS[emulatedMachineName() ?? "hardware"]);
  vm.run();
  assertEquals(vm.coverage.reached, 4);
  // Of the guest's own HLT there is one in any case.
  const own = vm.coverage.means === "hlt" ? 4 : 5;
  assertEquals(runs, own);
});

Deno.test("a branch that is not taken is the only line that was not executed", () => {
  using vm = covered(asm`
      mov cx, 3
      xor ax, ax
    again:
      inc ax
      loop again
      cmp ax, 4
      jne done
      mov al, '!'
      out 0x10, al
    done:
      out 0x11, al
      hlt
    text: db "no code", 0
  `);
  expect(vm).toExit([portOut(0x11, 3), hlt()]);
  assertEquals(missed(vm), ["mov al, '!'", "out 0x10, al"]);
  assertEquals(vm.coverage.lines.length, 10);
  assertEquals(vm.coverage.reached, 8);
  assertEquals(vm.coverage.gaps, []);
});

Deno.test("lines are noted as they are reached, in their order, and once", () => {
  using vm = covered(asm`
      mov cx, 2
    again:
      out 0x10, al
      loop again
      hlt
  `);
  const reached: string[] = [];
  vm.coverage.onReach = ({ text }) => reached.push(text);
  vm.ports.on(0x10, { write: () => reached.push("(out)") });
  vm.run();
  assertEquals(reached, ["mov cx, 2", "out 0x10, al", "(out)", "loop again", "(out)", "hlt"]);
});

Deno.test("the test sees the guest's own code in memory, and not what stands there for the while", () => {
  using plain = boot(asm`
      mov ax, 1
      out 0x10, al
      hlt
      mov ax, 2
  `);
  using vm = covered(asm`
      mov ax, 1
      out 0x10, al
      hlt
      mov ax, 2
  `);
  const code = plain.image.bytes;
  assertEquals(vm.memory.read(0x500, code.length), code);
  vm.ports.on(0x10, { write: () => assertEquals(vm.linear.read(0x500, code.length), code) });
  vm.run();
  assertEquals(vm.memory.read(0x500, code.length), code);
  assertEquals(vm.memory.u8(0x506), code[6]);
  assertEquals(vm.memory.view(0x500, code.length), code);
});

Deno.test("who is given the memory itself takes the traps in it away, and that is said", () => {
  using vm = covered(asm`
      mov ax, 1
      mov bx, 2
      hlt
  `);
  const view = vm.memory.view(0x503, 3);
  vm.run();
  assertEquals([...view], [0xbb, 2, 0]);
  assertEquals(missed(vm), ["mov bx, 2"]);
  assertEquals(vm.coverage.gaps.length, 1);
});

Deno.test("handlers of interrupts count, and what they return to", () => {
  using vm = covered(asm`
      mov word [0x80 * 4], handler
      mov word [0x80 * 4 + 2], cs
      mov cx, 3
    again:
      int 0x80
      loop again
      hlt
    handler:
      inc byte [ticks]
      iret
    unused:
      iret
    ticks: db 0
  `);
  vm.run();
  assertEquals(vm.memory.u8("ticks"), 3);
  assertEquals(missed(vm), ["iret"]);
  assertEquals(vm.coverage.gaps, []);
});

Deno.test("an int3 of the guest's own goes to its handler", () => {
  using vm = covered(asm`
      mov word [3 * 4], handler
      mov word [3 * 4 + 2], cs
      mov cx, 3
    again:
      int3
      loop again
      hlt
    handler:
      inc byte [ticks]
      iret
    ticks: db 0
  `);
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.memory.u8("ticks"), 3);
  assertEquals(missed(vm), []);
});

Deno.test("sti and the instruction behind it are executed as ever", () => {
  using vm = covered(asm`
      mov word [0x30 * 4], handler
      mov word [0x30 * 4 + 2], cs
      out 0x10, al
      sti
      mov al, 1
      mov al, 2
      hlt
    handler:
      out 0x11, al
      iret
  `);
  vm.ports.on(0x10, { write: () => vm.inject.interrupt(0x30) });
  expect(vm).toExit([portOut(0x10), portOut(0x11, 1), hlt()]);
  assertEquals(missed(vm), []);
});

Deno.test("a guest's own single steps come where they come without", () => {
  const guest = asm`
      mov word [1 * 4], handler
      mov word [1 * 4 + 2], cs
      pushf
      or word [esp], 0x100
      popf
      mov al, 1
      mov al, 2
      mov al, 3
      hlt
    handler:
      out 0x11, al
      iret
  `;
  const steps = (vm: Machine) => {
    const values: number[] = [];
    vm.ports.on(0x11, { write: (_, value) => values.push(value) });
    vm.run();
    return values;
  };
  using plain = boot(guest);
  using vm = covered(guest);
  const expected = steps(plain);
  assertEquals(expected, [1, 2, 3]);
  assertEquals(steps(vm), expected);
  assertEquals(missed(vm), []);
});

Deno.test("a guest that goes down to CPL 3 is stepped from there, since HLT is a fault there", () => {
  using vm = covered(
    asm`
    bits 32
      lgdt [pointer]
      push 0x23
      push esp
      push 0x3002
      push 0x1b
      push user
      iret
    user:
      mov al, 'U'
      out 0x10, al
      cmp al, 'V'
      je never
      out 0x11, al
    never:
      nop
      jmp $
    gdt:
      dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00cffa000000ffff, 0x00cff2000000ffff
    pointer:
      dw $ - gdt - 1
      dd gdt
  `,
    { mode: "protected" },
  );
  vm.ports.on(0x10, { write: () => {} });
  vm.ports.on(0x11, { write: () => vm.stop() });
  assertEquals(vm.coverage.means === "step", false);
  vm.run();
  assertEquals(vm.registers.cs.selector & 3, 3);
  assertEquals(missed(vm), ["nop", "jmp $"]);
  if (vm.coverage.means === "step") assertEquals(vm.coverage.gaps.length, 1);
});

Deno.test("where HLT is no exit, the guest is stepped", () => {
  using vm = covered(
    asm`
      mov al, 1
      cmp al, 2
      je never
      hlt
    never:
      nop
  `,
    { irqchip: true },
  );
  vm.run();
  assertEquals(missed(vm), ["nop"]);
});

for (const mode of ["protected", "long", "virtual8086"] as const) {
  Deno.test(`code at CPL 3 is covered: ${mode}`, () => {
    const bits = { protected: 32, long: 64, virtual8086: 16 }[mode];
    using vm = covered(
      asm`
      bits ${bits}
        mov ax, 5
        cmp ax, 6
        je other
        out 0x10, al
        jmp $
      other:
        nop
    `,
      { mode, ...(mode === "virtual8086" ? {} : { cpl: 3 }), ioPermission: true } as BootOptions,
    );
    vm.ports.on(0x10, { write: () => vm.stop() });
    vm.run();
    assertEquals(missed(vm), ["jmp $", "nop"]);
  });
}

Deno.test("every mode's code is covered where it lies, in the upper half, too", () => {
  using vm = covered(
    asm`
    bits 64
    org 0xffffffff80000000
      mov eax, 1
      test eax, eax
      jz never
      call routine
      hlt
    never:
      ud2
    routine:
      ret
  `,
    {
      mode: "long",
      mappings: [{ linear: 0xffffffff80000000n, physical: 0x100000, size: 0x10000 }],
    } as BootOptions,
  );
  vm.run();
  assertEquals(missed(vm), ["ud2"]);
});

Deno.test("a machine that is restored goes on noting what it has not reached before", () => {
  using vm = covered(asm`
      mov bx, 2
    again:
      in al, 0x10
      cmp al, 1
      jne other
      out 0x11, al
      hlt
    other:
      out 0x12, al
      hlt
      nop
  `);
  vm.ports.on([0x11, 0x12], { write: () => {} });
  const start = vm.snapshot();
  const reached: string[] = [];
  vm.coverage.onReach = ({ text }) => reached.push(text);
  for (const value of [1, 1, 2, 1, 2]) {
    vm.restore(start);
    using _input = vm.ports.on(0x10, { read: () => value });
    vm.run();
    reached.push("|");
  }
  assertEquals(reached, [
    ...["mov bx, 2", "in al, 0x10", "cmp al, 1", "jne other", "out 0x11, al", "hlt", "|", "|"],
    ...["out 0x12, al", "hlt", "|", "|", "|"],
  ]);
  assertEquals(missed(vm), ["nop"]);
});

Deno.test("a test's clock goes by the guest's exits, and not by those of traps", () => {
  const nanoseconds = [true, false].map((coverage) => {
    const clock = new TestClock();
    using vm = boot(
      asm`
      mov al, 1
      out 0x10, al
      mov al, 2
      out 0x10, al
      hlt
    `,
      { clock, coverage },
    );
    vm.ports.on(0x10, { write: () => {} });
    vm.run();
    return clock.nanoseconds;
  });
  assertEquals(nanoseconds[0], nanoseconds[1]);
});

Deno.test("what a snapshot has of memory is the guest's own, and each fork notes what it executes itself", () => {
  const guest = asm`
      in al, 0x10
      cmp al, 1
      je one
      hlt
    one:
      nop
      hlt
  `;
  let isCovered = true;
  const booted = template(() => boot(guest, { coverage: isCovered }), () => {});
  {
    using first = booted.fork();
    first.ports.on(0x10, { read: () => 0 });
    first.run();
    assertEquals(missed(first), ["nop", "hlt"]);
  }
  isCovered = false;
  using plain = booted.fork();
  plain.ports.on(0x10, { read: () => 1 });
  plain.run();
  assertEquals(plain.registers.rip, plain.image.symbol("one") + 2n);
});

Deno.test("who is told of lines is a function that does its work at once", () => {
  using vm = covered(asm`
    nop
    hlt
  `);
  assertThrows(
    () => vm.coverage.onReach = 5 as never,
    TypeError,
    "Cannot tell what is reached to 5: give a function of the line",
  );
  vm.coverage.onReach = (async () => await Promise.reject(new Error("lost"))) as never;
  assertThrows(() => vm.run(), TypeError, "it returned a promise, and the guest does not wait");
  vm.coverage.onReach = undefined;
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("a machine that was not told to note anything has nothing to show", () => {
  using vm = boot(asm`hlt`, { coverage: false });
  assertThrows(() => vm.coverage, TypeError, "coverage: true");
});

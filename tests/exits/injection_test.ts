import { asm, boot, exit, expect, hlt, portOut } from "@vmexit/vmexit";
import { assertEquals, assertThrows } from "@std/assert";

const SPIN = asm`
  bits 64
  jmp $
fault:
  pop rax
  pop rbx
  hlt
trap:
  pop rbx
  hlt
`;

Deno.test("inject.exception: the guest's handler gets it, with its error code, at its next instruction", () => {
  for (const name of ["#GP", "#SS", "#NP", "#TS", "#PF", "#DF", "#AC"]) {
    using vm = boot(SPIN, { mode: "long", gates: gates("fault") });
    vm.inject.exception(name, { errorCode: name === "#DF" || name === "#AC" ? 0 : 0x18 });
    vm.run();
    const { rax, rbx } = vm.registers;
    assertEquals([rax, rbx], [name === "#DF" || name === "#AC" ? 0n : 0x18n, 0x10000n], name);
  }
  for (const name of ["#DE", "#DB", "#UD", "#NM", "#MF", "#XM", 5]) {
    using vm = boot(SPIN, { mode: "long", gates: gates("trap") });
    vm.inject.exception(name);
    vm.run();
    assertEquals(vm.registers.rbx, 0x10000n, String(name));
  }
});

function gates(handler: string): Record<number, string> {
  return Object.fromEntries(Array.from({ length: 32 }, (_, vector) => [vector, handler]));
}

Deno.test("inject.exception: #PF brings CR2, and the last one that was injected counts", () => {
  using vm = boot(SPIN, { mode: "long", gates: gates("fault") });
  vm.inject.exception("#GP", { errorCode: 0 });
  vm.inject.exception("#PF", { errorCode: 6, cr2: 0xdead_0000n });
  vm.run();
  assertEquals([vm.registers.cr2, vm.registers.rax], [0xdead_0000n, 6n]);
});

Deno.test("inject.exception in real mode pushes no error code", () => {
  using vm = boot(asm`
    mov word [13 * 4], handler
    hlt
    jmp $
  handler:
    pop bx
    hlt
  `);
  vm.run();
  vm.inject.exception("#GP");
  vm.run();
  assertEquals(vm.registers.rbx, vm.image.symbol("handler") - 2n);
});

Deno.test("inject.exception: what no CPU would raise so is refused", () => {
  using vm = boot(SPIN, { mode: "long" });
  const { inject } = vm;
  assertThrows(() => inject.exception("#GPF"), RangeError, "the nearest are #GP");
  assertThrows(() => inject.exception(32), RangeError, "from 0 to 31");
  assertThrows(() => inject.exception("#GP"), RangeError, "without an error code: it pushes one");
  assertThrows(() => inject.exception("#UD", { errorCode: 0 }), RangeError, "it pushes none");
  assertThrows(
    () => inject.exception("#GP", { errorCode: 2 ** 32 }),
    RangeError,
    "not a whole number of 32 bits",
  );
  assertThrows(() => inject.exception("#BP"), TypeError, "the instruction int3 raises it");
  assertThrows(() => inject.exception("#OF"), TypeError, "into");
  assertThrows(() => inject.exception("NMI"), TypeError, "use vm.inject.nmi()");
  assertThrows(() => inject.exception("#UD", { cr2: 1 }), RangeError, "only #PF has it");
  using real = boot(asm`in al, 0x10`);
  assertThrows(() => real.inject.exception("#GP", { errorCode: 0 }), RangeError, "in real mode");
  real.exits().next();
  assertThrows(() => real.inject.exception("#GP"), TypeError, "waits for its answer");
  using running = boot(asm`out 0x10, al`);
  running.ports.on(0x10, { write: () => running.inject.exception("#UD") });
  assertThrows(() => running.run(), TypeError, "the machine is running");
});

const INTERRUPTED = asm`
  bits 64
  out 0x80, al
  mov ebx, 1
  out 0x81, al
  sti
  nop
  nop
  out 0x82, al
  hlt
  out 0x83, al
  hlt
handler:
  inc ebx
  out 0x90, al
  iretq
other:
  out 0x91, al
  iretq
`;

Deno.test("inject.interrupt waits for IF and for the shadow of sti, and the guest is interrupted once", () => {
  using vm = boot(INTERRUPTED, { mode: "long", gates: { 0x40: "handler" } });
  vm.inject.interrupt(0x40);
  assertEquals(vm.inject.waiting, [0x40]);
  expect(vm).toExit([portOut(0x80), portOut(0x81), portOut(0x90), portOut(0x82), hlt()]);
  assertEquals([vm.registers.ebx, vm.inject.waiting], [2, []]);
});

Deno.test("inject.interrupt: several are taken in order, and one ends HLT", () => {
  using vm = boot(INTERRUPTED, { mode: "long", gates: { 0x40: "handler", 0x41: "other" } });
  vm.inject.interrupt(0x41);
  vm.inject.interrupt(0x40);
  expect(vm).toExit([
    portOut(0x80),
    portOut(0x81),
    portOut(0x91),
    portOut(0x90),
    portOut(0x82),
    hlt(),
  ]);
  vm.inject.interrupt(0x41);
  expect(vm).toExit([portOut(0x91), portOut(0x83), hlt()]);
});

Deno.test("inject.interrupt from a device's handler, and into a guest that goes straight to HLT", () => {
  using vm = boot(asm`
    mov word [0x40 * 4], handler
    out 0x80, al
    sti
    hlt
    mov bl, 7
    cli
    hlt
  handler:
    out 0x90, al
    iret
  `);
  vm.ports.on(0x80, { write: () => vm.inject.interrupt(0x40) });
  expect(vm).toExit([portOut(0x90), hlt()]);
  assertEquals(vm.registers.bl, 7);
});

Deno.test("IRQ_WINDOW_OPEN: inject.window ends the run when the guest takes interrupts, once", () => {
  using vm = boot(INTERRUPTED, { mode: "long" });
  vm.inject.window();
  expect(vm).toExit([portOut(0x80), portOut(0x81), exit("IRQ_WINDOW_OPEN"), portOut(0x82), hlt()]);
  using running = boot(INTERRUPTED, { mode: "long" });
  running.ports.on([0x80, 0x83], { write() {} });
  running.inject.window();
  assertEquals([running.run().reason, running.run().reason], ["IRQ_WINDOW_OPEN", "HLT"]);
});

Deno.test("inject.nmi: vector 2, whatever IF is; a second waits until IRET", () => {
  using vm = boot(
    asm`
      bits 64
      hlt
      hlt
    on_nmi:
      inc ebx
      out 0x80, al
      iretq
    `,
    { mode: "long", gates: { 2: "on_nmi" } },
  );
  vm.ports.on(0x80, {
    write: () => {
      if (vm.log.total === 1) vm.inject.nmi();
    },
  });
  vm.inject.nmi();
  vm.run();
  assertEquals(vm.registers.ebx, 2);
});

Deno.test("inject.interrupt: no vector, and interrupt controllers in the kernel, are refused", () => {
  using vm = boot(asm`hlt`);
  for (const vector of [-1, 256, 1.5, NaN]) {
    assertThrows(() => vm.inject.interrupt(vector), RangeError, "not a vector from 0 to 255");
  }
  using withIrqchip = boot(asm`hlt`, { irqchip: true });
  assertThrows(() => withIrqchip.inject.interrupt(3), TypeError, "the option `irqchip`");
  assertThrows(
    () => withIrqchip.inject.window(),
    TypeError,
    "Cannot wait for the interrupt window",
  );
  const disposed = boot(asm`hlt`);
  disposed[Symbol.dispose]();
  assertThrows(
    () => disposed.inject.nmi(),
    TypeError,
    "Cannot inject an NMI: the machine is disposed",
  );
});

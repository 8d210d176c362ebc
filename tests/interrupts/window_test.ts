import { asm, boot, expect, hlt, portOut } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

const VECTOR = 0x50;

/** A real-mode guest that disables interrupts for a while, and tells when it has an interrupt. */
const guest = asm`
    mov word [${VECTOR} * 4], on_interrupt
    mov word [${VECTOR} * 4 + 2], 0
    cli
    out 0x11, al
    nop
    out 0x12, al
    sti
    nop                     ; the interrupt shadow of STI
    out 0x13, al
    cli
    hlt
  on_interrupt:
    out 0x50, al
    iret
`;

Deno.test("an interrupt that is queued while IF is 0 is delivered when the window opens", () => {
  using vm = boot(guest);
  vm.ports.on(0x11, { write: () => vm.inject.interrupt(VECTOR) });
  expect(vm).toExit([
    portOut(0x11),
    portOut(0x12),
    portOut(0x50),
    portOut(0x13),
    hlt(),
  ]);
});

Deno.test("the window itself can be an exit, in which the interrupt is chosen", () => {
  using vm = boot(guest);
  vm.ports.on([0x11, 0x13], { write: () => {} });
  vm.ports.on(0x50, { write: () => {} });
  vm.inject.window();
  vm.on("IRQ_WINDOW_OPEN", () => vm.inject.interrupt(VECTOR));
  vm.run();
  assertEquals(
    vm.log.records().map(({ address, answeredBy }) => [address, answeredBy]).slice(0, 3),
    [[0x11, "handler"], [0x12, "handler"], [0, "handler"]],
  );
  expect(vm).toBeHalted();
  assertEquals(vm.log.records().some(({ address }) => address === 0x50), true);
});

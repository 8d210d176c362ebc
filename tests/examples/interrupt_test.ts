import { asm, boot, expect, hlt, portOut } from "@vmexit/vmexit";

// An interrupt from outside, taken by a handler that the test puts into the IDT.
Deno.test("the handler counts the interrupt, and the guest goes on", () => {
  using vm = boot(
    asm`
      bits 32
      sti
    again:
      cmp dword [ticks], 0
      je again
      out 0x80, al
      cli
      hlt
    on_tick:
      inc dword [ticks]
      iret
      align 4
    ticks: dd 0
    `,
    { mode: "protected", gates: { 0x40: "on_tick" } },
  );

  vm.inject.interrupt(0x40);

  expect(vm).toExit([portOut(0x80), hlt()]);
  expect(vm).toHaveMemory("ticks", [1, 0, 0, 0]);
});

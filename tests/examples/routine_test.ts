import { asm, boot, expect } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

// One routine of a driver, called like a function; the rest of the guest does not run.
Deno.test("the driver waits until the transmitter is empty, then sends", () => {
  using vm = boot(asm`
    hlt
  putc:
    mov ah, al
    mov dx, 0x2fd
  .wait:
    in  al, dx
    test al, 0x20
    jz  .wait
    mov al, ah
    mov dx, 0x2f8
    out dx, al
    ret
  `);
  const status = [0x00, 0x00, 0x20];
  const sent: number[] = [];
  vm.ports.on(0x2fd, { read: () => status.shift() ?? 0 });
  vm.ports.on(0x2f8, { write: (_port, value) => sent.push(value) });

  vm.call("putc", { al: 0x41 });

  assertEquals([sent, status], [[0x41], []]);
});

Deno.test("a function of 64-bit code is called by the C convention", () => {
  using vm = boot(asm`
    bits 64
    hlt
  sum:
    lea rax, [rdi + 2 * rsi]
    ret
  `);

  assertEquals(vm.call("sum", [40, 1]), 42n);
  expect(vm).toHaveRegisters({ rdi: 40, rsi: 1 });
});

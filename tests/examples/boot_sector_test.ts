import { asm, boot, expect } from "@vmexit/vmexit";

// A boot sector lies at 0x7c00 and ends with its signature; COM1 is there from the start.
Deno.test("the boot sector greets on the serial line", () => {
  using vm = boot(
    asm`
      org 0x7c00
      mov si, greeting
    .next:
      lodsb
      test al, al
      jz .done
      mov dx, 0x3f8
      out dx, al
      jmp .next
    .done:
      hlt
    greeting: db "Hello", 10, 0
      times 510 - ($ - $$) db 0
      dw 0xaa55
    `,
    { mode: "real" },
  );

  vm.run();

  expect(vm).toBeHalted();
  expect(vm).toHaveSerial("Hello\n");
  expect(vm).toHaveMemory(0x7dfe, [0x55, 0xaa]);
});

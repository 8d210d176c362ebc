import { asm, boot, expect, hlt, mmioWrite, portIn, portOut } from "@vmexit/vmexit";

Deno.test("a real-mode guest greets, asks and halts", () => {
  using vm = boot(
    asm`
    mov dx, 0x1000
    mov al, 'A'
    out dx, al
    in  al, dx
    mov [0x2000], al
    hlt
  `,
    { mode: "real", memory: "4K" },
  );
  expect(vm).toExit([
    portOut(0x1000, "A"),
    portIn(0x1000).returns(0xaa),
    mmioWrite(0x2000, [0xaa]),
    hlt(),
  ]);
  expect(vm).toHaveRegisters({ al: 0xaa, dx: 0x1000 });
});

Deno.test("a long-mode guest writes to the serial line", () => {
  using vm = boot(asm`
    bits 64
    mov dx, 0x3f8
    lea rsi, [rel message]
    mov ecx, message.end - message
    rep outsb
    hlt
  message: db "hello"
  .end:
  `);
  vm.run();
  expect(vm).toHaveSerial("hello");
  expect(vm).toBeHalted();
});

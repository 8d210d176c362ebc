import { asm, boot, expect, hlt, mmioWrite, portIn, portOut } from "@vmexit/vmexit";
Deno.test("the guest greets, asks, and halts", () => {
  using vm = boot(
    asm`
      mov dx, 0x1000
      mov al, 'A'
      out dx, al
      in  al, dx
      mov [0x2000], al        ; nothing is mapped there: MMIO
      hlt
    `,
    { mode: "real", memory: "4K" },
  );
  expect(vm).toExit([ // an ordered transcript: it answers and it asserts
    portOut(0x1000, "A"),
    portIn(0x1000).returns(0xaa),
    mmioWrite(0x2000, [0xaa]),
    hlt(),
  ]);
  expect(vm).toHaveRegisters({ al: 0xaa, dx: 0x1000 });
});

import { asm, boot, expect, hlt, portIn, portOut } from "@vmexit/vmexit";

// A transcript answers the guest's reads, so a device's timing is the test's: here it is busy twice.
Deno.test("the keyboard's byte is read once the controller has it", () => {
  using vm = boot(asm`
  again:
    in   al, 0x64
    test al, 1
    jz   again
    in   al, 0x60
    out  0x80, al
    hlt
  `);

  expect(vm).toExit([
    portIn(0x64).returns(0).times(2),
    portIn(0x64).returns(1),
    portIn(0x60).returns(0x1c),
    portOut(0x80, 0x1c),
    hlt(),
  ]);
});

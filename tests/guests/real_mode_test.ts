import { asm, boot, expect, hlt, mmioRead, mmioWrite, portIn, portOut } from "@vmexit/vmexit";

const guest = asm.file("../../guests/real_mode.asm");

const CONSOLE = 0x1000;
const NOWHERE = 0x2000;

Deno.test("a real-mode guest in 4 KiB causes every kind of exit, in order", () => {
  using vm = boot(guest, { mode: "real", memory: "4K" });

  expect(vm).toExit([
    portOut(CONSOLE, "Hello from Real Mode!\n", 1), // 22 exits of one byte
    portIn(CONSOLE, 1).returns(0xaa),
    mmioWrite(NOWHERE, 0xaa, 1),
    mmioRead(NOWHERE, 1).returns(0xbb),
    hlt(),
  ]);

  expect(vm).toHaveMemory(vm.image.symbol("answer"), [0xaa]);
  expect(vm).toHaveRegisters({ al: 0xbb, cx: 0, dx: CONSOLE });
  expect(vm).toHavePortOutput(CONSOLE, "Hello from Real Mode!\n");
  expect(vm).toBeHalted();
});

Deno.test("the same guest talks to devices as well as to a transcript", () => {
  using vm = boot(guest, { mode: "real", memory: "4K" });
  const written: number[] = [];
  vm.ports.on(CONSOLE, { write: (_port, value) => void written.push(value), read: () => 0xaa });
  vm.mmio.on(NOWHERE, { write: () => {}, read: () => 0xbb });

  vm.run();

  expect(vm).toBeHalted();
  expect(vm).toHavePortOutput(CONSOLE, new Uint8Array(written));
  expect(vm).toHaveMemory(vm.image.symbol("answer"), [0xaa]);
  expect(vm).toHaveRegisters({ al: 0xbb });
});

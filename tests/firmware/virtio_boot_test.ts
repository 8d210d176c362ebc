import { boot, Image } from "@vmexit/vmexit";
import {
  Cmos,
  DebugConsole,
  Disk,
  FwCfg,
  I8042,
  PciBus,
  Pic,
  piix,
  Pit,
  ResetControl,
  SystemControlPort,
  VirtioBlk,
  VirtioPci,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { flat } from "../guest/loaders/linked.ts";
import { firmwareFile } from "./firmware_file.ts";

const EXIT = 0xf4;

/** Reads the next sector by INT 13h, adds one to its first byte, writes it back, and ends with that, or with 0xee. */
const DISK = flat(`
  org 0x7c00
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ax, 0x0201
  mov cx, 2
  mov dh, 0
  mov bx, 0x8000
  int 0x13
  mov al, 0xee
  jc done
  inc byte [0x8000]
  mov ax, 0x0301
  int 0x13
  mov al, 0xee
  jc done
  mov al, [0x8000]
done:
  out ${EXIT}, al
  hlt
  times 510 - ($ - $$) db 0
  dw 0xaa55
  db 0x41
  times 0x100000 - ($ - $$) db 0    ; on less SeaBIOS finds no cylinder
`);

for (
  const [version, found] of [
    ["legacy", "using legacy (0.9.5) virtio mode"],
    ["transitional", "using modern (1.0) virtio mode"],
    ["modern", "using modern (1.0) virtio mode"],
  ] as const
) {
  Deno.test(`SeaBIOS boots from virtio-blk by ${version} PCI, with its own driver`, async () => {
    const disk = new Disk(DISK);
    const log = new DebugConsole(0x402);
    const functions = [piix(), new VirtioPci(new VirtioBlk(disk), { version })];
    using vm = boot(Image.fromFile(await firmwareFile("bios-256k.bin")), {
      memory: "PC",
      unclaimed: "open-bus",
      exitPort: EXIT,
      timeout: 5_000,
      devices: [
        new Pic(),
        new Pit(),
        new Cmos(),
        new I8042(),
        new SystemControlPort(),
        new ResetControl(),
        new FwCfg({ files: { "etc/boot-menu-wait": Uint8Array.of(0, 0) } }),
        new PciBus(functions, { resources: "unassigned" }),
        log,
      ],
    });
    vm.run();
    assertStringIncludes(log.text, "QEMU fw_cfg DMA interface supported");
    assertStringIncludes(log.text, found);
    assertEquals(vm.exitStatus, 0x42, log.text);
    assertEquals([disk.written, disk.bytes[512]], [[1], 0x42]);
  });
}

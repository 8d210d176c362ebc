import { asm, boot, type Machine } from "@vmexit/vmexit";
import {
  Cmos,
  DebugConsole,
  type Device,
  Disk,
  FwCfg,
  IdeDisk,
  ideFunction,
  PciBus,
  VirtioBlk,
  VirtioPci,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes } from "@std/assert";

/** SeaBIOS, as Debian has it for QEMU. */
const FIRMWARE = "/usr/share/seabios/bios-256k.bin";

/** Where its last 128 KiB are executed, and its entry in segment 0xf000 (a PC's POST entry). */
const LOW_ROM = { gpa: 0xe_0000, size: 0x2_0000 };

const MEMORY = 32 << 20;

/** A boot sector that reads the next sector by INT 13h, and ends with its first byte as the status: 0xee on an error. */
const BOOT_SECTOR = asm`
  bits 16
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
  inc byte [0x8000]         ; and writes it back
  mov ax, 0x0301
  int 0x13
  mov al, 0xee
  jc done
  mov al, [0x8000]
done:
  out 0xf4, al
  hlt
`;

function bootDisk(): Disk {
  const bytes = new Uint8Array(4 << 20);
  bytes.set(BOOT_SECTOR.assemble().bytes);
  bytes.set([0x55, 0xaa, 0x41], 510);
  return new Disk(bytes);
}

function bootFirmware(devices: readonly Device[]): { vm: Machine; log: DebugConsole } {
  const rom = Deno.readFileSync(FIRMWARE);
  const log = new DebugConsole(0x402);
  const files = { "etc/boot-menu-wait": Uint8Array.of(0, 0) };
  const vm = boot(asm`jmp 0xf000:0xe05b`, {
    memory: MEMORY,
    irqchip: true,
    pit: true,
    unclaimed: "open-bus",
    exitPort: 0xf4,
    timeout: 20_000,
    slots: [{ gpa: 2 ** 32 - rom.length, size: rom.length, readonly: true, content: rom }],
    devices: [log, new Cmos(), new FwCfg({ files }), ...devices],
  });
  vm.memory.write(LOW_ROM.gpa, rom.subarray(-LOW_ROM.size));
  return { vm, log };
}

/** How a disk is put on the board, and how SeaBIOS says that it has found it. */
const controllers: Readonly<Record<string, readonly [(disk: Disk) => Device[], found: string]>> = {
  "an ATA disk": [
    (disk) => [new PciBus([ideFunction()], { resources: "unassigned" }), new IdeDisk(disk)],
    "ata0-0: VMEXIT DISK ATA-6 Hard-Disk (4 MiBytes)",
  ],
  "virtio-blk by legacy PCI": [(disk) => [virtio(disk, "legacy")], "using legacy (0.9.5) virtio"],
  "virtio-blk by transitional PCI": [
    (disk) => [virtio(disk, "transitional")],
    "using modern (1.0) virtio mode",
  ],
  "virtio-blk by modern PCI": [
    (disk) => [virtio(disk, "modern")],
    "using modern (1.0) virtio mode",
  ],
};

function virtio(disk: Disk, version: "legacy" | "transitional" | "modern"): PciBus {
  const function_ = new VirtioPci(new VirtioBlk(disk), { version });
  return new PciBus([function_], { resources: "unassigned" });
}

for (const [what, [devices, found]] of Object.entries(controllers)) {
  Deno.test({
    name: `SeaBIOS boots from ${what}, found by its own driver`,
    ignore: !isThere(FIRMWARE),
    fn() {
      const disk = bootDisk();
      const { vm, log } = bootFirmware(devices(disk));
      using _vm = vm;
      vm.run();
      assertStringIncludes(log.text, "QEMU fw_cfg DMA interface supported");
      assertStringIncludes(log.text, found);
      assertStringIncludes(log.text, "Booting from 0000:7c00");
      assertEquals(vm.exitStatus, 0x42);
      assertEquals([disk.written, disk.bytes[512]], [[1], 0x42]);
    },
  });
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

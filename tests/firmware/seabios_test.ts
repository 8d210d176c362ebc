import { boot, expect, Image, type Machine } from "@vmexit/vmexit";
import {
  DebugConsole,
  Disk,
  FwCfg,
  IdeDisk,
  pc,
  PciBus,
  piix,
  TextScreen,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { flat } from "../guest/loaders/linked.ts";
import { firmwareFile } from "./firmware_file.ts";

/** Where SeaBIOS writes its log. */
const LOG = 0x402;
const EXIT = 0xf4;
const COM1 = Uint8Array.of(0xf8, 0x03, 0, 0, 0, 0, 0, 0);

/**
 * A boot sector of ours. It greets, reads the next one and jumps there, where the guest says so, writes a third, and ends
 * the run with the number of its drive: all by the services of the BIOS.
 */
const DISK = flat(`
  org 0x7c00
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7c00
  mov [drive], dl
  mov si, hello
  call print
  mov ax, 0x0201              ; read a sector
  mov cx, 2                   ; cylinder 0, sector 2
  mov bx, second
  call disk
  jmp second
disk:
  mov dh, 0
  mov dl, [drive]
  int 0x13
  jc failed
  ret
failed:
  mov al, ah
  out ${EXIT}, al
print:
  lodsb
  test al, al
  jz done
  mov ah, 0x0e                ; teletype
  mov bx, 7
  int 0x10
  jmp print
done:
  ret
hello: db 'The first sector speaks.', 13, 10, 0
drive: db 0
  times 510 - ($ - $$) db 0
  dw 0xaa55
second:
  mov si, again
  call print
  mov ax, 0x0301              ; write a sector
  mov cx, 3
  mov bx, written
  call disk
  mov al, [drive]
  out ${EXIT}, al
again: db 'So does the second.', 13, 10, 0
written: db 'The third is written.'
  times 2048 - ($ - $$) db 0
`);

/** A PC with SeaBIOS, and the log that it writes. */
interface SeaBios extends Disposable {
  readonly vm: Machine;
  readonly log: DebugConsole;
}

/** A PC of stock devices, with files for the firmware and perhaps a disk. */
function bootSeaBios(
  rom: Uint8Array<ArrayBuffer>,
  files: Record<string, Uint8Array>,
  disk?: Disk,
): SeaBios {
  const log = new DebugConsole(LOG);
  const bus = new PciBus([piix()], { resources: "unassigned" });
  const devices = [...pc(), new FwCfg({ files }), bus, new TextScreen(), log];
  const vm = boot(Image.fromFile(rom), {
    memory: "PC",
    // Video memory: text, and the fonts that the video BIOS loads.
    slots: [{ gpa: 0xa_0000, size: "128K" }],
    unclaimed: "open-bus",
    exitPort: EXIT,
    timeout: 5_000,
    devices: disk === undefined ? devices : [...devices, new IdeDisk(disk)],
  });
  return { vm, log, [Symbol.dispose]: () => vm[Symbol.dispose]() };
}

for (const name of ["bios.bin", "bios-256k.bin"] as const) {
  Deno.test(`${name} finds the disk, and boots our boot sector by INT 13h and INT 10h`, async () => {
    const disk = new Disk(DISK);
    const files = { "vgaroms/vgabios.bin": await firmwareFile("vgabios.bin") };
    using machine = bootSeaBios(await firmwareFile(name), files, disk);
    const { vm, log } = machine;
    vm.run();
    assertMatch(log.text, /^SeaBIOS \(version \S+\)\n/);
    assertStringIncludes(log.text, "ata0-0: VMEXIT DISK ATA-6 Hard-Disk");
    assertStringIncludes(log.text, "Booting from 0000:7c00");
    assertEquals(vm.exitStatus, 0x80);
    expect(vm).toHaveScreen(
      /^SeaBIOS \(version \S+\)\nBooting from Hard Disk\.\.\.\nThe first sector speaks\.\nSo does the second\.$/,
    );
    assertEquals(disk.written, [2]);
    const text = new TextDecoder().decode(disk.bytes.subarray(2 * 512));
    assertStringIncludes(text, "The third is written.\0");
  });

  Deno.test(`${name} answers INT 10h by the serial line where there is no video BIOS`, async () => {
    using machine = bootSeaBios(
      await firmwareFile(name),
      { "etc/sercon-port": COM1 },
      new Disk(DISK),
    );
    const { vm } = machine;
    vm.run();
    assertEquals(vm.exitStatus, 0x80);
    assertMatch(
      vm.serial!.text,
      /SeaBIOS \(version \S+\)\r\nBooting from Hard Disk\.\.\.\r\nThe first sector speaks\.\r\n/,
    );
  });

  Deno.test(`${name} finds no bootable device where there is no disk`, async () => {
    using machine = bootSeaBios(await firmwareFile(name), {});
    const { vm, log } = machine;
    vm.run({ until: "halted" });
    assertStringIncludes(log.text, "No bootable device.");
    assertEquals(vm.exitStatus, undefined);
  });
}

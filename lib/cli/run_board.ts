import { acpiTables } from "../devices/acpi/acpi_tables.ts";
import { IdeDisk } from "../devices/ata/ide_disk.ts";
import { Bios } from "../devices/bios/bios.ts";
import { Cmos } from "../devices/cmos.ts";
import { DebugConsole } from "../devices/debug_console.ts";
import type { Device } from "../devices/device.ts";
import { Disk } from "../devices/disk.ts";
import { FwCfg } from "../devices/fw_cfg/fw_cfg.ts";
import { pc } from "../devices/pc.ts";
import { PciBus } from "../devices/pci/pci_bus.ts";
import { piix } from "../devices/pci/piix.ts";
import { Pic } from "../devices/pic.ts";
import { TextScreen } from "../devices/text_screen.ts";
import { Uart } from "../devices/uart.ts";
import { Image } from "../guest/image.ts";
import type { BootOptions } from "../machine/boot/boot_options.ts";
import { sizeInBytes } from "../machine/memory/size.ts";
import { ACPI_TABLES, PC_MEMORY, PORT, TEXT_SCREEN } from "../x86/layout.ts";
import { readFile, type RunArguments } from "./run_arguments.ts";

/** A board for an image, and what is to be seen of it. */
export interface RunBoard {
  /** The image. */
  readonly image: Image;
  /** What `boot` is told, but for devices that the command adds. */
  readonly options: BootOptions;
  /** The devices. */
  readonly devices: readonly Device[];
  /** What the guest writes text to. */
  readonly consoles: readonly (Uart | DebugConsole)[];
  /** The screen, where there is memory for it. */
  readonly screen: TextScreen | undefined;
  /** The BIOS, where the guest is none itself. */
  readonly bios: Bios | undefined;
  /** What is written to memory before the guest starts. */
  readonly tables: { readonly address: number; readonly bytes: Uint8Array } | undefined;
}

/** Memory where the command line says nothing. */
const SIZES: Readonly<Record<Image["kind"], string>> = {
  multiboot: "128M",
  multiboot2: "128M",
  pvh: "128M",
  linux: "256M",
  elf: "16M",
  flat: "16M",
  rom: "32M",
  "boot-sector": "16M",
};

/** How much output is kept of each console. */
const CAPACITY = 2 ** 26;

/** Where SeaBIOS and OVMF write what they do. */
const FIRMWARE_CONSOLE = 0x402;

/** The vectors of the PICs' lines as a BIOS leaves them. */
const BIOS_VECTORS = [0x08, 0x70] as const;

const FIRST_DISK = 0x80;

/**
 * Opens the image, and makes the board that its kind is used to.
 *
 * @throws {TypeError | RangeError} When it cannot be opened, or a size is none.
 */
export function boardOf(given: RunArguments): RunBoard {
  const image = open(given);
  const { mode, cpus, kernel } = given;
  const size = sizeInBytes(given.memory ?? SIZES[image.kind]);
  const isFirmware = image.kind === "rom";
  const hasLowMemory = size >= PC_MEMORY.high;
  const screen = hasLowMemory ? new TextScreen() : undefined;
  const consoles = [
    new Uart("COM1", CAPACITY),
    new DebugConsole(isFirmware ? FIRMWARE_CONSOLE : PORT.debugConsole, CAPACITY),
  ];
  const disks = disksOf(image, given);
  const bios = isFirmware || !hasLowMemory ? undefined : new Bios({ disks, screen });
  // What a BIOS starts counts on the timer that it has started; kernels on local APICs.
  const isOfBios = image.kind === "boot-sector" ||
    image.kind === "linux" && (mode === "real" || image.bits === 16);
  const hasOwnPic = isOfBios && cpus === 1;
  // Kernels that look for a disk find its controller as a function of PCI.
  const others: Device[] = isFirmware
    ? [new FwCfg({ memory: size, cpus }), new PciBus([piix()], { resources: "unassigned" })]
    : [new PciBus([piix()])];
  if (disks[FIRST_DISK] !== undefined) others.push(new IdeDisk(disks[FIRST_DISK]));
  if (bios !== undefined) others.push(bios);
  if (screen !== undefined) others.push(screen);
  return {
    image,
    consoles,
    screen,
    bios,
    devices: [
      ...consoles,
      ...pc({
        cmos: new Cmos({ date: new Date() }),
        ...hasOwnPic ? { pic: new Pic({ vectors: BIOS_VECTORS }) } : { pic: false, pit: false },
      }),
      ...others,
    ],
    options: {
      ...mode === undefined ? {} : { mode },
      ...kernel === undefined ? {} : { kernel },
      ...isFirmware
        ? {
          memory: { size, holes: "PC" },
          slots: [{ gpa: TEXT_SCREEN.start, size: TEXT_SCREEN.size }],
        }
        : { memory: size },
      cpus,
      // With KVM's clock a kernel need not find out how fast the processor's counter is.
      // Linux misses the local APIC's deadlines where KVM is emulated (docs/limits.md), and no tick comes any more.
      cpuid: { show: ["hypervisor"], hide: ["tsc_deadline_timer"] },
      serial: false,
      irqchip: !hasOwnPic,
      pit: !hasOwnPic,
      exitPort: PORT.exit,
      unclaimed: "open-bus",
    } as BootOptions,
    tables: isFirmware || !hasLowMemory
      ? undefined
      : { address: ACPI_TABLES, bytes: acpiTables({ cpus, apics: !hasOwnPic, pci: {} }) },
  };
}

function open({ file, kind, origin }: RunArguments): Image {
  return Image.open(file, {
    ...kind === undefined ? {} : { kind },
    ...origin === undefined ? {} : { origin },
  });
}

/** The disks by the numbers that a BIOS gives them: the one that was given, else the one that the boot sector is of. */
function disksOf({ protocol }: Image, { file, disk }: RunArguments): Record<number, Disk> {
  if (disk !== undefined) return { [FIRST_DISK]: new Disk(readFile(disk)) };
  return protocol?.kind === "boot-sector" ? { [protocol.drive]: new Disk(readFile(file)) } : {};
}

import * as exported from "@vmexit/vmexit/devices";
import {
  AcpiPmTimer,
  AcpiPower,
  Cmos,
  DebugConsole,
  type Device,
  type DeviceMemory,
  Disk,
  ExitPort,
  Flash,
  FwCfg,
  hostBridge,
  Hpet,
  I8042,
  IdeDisk,
  pc,
  PciBus,
  PciFunction,
  Pic,
  piix,
  Pit,
  PostCodes,
  RegisterMap,
  ResetControl,
  SystemControlPort,
  TextScreen,
  Uart,
  Unikernel,
  VirtioBlk,
  VirtioConsole,
  VirtioDevice,
  VirtioMmio,
  VirtioNet,
  VirtioPci,
} from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import { type Fuzz, fuzz, FUZZ_SCRATCH, fuzzedAccesses } from "./fuzz.ts";
import { bytesBar, Toy } from "./pci/toy.ts";
import { DriverQueue } from "./virtio/driver_queue.ts";

const SCRATCH = FUZZ_SCRATCH.start;
const VIRTIO_STATUSES = [0, 1, 3, 7, 0xb, 0xf];
const FIRST_FILE = exported.FW_CFG_KEY.FILE_FIRST;

/** A device on a board that is not reset, and not turned off, and whose A20 gate hides nothing: the guest goes on. */
function staysOn(device: Device): Device {
  let isOpen = true;
  return {
    name: device.name,
    attach(board) {
      const own = Object.create(board, {
        reset: { value: () => {} },
        init: { value: () => {} },
        powerOff: { value: () => {} },
        a20: { get: () => isOpen, set: (open: boolean) => isOpen = open },
      });
      device.attach(own);
    },
    reset: () => device.reset?.(),
    save: () => device.save?.(),
    restore: (state) => device.restore?.(state),
  };
}

/** A queue with requests in the scratch memory, whose fields accesses may set, too. */
function prepareQueue(memory: DeviceMemory): void {
  const queue = new DriverQueue(memory, SCRATCH, 64);
  for (let index = 0; index < 64; index++) {
    queue.describe(index, {
      address: SCRATCH + 0x8000 + index * 0x100,
      length: index % 7 === 0 ? 0xffff_ffff : index * 16,
      flags: index % 8,
      next: (index * 13 + 1) % 66,
    });
    queue.makeAvailable(index % 66);
  }
}

const toy = () =>
  new Toy({
    interruptPin: "A",
    msi: 4,
    msix: { vectors: 4, bar: 4 },
    bars: [bytesBar("io", 16), bytesBar("memory32", 0x1000), bytesBar("memory64", 0x1000)],
  });

/** What is fuzzed: which of the exported devices, on one board, and how. */
const CASES: Readonly<Record<string, Fuzz>> = {
  "PICs, PIT and real-time clock": {
    of: [Pic, Pit, Cmos],
    devices: () => [new Pic(), new Pit(), new Cmos()],
    ports: [[0x20, 0x22], [0x3f, 0x44], [0x61, 0x61], [0x70, 0x72], [0xa0, 0xa1], [0x4d0, 0x4d2]],
    values: [0x11, 0x20, 0x0c, 0x34, 0x36, 0xb0, 0xe2, 0x0a, 0x0b, 0x0c],
  },
  "keyboard controller, ports 0x80, 0x92 and 0xcf9": {
    of: [I8042, SystemControlPort, ResetControl, PostCodes],
    devices: () => {
      const i8042 = new I8042();
      i8042.keyboard.type("a keyboard on which somebody types\n".repeat(20));
      i8042.mouse.move(10_000, -10_000);
      const parts = pc({ i8042, pit: false, cmos: false, pmTimer: false, power: false });
      return parts.map((part) => part instanceof Pic ? part : staysOn(part));
    },
    ports: [[0x60, 0x60], [0x64, 0x65], [0x80, 0x80], [0x92, 0x93], [0xcf9, 0xcfa]],
    values: [0x20, 0x60, 0xaa, 0xd1, 0xd4, 0xed, 0xf0, 0xf2, 0xf4, 0xff, 0x65, 0x06],
  },
  "two UARTs, a debug console and an exit port": {
    of: [Uart, DebugConsole, ExitPort],
    devices: () => {
      const uart = new Uart("COM2");
      uart.send("text that waits ".repeat(1000));
      uart.sendError("parity", 0x41);
      const exitPort: Device = {
        name: "exit port",
        attach: ({ ports }) => void ports.on(0xf4, new ExitPort(() => {})),
      };
      const console = new DebugConsole();
      return [uart, new Uart({ base: 0x500, irq: 5 }), new Pic(), console, exitPort];
    },
    ports: [[0x2f7, 0x300], [0x4ff, 0x508], [0xe9, 0xea], [0xf4, 0xf5]],
    values: [0x01, 0xc7, 0x10, 0x1f, 0x80, 0x0f],
  },
  "ACPI's registers and the HPET": {
    of: [AcpiPower, AcpiPmTimer, Hpet],
    devices: () => [
      staysOn(new AcpiPower()),
      new AcpiPmTimer(),
      new AcpiPmTimer({ bits: 32, port: 0x708 }),
      new Hpet(),
      new Pic(),
    ],
    ports: [[0x5ff, 0x60c], [0x707, 0x70c]],
    mmio: [[0xfed0_0000, 0xfed0_0180], [0xfed0_0000, 0xfed0_0020], [0xfed0_03f0, 0xfed0_0400]],
    values: [1, 3, 0x4c, 0x14c, 0x1604, 0x2e04, 1000, 0x2000],
  },
  "an ATA disk": {
    of: [IdeDisk],
    devices: () => [new IdeDisk(new Disk(64 * 512))],
    ports: [[0x1f0, 0x1f7], [0x1f0, 0x1f0], [0x1f7, 0x1f7], [0x3f6, 0x3f6]],
    values: [0x20, 0x24, 0x29, 0x30, 0x34, 0x39, 0xc4, 0xc5, 0xc6, 0xec, 0xef, 0xe0, 0xa0],
  },
  "a flash chip": {
    of: [Flash],
    isSlow: true,
    devices: () => [new Flash({ content: new Uint8Array(0x4000) })],
    mmio: [[0xffff_c000, 0xffff_dfff], [0xffff_c000, 0xffff_c02f], [0xffff_fff0, 0xffff_fffb]],
    values: [0x10, 0x20, 0x40, 0x50, 0x70, 0x90, 0x98, 0xd0, 0xff],
  },
  "the text screen": {
    of: [TextScreen],
    devices: () => [new TextScreen()],
    ports: [[0x3bf, 0x3e0], [0x3d4, 0x3d5]],
    values: [0x0a, 0x0c, 0x0d, 0x0e, 0x0f],
  },
  "fw_cfg": {
    of: [FwCfg],
    devices: () => [new FwCfg({ files: { a: { content: "abc", writable: true } } })],
    ports: [[0x50e, 0x520], [0x510, 0x51b]],
    // The last is the structure's address, big-endian.
    values: [0, 0x20, 0x19, new DataView(Uint8Array.of(0, 0x30, 1, 0).buffer).getUint32(0, true)],
    prepare: (memory) => {
      const structure = new DataView(new ArrayBuffer(16));
      structure.setUint32(0, FIRST_FILE << 16 | 0xa); // select, and read
      structure.setUint32(4, 0xffff_ffff);
      structure.setBigUint64(8, BigInt(SCRATCH + 0x200));
      memory.write(SCRATCH + 0x100, new Uint8Array(structure.buffer));
    },
  },
  "a PCI bus with its host bridge": {
    of: [PciBus, PciFunction, hostBridge],
    devices: () => [new PciBus([toy(), [toy(), toy()]], { ecam: 0xb000_0000 })],
    ports: [[0xcf6, 0xd00], [0xcf8, 0xcf8], [0xcfc, 0xcff], [0xc000, 0xc020]],
    mmio: [[0xe000_0000, 0xe000_7fff], [0xb000_0000, 0xb000_00ff], [0xb000_8000, 0xb000_90ff]],
    values: [
      ...Array.from({ length: 32 }, (_, index) => 0x8000_0800 + index * 4),
      0x8000_0058,
      0x8000_005c,
      0xffff_ffff,
      SCRATCH,
      0xfee0_0000,
      0xe000_0000,
      7,
    ],
  },
  "the south bridge of a PC": {
    of: [piix],
    devices: () => [new Pic(), new PciBus([piix(), toy()])],
    ports: [[0xcf8, 0xcf8], [0xcfc, 0xcff]],
    values: [
      ...[0x00, 0x04, 0x3c, 0x60, 0x64, 0x68].map((register) => 0x8000_0800 + register),
      ...[0x40, 0x58, 0x80, 0x90, 0xd0].map((register) => 0x8000_0b00 + register),
      0x8000_0940,
      0x8000_103c,
    ],
  },
  "virtio devices by PCI": {
    of: [VirtioPci, VirtioBlk, VirtioNet, VirtioConsole],
    devices: () => [
      new PciBus([
        new VirtioPci(new VirtioBlk(new Disk(4096))),
        new VirtioPci(new VirtioNet(), { version: "legacy" }),
        new VirtioPci(new VirtioConsole(), { version: "modern" }),
      ]),
    ],
    ports: [[0xcf8, 0xcff], [0xc000, 0xc09f]],
    mmio: [
      [0xe000_0000, 0xe000_003f],
      [0xe000_4000, 0xe000_403f],
      [0xe000_1000, 0xe000_a000],
    ],
    values: [
      ...VIRTIO_STATUSES,
      SCRATCH,
      SCRATCH / 4096,
      64,
      0x8000_0804,
      0x8000_1004,
      0x8000_1804,
    ],
    prepare: prepareQueue,
  },
  "virtio devices by MMIO": {
    of: [VirtioMmio, VirtioBlk, VirtioNet, VirtioConsole],
    devices: () => [
      new VirtioMmio(new VirtioBlk(new Disk(4096)), { version: 1 }),
      new VirtioMmio(new VirtioNet(), { address: 0xd000_0200, irq: 6 }),
      new VirtioMmio(new VirtioConsole(), { address: 0xd000_0400, irq: 7 }),
    ],
    mmio: [[0xd000_0000, 0xd000_05ff], [0xd000_0030, 0xd000_0070], [0xd000_0230, 0xd000_02a7]],
    values: [...VIRTIO_STATUSES, SCRATCH, SCRATCH + 0x1000, SCRATCH / 4096, 4096, 64],
    prepare: prepareQueue,
  },
  "a unikernel's hypercalls": {
    of: [Unikernel],
    devices: () => [staysOn(new Unikernel({ files: { a: "b" }, writable: true, frames: [] }))],
    ports: [
      ...[0x400, 0x440, 0x480, 0x500, 0x580, 0x640, 0x680, 0x700, 0x740, 0x780, 0x800, 0x840]
        .map((port) => [port, port] as const),
      [0x400, 0x840],
    ],
    values: Array.from({ length: 40 }, (_, index) => SCRATCH + 0x100 * index),
    prepare: (memory) => {
      for (let index = 0; index < 40; index++) {
        const structure = new DataView(new ArrayBuffer(24));
        // Each begins with a descriptor and a buffer, or with a pointer to a path, and what it says after that.
        if (index % 2 === 0) structure.setInt32(0, index / 2 % 6, true);
        else structure.setBigUint64(0, BigInt(SCRATCH + 0x8000), true);
        structure.setUint32(
          index % 2 === 0 ? 4 : 8,
          index % 4 === 0 ? SCRATCH + 0x9000 : 0o2102,
          true,
        );
        structure.setUint32(12, index * 100, true);
        memory.write(SCRATCH + 0x100 * index, new Uint8Array(structure.buffer));
      }
      memory.write(SCRATCH + 0x8000, new TextEncoder().encode("a\0"));
    },
    refusal: "Cannot take the hypercall",
  },
  "a register map, which refuses what it does not have": {
    of: [RegisterMap],
    devices: () => [
      new RegisterMap("ADC", {
        port: 0x300,
        reserved: { seed: 1 },
        registers: {
          CONTROL: { offset: 0, fields: { START: 0, CHANNEL: [6, 4] } },
          STATUS: { offset: 1, access: "ro", fields: { READY: 7 } },
          DATA: { offset: 2, size: 2, reset: 0x5a },
          EVENTS: { offset: 4, size: 4, access: "w1c", reset: 0xffff },
        },
      }),
    ],
    ports: [[0x2ff, 0x309]],
    refusal: "Cannot take the guest's",
  },
};

for (const [name, each] of Object.entries(CASES)) {
  const count = fuzzedAccesses(each).toLocaleString("en");
  Deno.test(`${count} random accesses of guests to ${name}`, () => fuzz(each));
}

Deno.test("every exported device is fuzzed", () => {
  const fuzzed = new Set(Object.values(CASES).flatMap((each) => each.of));
  const isDevice = (value: unknown) =>
    typeof value === "function" &&
    ("attach" in (value.prototype ?? {}) || value.prototype instanceof VirtioDevice ||
      value === ExitPort || value === hostBridge || value === piix);
  const devices = Object.entries(exported).filter(([, value]) => isDevice(value));
  // That of BIOS services takes calls, by registers: bios_fuzz_test.ts.
  const names = devices.filter(([, value]) => !fuzzed.has(value)).map(([name]) => name);
  assertEquals(names, ["Bios"]);
});

import {
  AcpiPmTimer,
  AcpiPower,
  Bios,
  Cmos,
  DebugConsole,
  type Device,
  Disk,
  Flash,
  FwCfg,
  Hpet,
  I8042,
  IdeDisk,
  PciBus,
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
  type VirtioDevice,
  VirtioMmio,
  VirtioNet,
  VirtioPci,
} from "@vmexit/vmexit/devices";
import { BIOS, PORT, UNIKERNEL_PORT } from "../../lib/x86/layout.ts";
import type { SplitMix32 } from "../../lib/x86/split_mix.ts";
import type { BenchBoard } from "./bench_board.ts";
import { Toy } from "./pci/toy.ts";

/** What is done to a device, with numbers by chance. */
type Deed = (random: SplitMix32, board: BenchBoard) => unknown;

/** Devices on a board, and what leads them further than accesses by chance do. */
export interface Subject {
  readonly devices: readonly Device[];
  /** What else has a state to look at: disks, keyboards, devices behind transports. */
  readonly parts?: readonly object[];
  /** Done once, before anything else. */
  readonly prepare?: (board: BenchBoard) => void;
  readonly deeds?: readonly Deed[];
  /** Values that are written among others. */
  readonly values?: readonly number[];
  /** Whether the guest's accesses are deeds alone: by chance they would be none of a guest's. */
  readonly noAccesses?: boolean;
}

const DISK = Uint8Array.from({ length: 64 * 512 }, (_, index) => index * 7 + (index >> 9));

/** Where structures and buffers lie. */
const STRUCTURE = 0x3000;
export const BUFFER = 0x8000;
const QUEUES = 0x2_0000;
const QUEUE_DISTANCE = 0x4000;

/** Every kind of stock device. */
export const SUBJECTS: Readonly<Record<string, () => Subject>> = {
  flash: () => ({
    devices: [new Flash({ content: new Uint8Array(0x2000).map((_, index) => index) })],
    values: [0x10, 0x20, 0x40, 0x50, 0x70, 0x90, 0x98, 0xd0, 0xff],
  }),
  "ACPI PM timer": () => ({ devices: [new AcpiPmTimer()] }),
  "ACPI power": () => {
    const power = new AcpiPower();
    return { devices: [power], deeds: [() => power.pressPowerButton()], values: [0x21, 0x2000] };
  },
  BIOS: () => {
    const screen = new TextScreen();
    const disk = new Disk(DISK);
    const bios = new Bios({ disks: { 0x80: disk }, screen, quirks: { failsReadsEvery: 3 } });
    const call = (vector: number, ...functions: number[]): Deed => (random, board) => {
      const registers = {
        ip: BIOS.stubs + 4 * vector,
        cs: BIOS.segment,
        ax: functions[random.below(functions.length)] << 8 | 1 + random.below(4),
        bx: BUFFER,
        cx: 1 + random.below(50),
        dx: vector === 0x13 ? 0x80 : random.below(0x1900),
        sp: 0x7000,
      };
      for (const [name, value] of Object.entries(registers)) board.cpu.set(name, value);
      board.ports.at(PORT.bios)!.write!(PORT.bios, 0, 1);
      return [...board.registers];
    };
    return {
      devices: [screen, bios],
      parts: [disk],
      noAccesses: true,
      deeds: [
        (random) => bios.type("abcxyz"[random.below(6)]),
        (random) => random.below(16) === 0 && bios.fails(0x13, 0x02, 1 + random.below(9), 2),
        call(0x10, 2, 3, 9, 0xe),
        call(0x13, 1, 2, 3),
        call(0x16, 0, 1),
        call(0x1a, 0, 2),
      ],
    };
  },
  CMOS: () => ({ devices: [new Cmos(), new Pic()], values: [0x0a, 0x0b, 0x0c, 0x26, 0x72] }),
  "debug console": () => ({ devices: [new DebugConsole()] }),
  fw_cfg: () => ({
    devices: [
      new FwCfg({
        files: { "etc/a": "text", "etc/b": { content: new Uint8Array(9), writable: true } },
      }),
    ],
    values: [0x00, 0x19, 0x20, 0x21],
    deeds: [(random, board) => {
      // By DMA: select a file and write to it, or read.
      const access = new DataView(board.bytes.buffer, STRUCTURE, 16);
      access.setUint32(0, (0x20 + random.below(3)) << 16 | 8 | (random.below(2) ? 2 : 16));
      access.setUint32(4, random.below(12));
      access.setBigUint64(8, BigInt(BUFFER + random.below(64)));
      const address = new DataView(new ArrayBuffer(4));
      address.setUint32(0, STRUCTURE);
      board.ports.at(0x518)!.write!(0x518, address.getUint32(0, true), 4);
      return access.getUint32(0);
    }],
  }),
  HPET: () => ({ devices: [new Hpet(), new Pic()], values: [1, 3, 0x4c, 0x164c, 0x160e, 1000] }),
  i8042: () => {
    const i8042 = new I8042();
    const { keyboard, mouse } = i8042;
    return {
      devices: [i8042, new Pic()],
      parts: [keyboard, mouse],
      values: [0x20, 0x60, 0xaa, 0xd1, 0xd4, 0xed, 0xf0, 0xf2, 0xf4, 0x65, 0x47],
      deeds: [
        (random) => keyboard.type("abcXYZ"[random.below(6)]),
        (random) => mouse.move(random.below(300) - 150, random.below(300) - 150),
        (_random, { ports }) => ports.at(0x60)!.read!(0x60, 1),
        (random, { ports }) => ports.at(0x64)!.write!(0x64, [0xae, 0xa8][random.below(2)], 1),
      ],
    };
  },
  "IDE disk": () => {
    const disk = new Disk(DISK);
    return {
      devices: [new IdeDisk(disk), new Pic()],
      parts: [disk],
      values: [0x20, 0x24, 0x30, 0x34, 0xc4, 0xc5, 0xc6, 0xec, 0xe0, 1, 2, 3],
      deeds: [
        (random) => void disk.badSectors.add(40 + random.below(20)),
        (random, { ports }) => {
          const at = (register: number, value: number) =>
            ports.at(0x1f0)!.write!(0x1f0 + register, value, 1);
          at(2, 1 + random.below(3));
          at(3, random.below(60));
          at(4, 0);
          at(5, 0);
          at(6, 0xe0);
          at(7, [0x20, 0x30][random.below(2)]);
        },
        (random, { ports }) => {
          const data = ports.at(0x1f0)!;
          for (let word = 0; word < 256; word++) data.write!(0x1f0, random.below(0x1_0000), 2);
          return data.read!(0x1f7, 1);
        },
      ],
    };
  },
  PCI: () => {
    const bars = ([["memory32", 0x100], ["io", 0x20]] as const).map(([type, size]) => ({
      type,
      size,
      read: (offset: number) => offset & 0xff,
      write() {},
    }));
    const toys = bars.map((bar) => new Toy({ bars: [bar], interruptPin: "A" }));
    return {
      devices: [new PciBus([...toys, piix()]), new Pic()],
      values: [0x8000_0004, 0x8000_0804, 0x8000_0810, 0x8000_1010, 0x8000_005c, 0, 7, 0x3333_0000],
      deeds: toys.map((toy): Deed => (random) => toy.pull(random.below(2) === 0)),
    };
  },
  PIC: () => {
    const pic = new Pic({ vectors: [0x08, 0x70] });
    return {
      devices: [pic],
      values: [0x20, 0x60, 0x63, 0x0a, 0x0b, 0x68, 0x11],
      deeds: [
        (random) => pic.setLine(random.below(16), random.below(2) === 0),
        (random) => pic.spurious(random.below(2) === 0 ? 7 : 15),
      ],
    };
  },
  PIT: () => ({ devices: [new Pit(), new Pic()], values: [0x34, 0x36, 0xb6, 0x30, 0xc2, 0xe2, 3] }),
  "POST codes": () => ({ devices: [new PostCodes()] }),
  "register map": () => {
    const registers = {
      CONTROL: { offset: 0, fields: { START: 0, SPEED: [5, 4] } },
      STATUS: { offset: 1, access: "ro", fields: { READY: 7, ERROR: 0 } },
      DATA: { offset: 2, reset: 0x5a },
      FLAGS: { offset: 3, fields: { A: { bits: 0, access: "w1c" } } },
    } as const;
    const map = new RegisterMap("toy", { port: 0x300, registers, irq: 5, reserved: { seed: 1 } });
    return {
      devices: [map, new Pic()],
      deeds: [
        (random) => map.replies("DATA", [random.below(256), random.below(256)]),
        (random) =>
          map.becomes("STATUS.READY", random.below(2), { afterReads: 1 + random.below(4) }),
        (random) => map.delay("STATUS.READY", 1 + random.below(4)),
        (random) => map.stick("STATUS.ERROR", random.below(2)),
        (random) => map.failOnce("DATA", random.below(256)),
        (random) => map.float(random.below(4) === 0),
        (random) => map.set("FLAGS", random.below(2)),
        (random) => map.interrupt(random.below(2) === 0),
      ],
    };
  },
  "reset control": () => ({ devices: [new ResetControl()] }),
  "system control port": () => ({ devices: [new SystemControlPort()] }),
  "text screen": () => ({ devices: [new TextScreen()] }),
  UART: () => {
    const uart = new Uart("COM2");
    return {
      devices: [uart, new Pic()],
      values: [0x01, 0xc7, 0x10, 0x1f, 0x80, 0x0f],
      deeds: [
        (random) => uart.send("some text".slice(random.below(8))),
        (random) => uart.sendError("parity", random.below(256)),
        (random) => uart.setModem({ cts: random.below(2) === 0, ri: random.below(2) === 0 }),
      ],
    };
  },
  unikernel: () => {
    const unikernel = new Unikernel({
      input: "input of the guest".repeat(20),
      files: { a: "alpha", b: "beta beta beta" },
      writable: true,
      frames: [new Uint8Array(60)],
    });
    return {
      devices: [unikernel],
      noAccesses: true,
      deeds: [
        (random) => unikernel.receive(new Uint8Array(1 + random.below(60))),
        (random, board) => call(board, "open", PATH, [0, 0o102, 0o2001][random.below(3)], 0),
        (random, board) => call(board, "close", 3 + random.below(3)),
        (random, board) => call(board, "read", random.below(5) || 3, BigInt(BUFFER), 7n),
        (random, board) => call(board, "write", 1 + random.below(4), BigInt(BUFFER), 9n),
        (random, board) => call(board, "lseek", 3, BigInt(random.below(9)), random.below(3)),
        (random, board) => {
          board.bytes[Number(PATH)] = "abc".charCodeAt(random.below(3));
          return call(board, "unlink", PATH);
        },
        (_random, board) => call(board, "netread", BigInt(BUFFER), 100n),
        (_random, board) => call(board, "netwrite", BigInt(BUFFER), 60n),
        (random, board) => call(board, "exit", random.below(200)),
        (random, board) => board.ports.at(UNIKERNEL_PORT.uart)!.write!(0, random.below(128), 1),
        (random, board) => void (board.bytes[Number(PATH)] = "abc".charCodeAt(random.below(3))),
      ],
    };
  },
  "virtio-blk by MMIO": () => {
    const disk = new Disk(DISK);
    const blk = new VirtioBlk(disk);
    return { ...virtio(blk, [new VirtioMmio(blk)]), parts: [blk, disk] };
  },
  "virtio-console by legacy PCI": () => {
    const console = new VirtioConsole();
    const bus = new PciBus([new VirtioPci(console, { version: "legacy" })]);
    const { deeds, ...rest } = virtio(console, [bus]);
    return { ...rest, deeds: [...deeds, () => console.send("typed")] };
  },
  "virtio-net by modern PCI": () => {
    const net = new VirtioNet();
    const pci = new VirtioPci(net);
    const { deeds, parts, ...rest } = virtio(net, [new PciBus([pci])]);
    return {
      ...rest,
      parts: [...parts, pci],
      deeds: [
        ...deeds,
        (random) => net.send(new Uint8Array(1 + random.below(60))),
        (random) => void (net.linkUp = random.below(2) === 0),
      ],
    };
  },
};

/** Where the path of a hypercall lies. */
export const PATH = 0x4000n;

/** A hypercall of a unikernel's: what it has in memory afterwards. */
export function call(
  { bytes, ports }: BenchBoard,
  name: "open" | "close" | "read" | "write" | "lseek" | "unlink" | "netread" | "netwrite" | "exit",
  ...members: (number | bigint)[]
): unknown {
  const view = new DataView(bytes.buffer, STRUCTURE, 64);
  let offset = 0;
  for (const member of members) {
    if (typeof member === "number") view.setInt32(offset, member, true);
    else view.setBigInt64(offset, member, true);
    offset += typeof member === "number" ? 4 : 8;
  }
  ports.at(UNIKERNEL_PORT[name])!.write!(UNIKERNEL_PORT[name], STRUCTURE, 4);
  return bytes.slice(STRUCTURE, STRUCTURE + 40);
}

const DESCRIPTORS = 32;
const CHAINS = 10;
const CHAIN = 3;

/** A virtio device whose driver has set it up, and hands it chains: one that is read, one that is written, one byte. */
function virtio(device: VirtioDevice, devices: readonly Device[]) {
  const queues = Array.from({ length: device.queueCount }, (_, index) => ({
    index,
    start: QUEUES + index * QUEUE_DISTANCE,
    get available() {
      return this.start + 0x1000;
    },
  }));
  return {
    devices: [...devices, new Pic()],
    parts: [device] as object[],
    prepare: ({ bytes }: BenchBoard) => {
      const view = new DataView(bytes.buffer);
      device.writeFeatures(1, 1, false);
      device.writeStatus(0x0b);
      for (const { index, start, available } of queues) {
        // The queue for reception of consoles and cards, 0 of two, takes buffers to write to alone.
        const isReception = index === 0 && queues.length === 2;
        for (let chain = 0; chain < CHAINS; chain++) {
          const lengths = [16, 512, 1];
          for (let part = 0; part < CHAIN; part++) {
            const at = start + 16 * (CHAIN * chain + part);
            const buffer = start + 0x2000 + chain * 0x300 + part * 16;
            const writes = isReception || part === 2 || part === 1 && chain % 2 === 0;
            view.setBigUint64(at, BigInt(buffer), true);
            view.setUint32(at + 8, lengths[part], true);
            view.setUint16(at + 12, (part < 2 ? 1 : 0) | (writes ? 2 : 0), true);
            view.setUint16(at + 14, CHAIN * chain + part + 1, true);
            if (part === 0) {
              view.setUint32(buffer, chain % 2, true);
              view.setUint32(buffer + 8, chain, true);
            }
          }
        }
        for (let entry = 0; entry < DESCRIPTORS; entry++) {
          view.setUint16(available + 4 + 2 * entry, CHAIN * (entry % CHAINS), true);
        }
        Object.assign(device.queue(index)!, {
          size: DESCRIPTORS,
          descriptors: BigInt(start),
          available: BigInt(available),
          used: BigInt(start + 0x1800),
        });
        device.enableQueue(index);
      }
      device.writeStatus(0x0f);
    },
    deeds: [
      (random: SplitMix32, { bytes }: BenchBoard) => {
        const { index, available } = queues[random.below(queues.length)];
        const view = new DataView(bytes.buffer);
        view.setUint16(available + 2, view.getUint16(available + 2, true) + 1, true);
        device.notify(index);
        return [device.interruptStatus, device.failure];
      },
      () => device.acknowledge(device.interruptStatus),
    ] as Deed[],
    noAccesses: true,
  };
}

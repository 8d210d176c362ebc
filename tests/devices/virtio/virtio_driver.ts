import type { Machine } from "@vmexit/vmexit";
import {
  type Device,
  PciBus,
  type VirtioDevice,
  VirtioMmio,
  VirtioPci,
} from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import {
  type Access,
  bootAccesses,
  in16,
  in32,
  in8,
  out16,
  out32,
  out8,
  perform,
  read16,
  read32,
  read8,
  write16,
  write32,
  write8,
} from "../accesses.ts";
import { DriverQueue } from "./driver_queue.ts";

/** The ways to a device. */
export const TRANSPORTS = ["legacy PCI", "modern PCI", "MMIO 1", "MMIO 2"] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** Where queues lie in the guest's memory, and how far apart. */
const QUEUES = 0x20_0000;
const QUEUE_DISTANCE = 0x1_0000;

/** Where the devices lie. */
const PORTS = 0xc000;
const MODERN = 0xe000_0000;
const MMIO = 0xd000_0000;
const [ISR, CONFIGURATION, NOTIFY] = [MODERN + 0x1000, MODERN + 0x2000, MODERN + 0x3000];

const VERSION_1 = 1n << 32n;

/** A driver of virtio devices, whose accesses a guest makes. */
export class VirtioDriver implements Disposable {
  readonly vm: Machine;
  readonly device: VirtioDevice;
  readonly board: Device;
  readonly transport: Transport;
  readonly queues: readonly DriverQueue[];
  /** The interrupt lines that are asserted. */
  readonly asserted = new Set<number>();

  constructor(device: VirtioDevice, transport: Transport) {
    this.device = device;
    this.transport = transport;
    this.board = this.#isPci
      ? new PciBus([new VirtioPci(device, { version: this.isLegacy ? "legacy" : "modern" })])
      : new VirtioMmio(device, { version: this.isLegacy ? 1 : 2 });
    const controller: Device = {
      name: "controller",
      attach: (board) =>
        board.connectInterruptController({
          setLine: (irq, level) =>
            void (level ? this.asserted.add(irq) : this.asserted.delete(irq)),
          hasInterrupt: false,
          acknowledge: () => 0,
        }),
    };
    this.vm = bootAccesses({ devices: [controller, this.board], unclaimed: "open-bus" });
    this.queues = Array.from({ length: device.queueCount }, (_, index) => {
      const size = device.queue(index)!.maximum;
      return new DriverQueue(this.vm.memory, QUEUES + index * QUEUE_DISTANCE, size);
    });
    if (this.#isPci) this.setCommand(7);
  }

  get #isPci(): boolean {
    return this.transport.endsWith("PCI");
  }

  get isLegacy(): boolean {
    return this.transport === "legacy PCI" || this.transport === "MMIO 1";
  }

  run(...accesses: Access[]): number[] {
    return perform(this.vm, accesses);
  }

  #last(...accesses: Access[]): number {
    return this.run(...accesses).at(-1)!;
  }

  /** Sets the command register of the function. */
  setCommand(value: number): void {
    this.run(out32(0xcf8, 0x8000_0804), out32(0xcfc, value));
  }

  /** The device status. */
  get status(): number {
    return this.#last(
      {
        "legacy PCI": in8(PORTS + 18),
        "modern PCI": read8(MODERN + 20),
        "MMIO 1": read32(MMIO + 0x70),
        "MMIO 2": read32(MMIO + 0x70),
      }[this.transport],
    ) & 0xff;
  }
  set status(value: number) {
    this.run(
      {
        "legacy PCI": out8(PORTS + 18, value),
        "modern PCI": write8(MODERN + 20, value),
        "MMIO 1": write32(MMIO + 0x70, value),
        "MMIO 2": write32(MMIO + 0x70, value),
      }[this.transport],
    );
  }

  /** The features that are offered. */
  get features(): bigint {
    const half = (select: number): number =>
      this.#last(
        ...{
          "legacy PCI": [select === 0 ? in32(PORTS) : write32(0x8000, 0)],
          "modern PCI": [write32(MODERN, select), read32(MODERN + 4)],
          "MMIO 1": [write32(MMIO + 0x14, select), read32(MMIO + 0x10)],
          "MMIO 2": [write32(MMIO + 0x14, select), read32(MMIO + 0x10)],
        }[this.transport],
      );
    return BigInt(half(1)) << 32n | BigInt(half(0));
  }

  /** Accepts features. */
  accept(features: bigint): void {
    const [low, high] = [Number(features & 0xffff_ffffn), Number(features >> 32n)];
    this.run(
      ...{
        "legacy PCI": [out32(PORTS + 4, low)],
        "modern PCI": [
          write32(MODERN + 8, 0),
          write32(MODERN + 12, low),
          write32(MODERN + 8, 1),
          write32(MODERN + 12, high),
        ],
        "MMIO 1": [write32(MMIO + 0x24, 0), write32(MMIO + 0x20, low)],
        "MMIO 2": [
          write32(MMIO + 0x24, 0),
          write32(MMIO + 0x20, low),
          write32(MMIO + 0x24, 1),
          write32(MMIO + 0x20, high),
        ],
      }[this.transport],
    );
  }

  /** Does what the specification says (3.1.1), accepting these features of those that are offered. */
  start(features = 0n): void {
    this.status = 0;
    this.status = 1;
    this.status = 3;
    this.accept(features | (this.isLegacy ? 0n : VERSION_1));
    if (!this.isLegacy) {
      this.status = 0xb;
      assertEquals(this.status, 0xb);
    }
    this.queues.forEach((queue, index) => this.setUp(index, queue));
    this.status = this.isLegacy ? 7 : 0xf;
  }

  /** Tells the device of a queue. */
  setUp(index: number, { layout }: Pick<DriverQueue, "layout">): void {
    const address = Number(layout.descriptors);
    const [available, used] = [Number(layout.available), Number(layout.used)];
    this.run(
      ...{
        "legacy PCI": [out16(PORTS + 14, index), out32(PORTS + 8, address / 4096)],
        "modern PCI": [
          write16(MODERN + 22, index),
          write16(MODERN + 24, layout.size),
          write32(MODERN + 32, address),
          write32(MODERN + 36, 0),
          write32(MODERN + 40, available),
          write32(MODERN + 44, 0),
          write32(MODERN + 48, used),
          write32(MODERN + 52, 0),
          write16(MODERN + 28, 1),
        ],
        "MMIO 1": [
          write32(MMIO + 0x28, 4096),
          write32(MMIO + 0x30, index),
          write32(MMIO + 0x38, layout.size),
          write32(MMIO + 0x3c, 4096),
          write32(MMIO + 0x40, address / 4096),
        ],
        "MMIO 2": [
          write32(MMIO + 0x30, index),
          write32(MMIO + 0x38, layout.size),
          write32(MMIO + 0x80, address),
          write32(MMIO + 0x84, 0),
          write32(MMIO + 0x90, available),
          write32(MMIO + 0x94, 0),
          write32(MMIO + 0xa0, used),
          write32(MMIO + 0xa4, 0),
          write32(MMIO + 0x44, 1),
        ],
      }[this.transport],
    );
  }

  /** The most descriptors of a queue: zero where there is none. */
  maximumOf(index: number): number {
    return this.#last(
      ...{
        "legacy PCI": [out16(PORTS + 14, index), in16(PORTS + 12)],
        "modern PCI": [write16(MODERN + 22, index), read16(MODERN + 24)],
        "MMIO 1": [write32(MMIO + 0x30, index), read32(MMIO + 0x34)],
        "MMIO 2": [write32(MMIO + 0x30, index), read32(MMIO + 0x34)],
      }[this.transport],
    ) & 0xffff;
  }

  /** Tells the device that buffers are available. */
  notify(index: number): void {
    this.run(
      {
        "legacy PCI": out16(PORTS + 16, index),
        "modern PCI": write16(NOTIFY + index * 4, index),
        "MMIO 1": write32(MMIO + 0x50, index),
        "MMIO 2": write32(MMIO + 0x50, index),
      }[this.transport],
    );
  }

  /** Reads the interrupt status, and acknowledges it. */
  get interrupts(): number {
    const [status] = this.run(
      ...{
        "legacy PCI": [in8(PORTS + 19)],
        "modern PCI": [read8(ISR)],
        "MMIO 1": [read32(MMIO + 0x60), write32(MMIO + 0x64, 3)],
        "MMIO 2": [read32(MMIO + 0x60), write32(MMIO + 0x64, 3)],
      }[this.transport],
    );
    return status & 0xff;
  }

  /** Where its configuration lies: an access of a width to an offset there. */
  configuration(offset: number, size: 1 | 2 | 4): number {
    const at = {
      "legacy PCI": PORTS + 20,
      "modern PCI": CONFIGURATION,
      "MMIO 1": MMIO + 0x100,
      "MMIO 2": MMIO + 0x100,
    }[this.transport] + offset;
    const [narrow, middle, wide] = this.transport === "legacy PCI"
      ? [in8, in16, in32]
      : [read8, read16, read32];
    const value = this.#last({ 1: narrow(at), 2: middle(at), 4: wide(at) }[size]);
    return size === 4 ? value : value & 2 ** (8 * size) - 1;
  }

  /** Writes a doubleword there. */
  setConfiguration(offset: number, value: number): void {
    this.run(
      {
        "legacy PCI": out32(PORTS + 20 + offset, value),
        "modern PCI": write32(CONFIGURATION + offset, value),
        "MMIO 1": write32(MMIO + 0x100 + offset, value),
        "MMIO 2": write32(MMIO + 0x100 + offset, value),
      }[this.transport],
    );
  }

  [Symbol.dispose](): void {
    this.vm[Symbol.dispose]();
  }
}

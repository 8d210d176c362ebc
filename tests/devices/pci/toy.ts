import type { Machine } from "@vmexit/vmexit";
import {
  type Device,
  type DeviceMemory,
  type PciBar,
  PciBus,
  type PciBusOptions,
  PciFunction,
  type PciFunctionInit,
} from "@vmexit/vmexit/devices";
import { type Access, bootAccesses, in32, out32, perform } from "../accesses.ts";

/** CONFIG_ADDRESS, and CONFIG_DATA. */
export const ADDRESS = 0xcf8;
export const DATA = 0xcfc;

/** Configuration cycles for a register of a device's function 0, as drivers make them. */
export const select = (device: number, register: number): Access =>
  out32(ADDRESS, 0x8000_0000 + device * 0x800 + (register & ~3));
export const read = (device: number, register: number): Access[] => [
  select(device, register),
  in32(DATA),
];
export const write = (device: number, register: number, value: number): Access[] => [
  select(device, register),
  out32(DATA, value),
];

export const COMMAND = 0x04;
export const BAR = (index: number): number => 0x10 + index * 4;

/** A BAR whose registers are bytes that can be written. */
export function bytesBar(
  type: PciBar["type"],
  size: number,
): PciBar & { readonly bytes: DataView } {
  const bytes = new DataView(new ArrayBuffer(size + 8));
  return {
    type,
    size,
    bytes,
    read: (offset, width) => {
      const value = bytes.getBigUint64(offset, true);
      return width === 8 ? value : Number(BigInt.asUintN(8 * width, value));
    },
    write: (offset, value, width) => {
      for (let at = 0; at < width; at++) {
        bytes.setUint8(offset + at, Number(BigInt(value) >> BigInt(8 * at) & 0xffn));
      }
    },
  };
}

export const IDENTITY = { name: "toy", vendorId: 0x1234, deviceId: 0x5678, classCode: 0xff_0102 };

/** A function that the test can make interrupt. */
export class Toy extends PciFunction {
  constructor(init: Partial<PciFunctionInit> = {}) {
    super({ ...IDENTITY, ...init });
  }
  pull(asserted: boolean): void {
    this.setPin(asserted);
  }
  send(vector: number): void {
    this.signal(vector);
  }
  get dma(): DeviceMemory {
    return this.memory;
  }
}

/** Takes the interrupt lines, and notes which are asserted. */
export function lines(): Device & { readonly asserted: Set<number> } {
  const asserted = new Set<number>();
  return {
    name: "controller",
    asserted,
    attach: (board) =>
      board.connectInterruptController({
        setLine: (irq, level) => void (level ? asserted.add(irq) : asserted.delete(irq)),
        hasInterrupt: false,
        acknowledge: () => 0,
      }),
  };
}

/** A machine with a PCI bus, whose guest makes accesses. */
export class PciMachine implements Disposable {
  readonly bus: PciBus;
  readonly vm: Machine;

  constructor(
    devices: ConstructorParameters<typeof PciBus>[0],
    options: PciBusOptions = {},
    more: readonly Device[] = [],
  ) {
    this.bus = new PciBus(devices, options);
    this.vm = bootAccesses({ devices: [...more, this.bus], unclaimed: "open-bus" });
  }

  /** What accesses read, and the last of them. */
  run(...accesses: Access[]): number[] {
    return perform(this.vm, accesses);
  }
  last(...accesses: Access[]): number {
    return this.run(...accesses).at(-1)!;
  }

  [Symbol.dispose](): void {
    this.vm[Symbol.dispose]();
  }
}

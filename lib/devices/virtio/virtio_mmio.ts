import { VIRTIO_MMIO } from "../../x86/layout.ts";
import type { Device, DeviceBoard, InterruptLine } from "../device.ts";
import type { VirtioDevice } from "./virtio_device.ts";
import { withHalf } from "./virtio_pci_common.ts";
import { legacyLayout } from "./virtqueue.ts";

/** Registers (virtio 1.2, 4.2.2 and 4.2.4). */
const REGISTER = {
  MAGIC_VALUE: 0x000,
  VERSION: 0x004,
  DEVICE_ID: 0x008,
  VENDOR_ID: 0x00c,
  DEVICE_FEATURES: 0x010,
  DEVICE_FEATURES_SELECT: 0x014,
  DRIVER_FEATURES: 0x020,
  DRIVER_FEATURES_SELECT: 0x024,
  /** Version 1 alone. */
  GUEST_PAGE_SIZE: 0x028,
  QUEUE_SELECT: 0x030,
  QUEUE_NUM_MAX: 0x034,
  QUEUE_NUM: 0x038,
  /** Version 1 alone. */
  QUEUE_ALIGN: 0x03c,
  /** Version 1 alone. */
  QUEUE_PFN: 0x040,
  /** Version 2 alone, as all addresses of queues. */
  QUEUE_READY: 0x044,
  QUEUE_NOTIFY: 0x050,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ACK: 0x064,
  STATUS: 0x070,
  QUEUE_DESC_LOW: 0x080,
  QUEUE_DESC_HIGH: 0x084,
  QUEUE_DRIVER_LOW: 0x090,
  QUEUE_DRIVER_HIGH: 0x094,
  QUEUE_DEVICE_LOW: 0x0a0,
  QUEUE_DEVICE_HIGH: 0x0a4,
  /** Shared memory regions: none, whose length and base are all ones. */
  SHM_LEN_LOW: 0x0b0,
  SHM_LEN_HIGH: 0x0b4,
  SHM_BASE_LOW: 0x0b8,
  SHM_BASE_HIGH: 0x0bc,
  CONFIG_GENERATION: 0x0fc,
  CONFIG: 0x100,
} as const;

/** "virt". */
const MAGIC = 0x7472_6976;
/** "QEMU", as drivers are used to. */
const VENDOR = 0x554d_4551;
const ALL_ONES = 0xffff_ffff;
const SIZE = 0x200;
const LEGACY = 1;

/** Which half of which address a register is. */
const PART: Readonly<
  Record<number, { of: "descriptors" | "available" | "used"; isHigh: boolean } | undefined>
> = {
  [REGISTER.QUEUE_DESC_LOW]: { of: "descriptors", isHigh: false },
  [REGISTER.QUEUE_DESC_HIGH]: { of: "descriptors", isHigh: true },
  [REGISTER.QUEUE_DRIVER_LOW]: { of: "available", isHigh: false },
  [REGISTER.QUEUE_DRIVER_HIGH]: { of: "available", isHigh: true },
  [REGISTER.QUEUE_DEVICE_LOW]: { of: "used", isHigh: false },
  [REGISTER.QUEUE_DEVICE_HIGH]: { of: "used", isHigh: true },
};

/** Where a device on this transport lies. */
export interface VirtioMmioOptions {
  /** The physical address of its registers, 512 bytes. Default 0xd0000000. */
  readonly address?: number;
  /** Its interrupt. Default 5. */
  readonly irq?: number;
  /** The interface: 2, the default, or 1 for legacy drivers. */
  readonly version?: 1 | 2;
}

/** What the driver has written that the device itself does not keep. */
interface State {
  deviceSelect: number;
  driverSelect: number;
  queueSelect: number;
  pageSize: number;
  align: number;
}

const AFTER_RESET: State = {
  deviceSelect: 0,
  driverSelect: 0,
  queueSelect: 0,
  pageSize: 0,
  align: 4096,
};

/**
 * A virtio device behind registers in memory (virtio 1.2, 4.2), of version 2 or, for legacy drivers, of version 1. The
 * guest is told of it by the test: on a command line as Linux takes it, `virtio_mmio.device=512@0xd0000000:5`.
 *
 * Registers take accesses of 32 bits; others read as zero, and are lost. Left out: shared memory regions, the reset of a
 * single queue.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { VirtioConsole, VirtioMmio } from "@vmexit/vmexit/devices";
 *
 * const terminal = new VirtioConsole();
 * const devices = [new VirtioMmio(terminal, { address: 0xd0000000, irq: 5 })];
 * using vm = boot(asm.file("./driver.asm"), { devices });
 * vm.run();
 * console.log(terminal.text);
 * ```
 */
export class VirtioMmio implements Device {
  readonly #device: VirtioDevice;
  readonly #address: number;
  readonly #irq: number;
  readonly #version: 1 | 2;
  #line!: InterruptLine;
  #state: State = { ...AFTER_RESET };

  /** A device at an address. */
  constructor(device: VirtioDevice, options: VirtioMmioOptions = {}) {
    const { address = VIRTIO_MMIO.address, irq = VIRTIO_MMIO.irq, version = 2 } = options;
    this.#device = device;
    this.#address = address;
    this.#irq = irq;
    this.#version = version;
  }

  /** The name in tables of exits. */
  get name(): string {
    return this.#device.name;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    const line = this.#line = board.interruptLine(this.#irq);
    this.#device.connect({
      memory: board.memory,
      interrupt: () => line.set(true),
      acknowledged: () => line.set(false),
    });
    board.mmio.on([this.#address, this.#address + SIZE - 1], {
      name: this.name,
      read: (address, size) => this.#access(address - this.#address, size),
      write: (address, value, size) => this.#store(address - this.#address, Number(value), size),
    });
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#state = { ...AFTER_RESET };
    this.#device.reset();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return { registers: { ...this.#state }, device: this.#device.save() };
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    const { registers, device } = state as { registers: State; device: unknown };
    this.#state = { ...registers };
    this.#device.restore(device);
    this.#line.set(this.#device.interruptStatus !== 0);
  }

  get #isLegacy(): boolean {
    return this.#version === LEGACY;
  }

  #access(offset: number, size: number): number | bigint {
    const at = offset - REGISTER.CONFIG;
    if (at < 0) return size === 4 ? this.#read(offset) : size > 4 ? 0n : 0;
    if (size <= 4) return this.#device.readConfiguration(at, size);
    const high = this.#device.readConfiguration(at + 4, size - 4);
    return BigInt(high) << 32n | BigInt(this.#device.readConfiguration(at, 4));
  }

  #store(offset: number, value: number, size: number): void {
    const at = offset - REGISTER.CONFIG;
    if (at < 0 && size === 4) this.#write(offset, value);
    else if (at >= 0 && size <= 4) this.#device.writeConfiguration(at, value, size);
  }

  #read(register: number): number {
    const device = this.#device;
    const queue = device.queue(this.#state.queueSelect);
    switch (register) {
      case REGISTER.MAGIC_VALUE:
        return MAGIC;
      case REGISTER.VERSION:
        return this.#version;
      case REGISTER.DEVICE_ID:
        return device.deviceType;
      case REGISTER.VENDOR_ID:
        return VENDOR;
      case REGISTER.DEVICE_FEATURES:
        return device.readFeatures(this.#state.deviceSelect, this.#isLegacy);
      case REGISTER.QUEUE_NUM_MAX:
        return queue?.maximum ?? 0;
      case REGISTER.QUEUE_PFN:
        if (!this.#isLegacy || queue?.ring === undefined) return 0;
        return Number(queue.descriptors / BigInt(this.#state.pageSize || 1) & 0xffff_ffffn);
      case REGISTER.QUEUE_READY:
        return !this.#isLegacy && queue?.ring !== undefined ? 1 : 0;
      case REGISTER.INTERRUPT_STATUS:
        return device.interruptStatus;
      case REGISTER.STATUS:
        return device.status;
      case REGISTER.SHM_LEN_LOW:
      case REGISTER.SHM_LEN_HIGH:
      case REGISTER.SHM_BASE_LOW:
      case REGISTER.SHM_BASE_HIGH:
        return this.#isLegacy ? 0 : ALL_ONES;
      case REGISTER.CONFIG_GENERATION:
        return this.#isLegacy ? 0 : device.generation;
      default:
        // The others are write-only.
        return 0;
    }
  }

  #write(register: number, value: number): void {
    const device = this.#device;
    const state = this.#state;
    const queue = device.queue(state.queueSelect);
    switch (register) {
      case REGISTER.DEVICE_FEATURES_SELECT:
        state.deviceSelect = value;
        return;
      case REGISTER.DRIVER_FEATURES:
        return device.writeFeatures(state.driverSelect, value, this.#isLegacy);
      case REGISTER.DRIVER_FEATURES_SELECT:
        state.driverSelect = value;
        return;
      case REGISTER.QUEUE_SELECT:
        state.queueSelect = value;
        return;
      case REGISTER.QUEUE_NUM:
        if (queue !== undefined && queue.ring === undefined) queue.size = value;
        return;
      case REGISTER.QUEUE_NOTIFY:
        return device.notify(value);
      case REGISTER.INTERRUPT_ACK:
        return device.acknowledge(value);
      case REGISTER.STATUS:
        device.writeStatus(value);
        if (device.status === 0) this.#state = { ...AFTER_RESET, pageSize: state.pageSize };
        return;
    }
    if (this.#isLegacy) this.#writeLegacy(register, value);
    else this.#writeModern(register, value);
  }

  #writeModern(register: number, value: number): void {
    const { queueSelect } = this.#state;
    const queue = this.#device.queue(queueSelect);
    if (register === REGISTER.QUEUE_READY) {
      if (value === 1) this.#device.enableQueue(queueSelect);
      else if (value === 0) this.#device.disableQueue(queueSelect);
      return;
    }
    const part = PART[register];
    if (part === undefined || queue === undefined || queue.ring !== undefined) return;
    queue[part.of] = withHalf(queue[part.of], part.isHigh, value);
  }

  #writeLegacy(register: number, value: number): void {
    const state = this.#state;
    switch (register) {
      case REGISTER.GUEST_PAGE_SIZE:
        state.pageSize = value;
        return;
      case REGISTER.QUEUE_ALIGN:
        // What is no power of two aligns nothing.
        if ((value & (value - 1)) === 0 && value > 0) state.align = value;
        return;
      case REGISTER.QUEUE_PFN: {
        const queue = this.#device.queue(state.queueSelect);
        if (queue === undefined) return;
        const { size } = queue;
        this.#device.disableQueue(state.queueSelect);
        if (value === 0) return;
        const address = BigInt(value) * BigInt(state.pageSize);
        this.#device.enableQueue(
          state.queueSelect,
          legacyLayout(address, size, state.align),
        );
      }
    }
  }
}

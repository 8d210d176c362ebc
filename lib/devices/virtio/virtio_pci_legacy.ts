import { joinBytes } from "../bytes.ts";
import type { PciBar } from "../pci/pci_function.ts";
import type { VirtioDevice } from "./virtio_device.ts";
import { NO_VECTOR, type VirtioPciCommon } from "./virtio_pci_common.ts";
import { legacyLayout } from "./virtqueue.ts";

/** Registers of the legacy interface, with their sizes (virtio 1.2, 4.1.4.10; Virtio PCI Card Specification 0.9.5, 2.2.2). */
const REGISTER = {
  DEVICE_FEATURES: [0, 4],
  DRIVER_FEATURES: [4, 4],
  QUEUE_ADDRESS: [8, 4],
  QUEUE_SIZE: [12, 2],
  QUEUE_SELECT: [14, 2],
  QUEUE_NOTIFY: [16, 2],
  DEVICE_STATUS: [18, 1],
  ISR_STATUS: [19, 1],
  CONFIG_VECTOR: [20, 2],
  QUEUE_VECTOR: [22, 2],
} as const;

type Register = keyof typeof REGISTER;

const REGISTERS = Object.entries(REGISTER) as [Register, readonly [number, number]][];

/** Where the device's configuration begins, without and with MSI-X. */
const CONFIGURATION = { WITHOUT_MSIX: 20, WITH_MSIX: 24 } as const;

/** Queues lie on pages, whose number the address register has. */
const PAGE = 4096;

/** The legacy interface of a virtio device on PCI: registers in ports. */
export class VirtioPciLegacy {
  /** Its BAR. */
  readonly bar: PciBar;
  readonly #device: VirtioDevice;
  readonly #common: VirtioPciCommon;
  readonly #isr: () => number;
  readonly #hasMsix: () => boolean;

  /** The registers of a device. Queues and vectors are selected in `common`, as by the modern interface. */
  constructor(
    device: VirtioDevice,
    common: VirtioPciCommon,
    isr: () => number,
    hasMsix: () => boolean,
  ) {
    this.#device = device;
    this.#common = common;
    this.#isr = isr;
    this.#hasMsix = hasMsix;
    const size = CONFIGURATION.WITH_MSIX + device.configuration.length;
    this.bar = {
      type: "io",
      size: 2 ** Math.ceil(Math.log2(size)),
      read: (offset, size) => joinBytes(size, (index) => this.#readByte(offset + index)),
      write: (offset, value, size) => this.#write(offset, Number(value), size),
    };
  }

  get #configuration(): number {
    return this.#hasMsix() ? CONFIGURATION.WITH_MSIX : CONFIGURATION.WITHOUT_MSIX;
  }

  #readByte(at: number): number {
    const start = this.#configuration;
    if (at >= start) return this.#device.readConfiguration(at - start, 1);
    const [name, [first]] = REGISTERS.find(([, [first, size]]) =>
      at >= first && at < first + size
    )!;
    return Math.floor(this.#read(name) / 2 ** (8 * (at - first))) & 0xff;
  }

  #read(register: Register): number {
    const device = this.#device;
    const { queueSelect, configurationVector, queueVectors } = this.#common;
    const queue = device.queue(queueSelect);
    switch (register) {
      case "DEVICE_FEATURES":
        return device.readFeatures(0, true);
      case "DRIVER_FEATURES":
        return device.readDriverFeatures(0);
      case "QUEUE_ADDRESS":
        return Number((queue?.descriptors ?? 0n) / BigInt(PAGE));
      case "QUEUE_SIZE":
        return queue?.maximum ?? 0;
      case "QUEUE_SELECT":
        return queueSelect;
      case "QUEUE_NOTIFY":
        return 0;
      case "DEVICE_STATUS":
        return device.status;
      case "ISR_STATUS":
        return this.#isr();
      case "CONFIG_VECTOR":
        return configurationVector;
      case "QUEUE_VECTOR":
        return queueVectors[queueSelect] ?? NO_VECTOR;
    }
  }

  #write(offset: number, value: number, size: number): void {
    const start = this.#configuration;
    if (offset >= start) return this.#device.writeConfiguration(offset - start, value, size);
    const found = REGISTERS.find(([, [first, length]]) => first === offset && length === size);
    const device = this.#device;
    const common = this.#common;
    switch (found?.[0]) {
      case "DRIVER_FEATURES":
        return device.writeFeatures(0, value, true);
      case "QUEUE_ADDRESS":
        return this.#setQueue(value);
      case "QUEUE_SELECT":
        common.queueSelect = value;
        return;
      case "QUEUE_NOTIFY":
        return device.notify(value);
      case "DEVICE_STATUS":
        return common.writeStatus(value);
      case "CONFIG_VECTOR":
        return common.setConfigurationVector(value);
      case "QUEUE_VECTOR":
        return common.setQueueVector(value);
    }
  }

  #setQueue(page: number): void {
    const index = this.#common.queueSelect;
    const queue = this.#device.queue(index);
    if (queue === undefined) return;
    this.#device.disableQueue(index);
    if (page === 0) return;
    const layout = legacyLayout(BigInt(page) * BigInt(PAGE), queue.maximum, PAGE);
    this.#device.enableQueue(index, layout);
  }
}

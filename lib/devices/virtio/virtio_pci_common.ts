import { joinBytes } from "../bytes.ts";
import type { VirtioDevice } from "./virtio_device.ts";

/** Fields of the common configuration structure, with their sizes (virtio 1.2, 4.1.4.3). */
const FIELD = {
  DEVICE_FEATURE_SELECT: [0, 4],
  DEVICE_FEATURE: [4, 4],
  DRIVER_FEATURE_SELECT: [8, 4],
  DRIVER_FEATURE: [12, 4],
  CONFIG_MSIX_VECTOR: [16, 2],
  NUM_QUEUES: [18, 2],
  DEVICE_STATUS: [20, 1],
  CONFIG_GENERATION: [21, 1],
  QUEUE_SELECT: [22, 2],
  QUEUE_SIZE: [24, 2],
  QUEUE_MSIX_VECTOR: [26, 2],
  QUEUE_ENABLE: [28, 2],
  QUEUE_NOTIFY_OFF: [30, 2],
  QUEUE_DESC_LOW: [32, 4],
  QUEUE_DESC_HIGH: [36, 4],
  QUEUE_DRIVER_LOW: [40, 4],
  QUEUE_DRIVER_HIGH: [44, 4],
  QUEUE_DEVICE_LOW: [48, 4],
  QUEUE_DEVICE_HIGH: [52, 4],
} as const;

type Field = keyof typeof FIELD;

const FIELDS = Object.entries(FIELD) as [Field, readonly [offset: number, size: number]][];

/** No vector: interrupts of that kind are not sent. */
export const NO_VECTOR = 0xffff;

/** The common configuration structure, and the MSI-X vectors, which legacy drivers set, too. */
export class VirtioPciCommon {
  readonly #device: VirtioDevice;
  #deviceSelect = 0;
  #driverSelect = 0;
  /** Which queue the registers are of. */
  queueSelect = 0;
  #configurationVector = NO_VECTOR;
  #queueVectors: number[];

  /** The registers of a device. */
  constructor(device: VirtioDevice) {
    this.#device = device;
    this.#queueVectors = noVectors(device);
  }

  /** The vector of changes of the configuration. */
  get configurationVector(): number {
    return this.#configurationVector;
  }

  /** The vector of each queue. */
  get queueVectors(): readonly number[] {
    return this.#queueVectors;
  }

  /** Takes a vector for changes of the configuration: one that there is not is none. */
  setConfigurationVector(vector: number): void {
    this.#configurationVector = this.#checked(vector);
  }

  /** Takes a vector for the queue that is selected, likewise. */
  setQueueVector(vector: number): void {
    if (this.queueSelect >= this.#queueVectors.length) return;
    this.#queueVectors[this.queueSelect] = this.#checked(vector);
  }

  /** There is one for the configuration, and one for each queue. */
  #checked(vector: number): number {
    return vector <= this.#device.queueCount ? vector : NO_VECTOR;
  }

  /** Puts it in the state after a reset. */
  reset(): void {
    this.#deviceSelect = this.#driverSelect = this.queueSelect = 0;
    this.#configurationVector = NO_VECTOR;
    this.#queueVectors = noVectors(this.#device);
  }

  /** Takes what a driver writes to the device status. */
  writeStatus(value: number): void {
    this.#device.writeStatus(value);
    if (value === 0) this.reset();
  }

  /** Reads bytes of the fields: of accesses that are none of a field's, too. */
  read(offset: number, size: number): number | bigint {
    const byteAt = (at: number) => {
      const found = FIELDS.find(([, [first, length]]) => at >= first && at < first + length);
      if (found === undefined) return 0;
      const [name, [first]] = found;
      return Math.floor(this.#read(name) / 2 ** (8 * (at - first))) & 0xff;
    };
    const low = joinBytes(Math.min(size, 4), (index) => byteAt(offset + index));
    if (size <= 4) return low;
    const high = joinBytes(size - 4, (index) => byteAt(offset + 4 + index));
    return BigInt(high) << 32n | BigInt(low);
  }

  /** Takes a write to a field: one of another width the driver must not make (4.1.3.1), and is lost. */
  write(offset: number, value: number | bigint, size: number): void {
    if (size === 8) {
      // Fields of 64 bits may be written by halves, or whole.
      this.write(offset, Number(BigInt(value) & 0xffff_ffffn), 4);
      this.write(offset + 4, Number(BigInt(value) >> 32n), 4);
      return;
    }
    const found = FIELDS.find(([, [first, length]]) => first === offset && length === size);
    if (found !== undefined) this.#write(found[0], Number(value));
  }

  #read(field: Field): number {
    const device = this.#device;
    const queue = device.queue(this.queueSelect);
    switch (field) {
      case "DEVICE_FEATURE_SELECT":
        return this.#deviceSelect;
      case "DEVICE_FEATURE":
        return device.readFeatures(this.#deviceSelect, false);
      case "DRIVER_FEATURE_SELECT":
        return this.#driverSelect;
      case "DRIVER_FEATURE":
        return device.readDriverFeatures(this.#driverSelect);
      case "CONFIG_MSIX_VECTOR":
        return this.#configurationVector;
      case "NUM_QUEUES":
        return device.queueCount;
      case "DEVICE_STATUS":
        return device.status;
      case "CONFIG_GENERATION":
        return device.generation;
      case "QUEUE_SELECT":
        return this.queueSelect;
      case "QUEUE_SIZE":
        // Zero says that there is no such queue.
        return queue?.size ?? 0;
      case "QUEUE_MSIX_VECTOR":
        return this.#queueVectors[this.queueSelect] ?? NO_VECTOR;
      case "QUEUE_ENABLE":
        return queue?.ring === undefined ? 0 : 1;
      case "QUEUE_NOTIFY_OFF":
        return queue === undefined ? 0 : this.queueSelect;
      default:
        return halfOf(queue?.[PART[field].of] ?? 0n, PART[field].isHigh);
    }
  }

  #write(field: Field, value: number): void {
    const device = this.#device;
    const queue = device.queue(this.queueSelect);
    switch (field) {
      case "DEVICE_FEATURE_SELECT":
        this.#deviceSelect = value;
        return;
      case "DRIVER_FEATURE_SELECT":
        this.#driverSelect = value;
        return;
      case "DRIVER_FEATURE":
        return device.writeFeatures(this.#driverSelect, value, false);
      case "CONFIG_MSIX_VECTOR":
        return this.setConfigurationVector(value);
      case "DEVICE_STATUS":
        return this.writeStatus(value);
      case "QUEUE_SELECT":
        this.queueSelect = value;
        return;
      case "QUEUE_MSIX_VECTOR":
        return this.setQueueVector(value);
      case "QUEUE_ENABLE":
        if (value === 1) device.enableQueue(this.queueSelect);
        return;
      case "DEVICE_FEATURE":
      case "NUM_QUEUES":
      case "CONFIG_GENERATION":
      case "QUEUE_NOTIFY_OFF":
        return;
      case "QUEUE_SIZE":
        if (queue !== undefined && queue.ring === undefined) queue.size = value;
        return;
      default: {
        if (queue === undefined || queue.ring !== undefined) return;
        const { of, isHigh } = PART[field];
        queue[of] = withHalf(queue[of], isHigh, value);
      }
    }
  }

  /** Its state. */
  save(): unknown {
    return {
      deviceSelect: this.#deviceSelect,
      driverSelect: this.#driverSelect,
      queueSelect: this.queueSelect,
      configurationVector: this.#configurationVector,
      queueVectors: [...this.#queueVectors],
    };
  }

  /** Takes such a state. */
  restore(saved: unknown): void {
    const state = saved as Record<string, number> & { queueVectors: number[] };
    this.#deviceSelect = state.deviceSelect;
    this.#driverSelect = state.driverSelect;
    this.queueSelect = state.queueSelect;
    this.#configurationVector = state.configurationVector;
    this.#queueVectors = [...state.queueVectors];
  }
}

/** Which half of which address a field is. */
const PART = {
  QUEUE_DESC_LOW: { of: "descriptors", isHigh: false },
  QUEUE_DESC_HIGH: { of: "descriptors", isHigh: true },
  QUEUE_DRIVER_LOW: { of: "available", isHigh: false },
  QUEUE_DRIVER_HIGH: { of: "available", isHigh: true },
  QUEUE_DEVICE_LOW: { of: "used", isHigh: false },
  QUEUE_DEVICE_HIGH: { of: "used", isHigh: true },
} as const;

function noVectors(device: VirtioDevice): number[] {
  return Array.from({ length: device.queueCount }, () => NO_VECTOR);
}

/** The low or the high 32 bits of an address. */
function halfOf(address: bigint, isHigh: boolean): number {
  return Number(address >> (isHigh ? 32n : 0n) & 0xffff_ffffn);
}

/** An address with its low or high 32 bits set. */
export function withHalf(address: bigint, isHigh: boolean, value: number): bigint {
  const shift = isHigh ? 32n : 0n;
  return address & ~(0xffff_ffffn << shift) | BigInt(value) << shift;
}

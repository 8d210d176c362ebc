import { joinBytes } from "../bytes.ts";
import type { DeviceMemory } from "../device.ts";
import { Virtqueue, VirtqueueError, type VirtqueueLayout } from "./virtqueue.ts";

/** Bits of the device status (virtio 1.2, 2.1). */
export const VIRTIO_STATUS = {
  ACKNOWLEDGE: 0x01,
  DRIVER: 0x02,
  DRIVER_OK: 0x04,
  FEATURES_OK: 0x08,
  DEVICE_NEEDS_RESET: 0x40,
  FAILED: 0x80,
} as const;

/** Features of all devices (6). */
export const VIRTIO_FEATURE = {
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
} as const;

const OF_ALL_DEVICES = VIRTIO_FEATURE.INDIRECT_DESC | VIRTIO_FEATURE.EVENT_IDX |
  VIRTIO_FEATURE.VERSION_1;

/** The features that legacy drivers see: the first 32. */
const LEGACY_FEATURES = 0xffff_ffffn;

/** Bits of the interrupt status (4.1.4.5, 4.2.2). */
const INTERRUPT = { QUEUE: 1, CONFIGURATION: 2 } as const;

/** What a device is given of its transport. */
export interface VirtioTransport {
  /** Guest memory, as the transport reaches it. */
  readonly memory: DeviceMemory;
  /**
   * Interrupts the driver.
   *
   * @param queue The queue of which it is told, or undefined for the configuration.
   */
  interrupt(queue: number | undefined): void;
  /** Told that all interrupts were acknowledged. */
  acknowledged(): void;
}

/** A queue as the driver sets it up. */
export interface QueueSetup {
  /** The most descriptors that it can have. */
  readonly maximum: number;
  /** How many it has, and where its parts lie. */
  size: number;
  /** The descriptor table. */
  descriptors: bigint;
  /** The available ring. */
  available: bigint;
  /** The used ring. */
  used: bigint;
  /** The queue itself, from when the driver has enabled it. */
  ring: Virtqueue | undefined;
}

/**
 * A virtio device without its transport (virtio 1.2, 2 and 3): status, features, queues and configuration. A device
 * extends it, and is given to `VirtioPci` or `VirtioMmio`.
 *
 * What a driver must not do sets DEVICE_NEEDS_RESET, and {@linkcode VirtioDevice.failure} says what it was; a legacy
 * driver finds that its queues stand still.
 */
export abstract class VirtioDevice {
  /** What it is called in tables of exits. */
  abstract readonly name: string;
  /** What it is (5): 1 is a network card. */
  abstract readonly deviceType: number;
  /** Its class code as a PCI function. */
  abstract readonly classCode: number;
  /** The features that it has beside those of all devices. */
  protected abstract readonly deviceFeatures: bigint;
  #queues: QueueSetup[] = [];
  #status = 0;
  #driverFeatures = 0n;
  #interruptStatus = 0;
  #generation = 0;
  #failure: string | undefined;
  #transport: VirtioTransport | undefined;

  /** A device with queues of these sizes, at most. */
  constructor(queueSizes: readonly number[]) {
    this.#queues = queueSizes.map((maximum) => ({ maximum, ...emptyQueue(maximum) }));
  }

  /** The bytes of its configuration (5, "Device configuration layout"). */
  abstract get configuration(): Uint8Array<ArrayBuffer>;

  /** Takes a write of the driver's to its configuration. By default it is read-only. */
  protected configurationWritten(_offset: number, _value: number, _size: number): void {}

  /**
   * Does the work of a queue: the driver has made buffers available.
   *
   * @throws {VirtqueueError} When the driver has done what it must not.
   */
  protected abstract process(queue: number, ring: Virtqueue): void;

  /** What the driver did that it must not, if it has: the device needs a reset. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Whether the driver is none of a legacy device. */
  get isModern(): boolean {
    return this.has(VIRTIO_FEATURE.VERSION_1);
  }

  /** Whether the driver has accepted a feature. */
  has(feature: bigint): boolean {
    return (this.#driverFeatures & feature) !== 0n;
  }

  /** Whether the driver has set DRIVER_OK. */
  get isRunning(): boolean {
    return (this.#status & VIRTIO_STATUS.DRIVER_OK) !== 0;
  }

  /** Puts it behind a transport. Called once. */
  connect(transport: VirtioTransport): void {
    if (this.#transport !== undefined) {
      throw new TypeError(`Cannot connect ${this.name}: it has a transport. Make one for each`);
    }
    this.#transport = transport;
  }

  /** Tells the driver that the configuration is another one. */
  protected configurationChanged(): void {
    this.#generation = this.#generation + 1 & 0xff;
    if (this.isRunning) this.#interrupt(undefined);
  }

  /** Does the work of a queue, if it is there. Called by the transport, and by devices that have work of their own. */
  notify(queue: number): void {
    const ring = this.#queues[queue]?.ring;
    // A legacy driver may use its queues before DRIVER_OK (3.1.2).
    if (ring === undefined || this.#failure !== undefined || this.isModern && !this.isRunning) {
      return;
    }
    try {
      this.process(queue, ring);
      if (ring.wantsInterrupt()) this.#interrupt(queue);
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#fail(`queue ${queue}: ${error.message}`);
    }
  }

  /** The device status. */
  get status(): number {
    return this.#status;
  }

  /** Takes what the driver writes to the device status: zero is a reset. */
  writeStatus(value: number): void {
    if ((value & 0xff) === 0) return this.reset();
    const before = this.#status;
    let status = value & 0xff & ~VIRTIO_STATUS.DEVICE_NEEDS_RESET |
      before & VIRTIO_STATUS.DEVICE_NEEDS_RESET;
    const isAccepted = (this.#driverFeatures & ~this.features(false)) === 0n && this.isModern;
    if ((before & VIRTIO_STATUS.FEATURES_OK) === 0 && !isAccepted) {
      status &= ~VIRTIO_STATUS.FEATURES_OK;
    }
    this.#status = status;
    const isStarted = (before & VIRTIO_STATUS.DRIVER_OK) === 0 && this.isRunning;
    if (isStarted) this.#queues.forEach((_, queue) => this.notify(queue));
  }

  /** The features that it offers. */
  features(isLegacy: boolean): bigint {
    const all = this.deviceFeatures | OF_ALL_DEVICES;
    return isLegacy ? all & LEGACY_FEATURES : all;
  }

  /** Takes 32 of the features that the driver accepts: those from 32 × `select` on. */
  writeFeatures(select: number, value: number, isLegacy: boolean): void {
    if (select > 1 || (this.#status & VIRTIO_STATUS.FEATURES_OK) !== 0) return;
    const shift = BigInt(32 * select);
    const others = this.#driverFeatures & ~(0xffff_ffffn << shift);
    const written = others | BigInt(value) << shift;
    // Legacy drivers have no way to hear that one was refused.
    this.#driverFeatures = isLegacy ? written & this.features(true) : written;
  }

  /** 32 of the features that it offers: those from 32 × `select` on. */
  readFeatures(select: number, isLegacy: boolean): number {
    if (select > 1) return 0;
    return Number(this.features(isLegacy) >> BigInt(32 * select) & 0xffff_ffffn);
  }

  /** 32 of the features that the driver has accepted. */
  readDriverFeatures(select: number): number {
    return select > 1 ? 0 : Number(this.#driverFeatures >> BigInt(32 * select) & 0xffff_ffffn);
  }

  /** How many queues there are. */
  get queueCount(): number {
    return this.#queues.length;
  }

  /** A queue's setup, if it is there. */
  queue(index: number): QueueSetup | undefined {
    return this.#queues[index];
  }

  /** Enables a queue where its setup says that it lies. */
  enableQueue(index: number, layout?: VirtqueueLayout): void {
    const queue = this.#queues[index];
    const transport = this.#transport;
    if (queue === undefined || transport === undefined || queue.ring !== undefined) return;
    if (layout !== undefined) Object.assign(queue, layout);
    const features = {
      indirect: this.has(VIRTIO_FEATURE.INDIRECT_DESC),
      eventIndex: this.has(VIRTIO_FEATURE.EVENT_IDX),
    };
    if (queue.size > queue.maximum) {
      this.#fail(
        `queue ${index}: it has up to ${queue.maximum} descriptors, and not ${queue.size}`,
      );
      return;
    }
    try {
      queue.ring = new Virtqueue(transport.memory, { ...queue }, features);
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#fail(`queue ${index}: ${error.message}`);
    }
  }

  /** Takes a queue away. */
  disableQueue(index: number): void {
    const queue = this.#queues[index];
    if (queue !== undefined) Object.assign(queue, emptyQueue(queue.maximum));
  }

  /** Counts the changes of the configuration. */
  get generation(): number {
    return this.#generation;
  }

  /** Reads the configuration: zeros behind its end. */
  readConfiguration(offset: number, size: number): number {
    const bytes = this.configuration;
    return joinBytes(size, (index) => bytes[offset + index] ?? 0);
  }

  /** Writes the configuration. */
  writeConfiguration(offset: number, value: number, size: number): void {
    if (offset + size <= this.configuration.length) this.configurationWritten(offset, value, size);
  }

  /** Which interrupts were not acknowledged. */
  get interruptStatus(): number {
    return this.#interruptStatus;
  }

  /** Acknowledges interrupts. */
  acknowledge(bits: number): void {
    this.#interruptStatus &= ~bits;
    if (this.#interruptStatus === 0) this.#transport?.acknowledged();
  }

  /** Puts it in the state after a reset. */
  reset(): void {
    this.#status = 0;
    this.#driverFeatures = 0n;
    this.#failure = undefined;
    this.#queues.forEach((_, index) => this.disableQueue(index));
    this.acknowledge(this.#interruptStatus);
  }

  /** Its state. */
  save(): unknown {
    return {
      status: this.#status,
      driverFeatures: this.#driverFeatures,
      interruptStatus: this.#interruptStatus,
      generation: this.#generation,
      failure: this.#failure,
      queues: this.#queues.map(({ ring, ...queue }) => ({ ...queue, ring: ring?.save() })),
    } satisfies State;
  }

  /** Takes such a state. */
  restore(saved: unknown): void {
    const state = saved as State;
    this.#status = state.status;
    this.#driverFeatures = state.driverFeatures;
    this.#interruptStatus = state.interruptStatus;
    this.#generation = state.generation;
    this.#failure = state.failure;
    state.queues.forEach(({ ring, ...queue }, index) => {
      Object.assign(this.#queues[index], queue, { ring: undefined });
      if (ring === undefined) return;
      this.enableQueue(index);
      this.#queues[index].ring!.restore(ring);
    });
  }

  #interrupt(queue: number | undefined): void {
    this.#interruptStatus |= queue === undefined ? INTERRUPT.CONFIGURATION : INTERRUPT.QUEUE;
    this.#transport?.interrupt(queue);
  }

  #fail(why: string): void {
    this.#failure = why;
    if (!this.isModern) return;
    this.#status |= VIRTIO_STATUS.DEVICE_NEEDS_RESET;
    if (this.isRunning) this.#interrupt(undefined);
  }
}

interface State {
  readonly status: number;
  readonly driverFeatures: bigint;
  readonly interruptStatus: number;
  readonly generation: number;
  readonly failure: string | undefined;
  readonly queues: readonly (Omit<QueueSetup, "ring"> & {
    readonly ring: ReturnType<Virtqueue["save"]> | undefined;
  })[];
}

function emptyQueue(size: number): Omit<QueueSetup, "maximum"> {
  return { size, descriptors: 0n, available: 0n, used: 0n, ring: undefined };
}

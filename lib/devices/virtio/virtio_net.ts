import { VirtioDevice } from "./virtio_device.ts";
import { type Virtqueue, VirtqueueError } from "./virtqueue.ts";

/** Features (virtio 1.2, 5.1.3). */
const FEATURE = { MAC: 1n << 5n, STATUS: 1n << 16n } as const;

/** The configuration (5.1.4). */
const CONFIGURATION = { MAC: 0, STATUS: 6, SIZE: 8 } as const;
const LINK_UP = 1;

const QUEUE = { RECEIVE: 0, TRANSMIT: 1 } as const;
const QUEUE_SIZE = 256;

/** The header of a packet (5.1.6): legacy drivers have none of its last field, how many buffers there are. */
const HEADER = { LEGACY_SIZE: 10, SIZE: 12, BUFFERS: 10 } as const;

/** The largest frame (5.1.6.3.1): one for which segmentation was not offered is smaller. */
const MAXIMUM_FRAME = 65550;
/** How many bytes of the guest's frames are kept. */
const CAPACITY = 1 << 24;

const MAC_SIZE = 6;
const DEFAULT_MAC = "52:54:00:12:34:56";

/**
 * A virtio network card (virtio 1.2, 5.1). Its network is the test: frames come in by {@linkcode VirtioNet.send}, and go
 * out to {@linkcode VirtioNet.received}, Ethernet frames from the destination address on, without a checksum.
 *
 * Left out: offloads, merged receive buffers, the control queue, several queues.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { VirtioMmio, VirtioNet } from "@vmexit/vmexit/devices";
 *
 * const net = new VirtioNet({ mac: "52:54:00:00:00:01" });
 * net.send(new Uint8Array(60));
 * using vm = boot(asm.file("./driver.asm"), { devices: [new VirtioMmio(net)] });
 * vm.run();
 * console.log(net.received.length);
 * ```
 */
export class VirtioNet extends VirtioDevice {
  /** See {@linkcode VirtioDevice.name}. */
  override readonly name = "virtio-net";
  /** See {@linkcode VirtioDevice.deviceType}. */
  override readonly deviceType = 1;
  /** An Ethernet controller. */
  override readonly classCode = 0x02_0000;
  /** See {@linkcode VirtioDevice.deviceFeatures}. */
  protected override readonly deviceFeatures = FEATURE.MAC | FEATURE.STATUS;
  readonly #mac: Uint8Array;
  readonly #onReceive: ((frame: Uint8Array<ArrayBuffer>) => void) | undefined;
  #isLinkUp = true;
  #received: Uint8Array<ArrayBuffer>[] = [];
  #size = 0;
  #dropped = 0;
  #pending: Uint8Array<ArrayBuffer>[] = [];

  /**
   * A card whose link is up.
   *
   * @param options `mac`: its address, default `"52:54:00:12:34:56"`. `onReceive`: called with each frame that the guest
   *   sends, for a test that answers; it may call `send`.
   * @throws {RangeError} When the address is none.
   */
  constructor(
    options: {
      readonly mac?: string;
      readonly onReceive?: (frame: Uint8Array<ArrayBuffer>) => void;
    } = {},
  ) {
    super([QUEUE_SIZE, QUEUE_SIZE]);
    this.#mac = macBytes(options.mac ?? DEFAULT_MAC);
    this.#onReceive = options.onReceive;
  }

  /** The frames that the guest has sent: 16 MiB of them at most. */
  get received(): readonly Uint8Array<ArrayBuffer>[] {
    return this.#received;
  }

  /** How many frames were sent after the first 16 MiB, and are lost. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Sends the guest a frame: as soon as it has given a buffer for it.
   *
   * @throws {RangeError} When it is empty, or longer than a frame can be.
   */
  send(frame: Uint8Array): void {
    if (frame.length === 0 || frame.length > MAXIMUM_FRAME) {
      throw new RangeError(
        `Cannot send a frame of ${frame.length} bytes: it has 1 to ${MAXIMUM_FRAME}`,
      );
    }
    this.#pending.push(frame.slice());
    this.notify(QUEUE.RECEIVE);
  }

  /** Whether the link is up. To change that tells the driver. */
  get linkUp(): boolean {
    return this.#isLinkUp;
  }

  /** See above. */
  set linkUp(isUp: boolean) {
    if (isUp === this.#isLinkUp) return;
    this.#isLinkUp = isUp;
    this.configurationChanged();
  }

  /** See {@linkcode VirtioDevice.configuration}. */
  override get configuration(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(CONFIGURATION.SIZE);
    bytes.set(this.#mac, CONFIGURATION.MAC);
    bytes[CONFIGURATION.STATUS] = this.#isLinkUp ? LINK_UP : 0;
    return bytes;
  }

  get #headerSize(): number {
    return this.isModern ? HEADER.SIZE : HEADER.LEGACY_SIZE;
  }

  /** See {@linkcode VirtioDevice.process}. */
  protected override process(queue: number, ring: Virtqueue): void {
    if (queue === QUEUE.TRANSMIT) this.#transmit(ring);
    else this.#receive(ring);
  }

  #transmit(ring: Virtqueue): void {
    for (let buffer = ring.take(); buffer !== undefined; buffer = ring.take()) {
      const length = buffer.readableLength - this.#headerSize;
      if (length < 1 || length > MAXIMUM_FRAME) {
        throw new VirtqueueError(`a frame has 1 to ${MAXIMUM_FRAME} bytes, and not ${length}`);
      }
      const frame = buffer.read(this.#headerSize, length);
      ring.give(buffer, 0);
      this.#keep(frame);
      this.#onReceive?.(frame);
    }
  }

  #keep(frame: Uint8Array<ArrayBuffer>): void {
    if (this.#size + frame.length > CAPACITY) {
      this.#dropped++;
      return;
    }
    this.#size += frame.length;
    this.#received.push(frame);
  }

  #receive(ring: Virtqueue): void {
    while (this.#pending.length > 0) {
      const buffer = ring.take();
      if (buffer === undefined) return;
      const frame = this.#pending.shift()!;
      const header = new Uint8Array(this.#headerSize);
      if (this.isModern) header[HEADER.BUFFERS] = 1;
      const length = header.length + frame.length;
      if (buffer.writableLength < length) {
        throw new VirtqueueError(
          `a buffer of ${buffer.writableLength} bytes does not hold a frame of ${frame.length} with its header`,
        );
      }
      buffer.write(0, header);
      buffer.write(header.length, frame);
      ring.give(buffer, length);
    }
  }

  /** See {@linkcode VirtioDevice.save}. */
  override save(): unknown {
    return {
      device: super.save(),
      isLinkUp: this.#isLinkUp,
      received: [...this.#received],
      dropped: this.#dropped,
      pending: [...this.#pending],
    };
  }

  /** See {@linkcode VirtioDevice.restore}. */
  override restore(saved: unknown): void {
    const state = saved as {
      device: unknown;
      isLinkUp: boolean;
      received: Uint8Array<ArrayBuffer>[];
      dropped: number;
      pending: Uint8Array<ArrayBuffer>[];
    };
    super.restore(state.device);
    this.#isLinkUp = state.isLinkUp;
    this.#received = [...state.received];
    this.#size = state.received.reduce((sum, { length }) => sum + length, 0);
    this.#dropped = state.dropped;
    this.#pending = [...state.pending];
  }
}

function macBytes(mac: string): Uint8Array {
  const bytes = mac.split(":").map((each) => /^[\da-f]{2}$/i.test(each) ? parseInt(each, 16) : NaN);
  if (bytes.length === MAC_SIZE && !bytes.some(Number.isNaN)) return Uint8Array.from(bytes);
  throw new RangeError(
    `Cannot take ${JSON.stringify(mac)} as a MAC address: it is not like ${DEFAULT_MAC}`,
  );
}

import { DEFAULT_CAPACITY, KeptOutput } from "../kept_output.ts";
import { VirtioDevice } from "./virtio_device.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** Features (virtio 1.2, 5.3.3). */
const FEATURE = { SIZE: 1n << 0n, EMERG_WRITE: 1n << 2n } as const;

/** The configuration (5.3.4). */
const CONFIGURATION = { COLUMNS: 0, ROWS: 2, MAX_PORTS: 4, EMERG_WRITE: 8, SIZE: 12 } as const;

/** The queues of port 0. */
const QUEUE = { RECEIVE: 0, TRANSMIT: 1 } as const;
const QUEUE_SIZE = 64;

/**
 * A virtio console (virtio 1.2, 5.3) of one port: it keeps what the guest sends, and gives it what the test sends.
 *
 * Left out: several ports, and the control queues that they need.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { VirtioConsole, VirtioMmio } from "@vmexit/vmexit/devices";
 *
 * const terminal = new VirtioConsole();
 * terminal.send("help\n");
 * using vm = boot(asm.file("./driver.asm"), { devices: [new VirtioMmio(terminal)] });
 * vm.run();
 * console.log(terminal.text);
 * ```
 */
export class VirtioConsole extends VirtioDevice {
  /** See {@linkcode VirtioDevice.name}. */
  override readonly name = "virtio-console";
  /** See {@linkcode VirtioDevice.deviceType}. */
  override readonly deviceType = 3;
  /** A communication controller, of no other kind. */
  override readonly classCode = 0x07_8000;
  /** See {@linkcode VirtioDevice.deviceFeatures}. */
  protected override readonly deviceFeatures = FEATURE.SIZE | FEATURE.EMERG_WRITE;
  readonly #columns: number;
  readonly #rows: number;
  readonly #output = new KeptOutput(DEFAULT_CAPACITY);
  #pending: number[] = [];

  /** A console of a size. Default 80 columns and 25 rows. */
  constructor(options: { readonly columns?: number; readonly rows?: number } = {}) {
    super([QUEUE_SIZE, QUEUE_SIZE]);
    this.#columns = options.columns ?? 80;
    this.#rows = options.rows ?? 25;
  }

  /** The bytes that the guest has sent: the first MiB of them. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#output.bytes;
  }

  /** The bytes that the guest has sent, as UTF-8. */
  get text(): string {
    return this.#output.text;
  }

  /** How many bytes were sent after the first MiB, and are lost. */
  get dropped(): number {
    return this.#output.dropped;
  }

  /** Puts bytes, or text as UTF-8, where the guest reads them: as soon as it has given buffers for them. */
  send(input: string | Uint8Array): void {
    const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
    for (const byte of bytes) this.#pending.push(byte);
    this.notify(QUEUE.RECEIVE);
  }

  /** See {@linkcode VirtioDevice.configuration}. */
  override get configuration(): Uint8Array<ArrayBuffer> {
    const view = new DataView(new ArrayBuffer(CONFIGURATION.SIZE));
    view.setUint16(CONFIGURATION.COLUMNS, this.#columns, true);
    view.setUint16(CONFIGURATION.ROWS, this.#rows, true);
    view.setUint32(CONFIGURATION.MAX_PORTS, 1, true);
    return new Uint8Array(view.buffer);
  }

  /** Emergency writes are output, without a queue. */
  protected override configurationWritten(offset: number, value: number): void {
    if (offset === CONFIGURATION.EMERG_WRITE) this.#output.add(value & 0xff);
  }

  /** See {@linkcode VirtioDevice.process}. */
  protected override process(queue: number, ring: Virtqueue): void {
    if (queue === QUEUE.TRANSMIT) this.#transmit(ring);
    else this.#receive(ring);
  }

  #transmit(ring: Virtqueue): void {
    for (let buffer = ring.take(); buffer !== undefined; buffer = ring.take()) {
      const { readableLength } = buffer;
      // What there is no room for is not copied: a guest may have it cheaply as 4 GiB.
      const kept = Math.min(readableLength, this.#output.room);
      for (const byte of buffer.read(0, kept)) this.#output.add(byte);
      this.#output.drop(readableLength - kept);
      ring.give(buffer, 0);
    }
  }

  #receive(ring: Virtqueue): void {
    while (this.#pending.length > 0) {
      const buffer = ring.take();
      if (buffer === undefined) return;
      const bytes = this.#pending.splice(0, buffer.writableLength);
      buffer.write(0, Uint8Array.from(bytes));
      ring.give(buffer, bytes.length);
    }
  }

  /** See {@linkcode VirtioDevice.save}. */
  override save(): unknown {
    return { device: super.save(), output: this.#output.save(), pending: [...this.#pending] };
  }

  /** See {@linkcode VirtioDevice.restore}. */
  override restore(saved: unknown): void {
    const { device, output, pending } = saved as {
      device: unknown;
      output: ReturnType<KeptOutput["save"]>;
      pending: number[];
    };
    super.restore(device);
    this.#output.restore(output);
    this.#pending = [...pending];
  }
}

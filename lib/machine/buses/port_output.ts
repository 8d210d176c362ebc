const BYTE_BITS = 8;

/** How many bytes are kept of each port: a guest that writes for ever must not fill the host. */
const CAPACITY = 1 << 16;

const INITIAL_CAPACITY = 64;

/** The widths of the accesses that `out` makes. */
const SIZES = [1, 2, 4];

/**
 * What a guest wrote to its ports, whoever answered: the first 64 KiB of each, in order, wider elements with
 * their lowest byte first.
 */
export interface PortOutput {
  /** What was written to `port`. */
  bytes(port: number): Uint8Array<ArrayBuffer>;
  /** How many bytes were written to `port` after the first 64 KiB, and are lost. */
  dropped(port: number): number;
  /** The widths in bytes (1, 2, 4) of the writes to `port`, ascending. */
  sizes(port: number): number[];
}

/** {@linkcode PortOutput}, to which the run loop adds. */
export class PortRecorder implements PortOutput {
  readonly #streams = new Map<number, Stream>();
  #latestPort = -1;
  #latest: Stream | undefined;

  /** See {@linkcode PortOutput.bytes}. */
  bytes(port: number): Uint8Array<ArrayBuffer> {
    return this.#streams.get(port)?.bytes() ?? new Uint8Array(0);
  }

  /** See {@linkcode PortOutput.dropped}. */
  dropped(port: number): number {
    return this.#streams.get(port)?.dropped ?? 0;
  }

  /** See {@linkcode PortOutput.sizes}. */
  sizes(port: number): number[] {
    const seen = this.#streams.get(port)?.sizes ?? 0;
    return SIZES.filter((size) => (seen & size) !== 0);
  }

  /** All of it, for {@linkcode PortRecorder.restore}. */
  save(): readonly PortStream[] {
    return Array.from(this.#streams, ([port, stream]) => ({
      port,
      bytes: stream.bytes(),
      dropped: stream.dropped,
      sizes: stream.sizes,
    }));
  }

  /** What was written is what it was then. */
  restore(streams: readonly PortStream[]): void {
    this.#latest = undefined;
    if (this.#streams.size > 0) this.#streams.clear();
    for (const { port, bytes, dropped, sizes } of streams) {
      this.#streams.set(port, new Stream(bytes, dropped, sizes));
    }
  }

  /** Adds one element. */
  add(port: number, value: number, size: number): void {
    const stream = this.stream(port, size);
    for (let index = 0; index < size; index++) stream.add((value >>> (BYTE_BITS * index)) & 0xff);
  }

  /** Where elements of this size go that are written to `port`, byte by byte, until {@linkcode restore}. */
  stream(port: number, size: number): ByteStream {
    let stream = port === this.#latestPort ? this.#latest : undefined;
    stream ??= this.#streamOf(port);
    stream.sizes |= size;
    return stream;
  }

  #streamOf(port: number): Stream {
    let stream = this.#streams.get(port);
    if (stream === undefined) this.#streams.set(port, stream = new Stream());
    this.#latest = stream;
    this.#latestPort = port;
    return stream;
  }
}

/** What was written to a port. */
interface PortStream {
  readonly port: number;
  readonly bytes: Uint8Array;
  readonly dropped: number;
  readonly sizes: number;
}

/** Takes what is written to a port, a byte at a time. */
export interface ByteStream {
  /** Adds the next byte. */
  add(byte: number): void;
}

class Stream implements ByteStream {
  dropped: number;
  /** The widths of its writes, or-ed: each is a bit of its own. */
  sizes: number;
  #buffer: Uint8Array<ArrayBuffer>;
  #length: number;

  constructor(bytes: Uint8Array = new Uint8Array(0), dropped = 0, sizes = 0) {
    this.#buffer = new Uint8Array(
      Math.max(INITIAL_CAPACITY, 2 ** Math.ceil(Math.log2(bytes.length))),
    );
    this.#buffer.set(bytes);
    this.#length = bytes.length;
    this.dropped = dropped;
    this.sizes = sizes;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#length);
  }

  add(byte: number): void {
    if (this.#length < this.#buffer.length) this.#buffer[this.#length++] = byte;
    else if (this.#length === CAPACITY) this.dropped++;
    else this.#addGrown(byte);
  }

  #addGrown(byte: number): void {
    const grown = new Uint8Array(2 * this.#buffer.length);
    grown.set(this.#buffer);
    this.#buffer = grown;
    grown[this.#length++] = byte;
  }
}

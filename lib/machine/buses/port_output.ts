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

  /** Adds one element. */
  add(port: number, value: number, size: number): void {
    if (port !== this.#latestPort || this.#latest === undefined) {
      let stream = this.#streams.get(port);
      if (stream === undefined) this.#streams.set(port, stream = new Stream());
      this.#latest = stream;
      this.#latestPort = port;
    }
    const stream = this.#latest;
    stream.sizes |= size;
    for (let index = 0; index < size; index++) stream.add((value >>> (BYTE_BITS * index)) & 0xff);
  }
}

class Stream {
  dropped = 0;
  /** The widths of its writes, or-ed: each is a bit of its own. */
  sizes = 0;
  #buffer = new Uint8Array(INITIAL_CAPACITY);
  #length = 0;

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#length);
  }

  add(byte: number): void {
    if (this.#length === this.#buffer.length && !this.#grow()) {
      this.dropped++;
      return;
    }
    this.#buffer[this.#length++] = byte;
  }

  #grow(): boolean {
    if (this.#length === CAPACITY) return false;
    const grown = new Uint8Array(2 * this.#buffer.length);
    grown.set(this.#buffer);
    this.#buffer = grown;
    return true;
  }
}

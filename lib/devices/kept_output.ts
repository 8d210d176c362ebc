/** How much is kept by default: a guest that never stops talking must not fill the host. */
export const DEFAULT_CAPACITY: number = 1 << 20;

const FIRST_SIZE = 256;

/** What a guest has written to a device, up to a capacity. */
export class KeptOutput {
  readonly #capacity: number;
  #bytes = new Uint8Array(FIRST_SIZE);
  #length = 0;
  #dropped = 0;

  /** Nothing yet. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The bytes that were kept. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  /** Those from the `start`th on. */
  from(start: number): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(start, this.#length);
  }

  /** They, as UTF-8. */
  get text(): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.bytes);
  }

  /** How many bytes came after the first `capacity`, and are lost. */
  get dropped(): number {
    return this.#dropped;
  }

  /** How many more are kept. */
  get room(): number {
    return this.#capacity - this.#length;
  }

  /** Notes that so many came, and were not looked at. */
  drop(count: number): void {
    this.#dropped += count;
  }

  /** Keeps one more. */
  add(byte: number): void {
    if (this.#length === this.#capacity) {
      this.#dropped++;
      return;
    }
    if (this.#length === this.#bytes.length) {
      const grown = new Uint8Array(Math.min(2 * this.#length, this.#capacity));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes[this.#length++] = byte;
  }

  /** All of it, as plain data. */
  save(): { readonly bytes: Uint8Array; readonly dropped: number } {
    return { bytes: this.bytes, dropped: this.#dropped };
  }

  /** Takes what {@linkcode KeptOutput.save} gave. */
  restore({ bytes, dropped }: { readonly bytes: Uint8Array; readonly dropped: number }): void {
    if (bytes.length > this.#bytes.length) this.#bytes = new Uint8Array(bytes.length);
    if (bytes.length > 0) this.#bytes.set(bytes);
    this.#length = bytes.length;
    this.#dropped = dropped;
  }
}

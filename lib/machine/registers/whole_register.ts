/** A register that has parts by name, and a value as a whole. */
export class WholeRegister {
  readonly #read: () => bigint;
  readonly #write: (value: bigint) => void;

  /** A register that `read` and `write` reach. */
  constructor(read: () => bigint, write: (value: bigint) => void) {
    this.#read = read;
    this.#write = write;
  }

  /** The whole register. */
  get value(): bigint {
    return this.#read();
  }

  set value(value: bigint) {
    this.#write(value);
  }

  /** The whole register, so that it compares and computes like a bigint. */
  valueOf(): bigint {
    return this.#read();
  }
}

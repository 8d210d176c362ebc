/** Reads lines from a stream of bytes, one at a time, and leaves nothing unread behind that it would need. */
export class LineReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  /** @param stream UTF-8 text */
  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  /** The next line without its end; `undefined` when the stream is over. */
  async next(): Promise<string | undefined> {
    let end = this.#rest.indexOf("\n");
    while (end < 0) {
      const { value, done } = await this.#reader.read();
      if (done) return undefined;
      this.#rest += this.#decoder.decode(value, { stream: true });
      end = this.#rest.indexOf("\n");
    }
    const line = this.#rest.slice(0, end).replace(/\r$/, "");
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }
}

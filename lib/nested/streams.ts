/** Reads lines from a stream of bytes, one at a time, and leaves nothing unread behind that it would need. */
export class LineReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  /** @param stream UTF-8 text. */
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

/**
 * Splits a stream of bytes at a marker that may be spread over chunks. What stands before the marker is passed on as
 * early as possible.
 */
export class UntilMarker {
  readonly #marker: Uint8Array;
  #held: Uint8Array = new Uint8Array();

  /** @param marker The text that ends the stream. */
  constructor(marker: string) {
    this.#marker = new TextEncoder().encode(marker);
  }

  /**
   * Takes the next bytes.
   *
   * @param chunk What came.
   * @returns The bytes that are surely before the marker, and whether the marker has come.
   */
  push(chunk: Uint8Array): { bytes: Uint8Array; ended: boolean } {
    const all = new Uint8Array(this.#held.length + chunk.length);
    all.set(this.#held);
    all.set(chunk, this.#held.length);
    for (let start = all.indexOf(this.#marker[0]); start >= 0;) {
      const length = Math.min(this.#marker.length, all.length - start);
      let same = 1;
      while (same < length && all[start + same] === this.#marker[same]) same++;
      if (same === length) {
        this.#held = all.slice(start);
        return { bytes: all.subarray(0, start), ended: length === this.#marker.length };
      }
      start = all.indexOf(this.#marker[0], start + 1);
    }
    this.#held = new Uint8Array();
    return { bytes: all, ended: false };
  }
}

/**
 * Passes on what stands before a marker in a stream, as it comes, and stops reading there.
 *
 * @param stream The bytes.
 * @param marker What ends them.
 * @param hear Is given each chunk.
 */
export async function relay(
  stream: ReadableStream<Uint8Array>,
  marker: string,
  hear: (chunk: Uint8Array) => void,
): Promise<void> {
  const until = new UntilMarker(marker);
  const reader = stream.getReader();
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const { bytes, ended } = until.push(value);
    if (bytes.length > 0) hear(bytes);
    if (ended) return;
  }
}

/** All chunks in one array. */
export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

/**
 * Waits for a promise, but not longer than a number of seconds.
 *
 * @param seconds The limit.
 * @param promise What is waited for.
 * @param late Makes the error that is thrown when the time is over.
 */
export async function withDeadline<T>(
  seconds: number,
  promise: Promise<T>,
  late: () => Promise<Error>,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => late().then(reject, reject), seconds * 1000);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

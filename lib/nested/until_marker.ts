/** Splits a stream of bytes at a marker that may be spread over chunks. What stands before the marker is passed on as early as possible. */
export class UntilMarker {
  readonly #marker: Uint8Array;
  #held: Uint8Array = new Uint8Array();

  /** @param marker the text that ends the stream */
  constructor(marker: string) {
    this.#marker = new TextEncoder().encode(marker);
  }

  /**
   * Takes the next bytes.
   *
   * @param chunk what came
   * @returns the bytes that are surely before the marker, and whether the marker has come
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

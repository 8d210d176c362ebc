import { FRAME_HEADER } from "./send_program.ts";

/** A piece of what a machine wrote to one of its ports. */
export interface Frame {
  /** The port's index. */
  port: number;
  /** What was written to it. */
  bytes: Uint8Array;
}

/** Takes frames out of a stream of bytes, in which they may be spread over chunks: a byte for the port, two for the length, then the content. */
export class FrameSplitter {
  #held: Uint8Array = new Uint8Array();

  /**
   * Takes the next bytes.
   *
   * @param chunk what came
   * @returns the frames that are complete now
   */
  push(chunk: Uint8Array): Frame[] {
    const all = new Uint8Array(this.#held.length + chunk.length);
    all.set(this.#held);
    all.set(chunk, this.#held.length);
    const frames: Frame[] = [];
    let offset = 0;
    while (offset + FRAME_HEADER <= all.length) {
      const start = offset + FRAME_HEADER;
      const end = start + (all[offset + 1] | all[offset + 2] << 8);
      if (end > all.length) break;
      frames.push({ port: all[offset], bytes: all.slice(start, end) });
      offset = end;
    }
    this.#held = all.slice(offset);
    return frames;
  }
}

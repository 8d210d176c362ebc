import { PAGE_SIZE } from "../../ffi/mman.ts";

/** A piece of the window. */
interface Range {
  start: number;
  end: number;
}

/** Which pages of the window are free: the first that fit are given. All numbers are offsets in the window, in bytes. */
export class PageAllocator {
  readonly #free: Range[];

  /** All from `start` to `end` is free. */
  constructor(start: number, end: number) {
    this.#free = [{ start, end }];
  }

  /**
   * Takes `size` bytes that begin `offset` bytes behind a multiple of `alignment`.
   *
   * @returns Where they begin; undefined where no free piece is large enough.
   */
  take(size: number, alignment: number = PAGE_SIZE, offset = 0): number | undefined {
    for (const [index, { start, end }] of this.#free.entries()) {
      const at = Math.ceil((start - offset) / alignment) * alignment + offset;
      if (at + size > end) continue;
      const rest = [{ start, end: at }, { start: at + size, end }]
        .filter((piece) => piece.start < piece.end);
      this.#free.splice(index, 1, ...rest);
      return at;
    }
    return undefined;
  }

  /** Gives back what {@linkcode PageAllocator.take} gave. */
  give(at: number, size: number): void {
    const index = this.#free.findIndex(({ start }) => start > at);
    const before = index < 0 ? this.#free.length : index;
    this.#free.splice(before, 0, { start: at, end: at + size });
    for (const left of [before, before - 1]) {
      const [one, next] = [this.#free[left], this.#free[left + 1]];
      if (one === undefined || next === undefined || one.end !== next.start) continue;
      this.#free.splice(left, 2, { start: one.start, end: next.end });
    }
  }
}

/** Bytes in whole pages. */
export function wholePages(size: number): number {
  return Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
}

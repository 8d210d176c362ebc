import { detach } from "../../ffi/pages.ts";
import { SEEK } from "../../ffi/files.ts";
import { HostError } from "../../ffi/errors.ts";
import type { Libc, PageRange, Pages } from "../../ffi/libc.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import { inAgent, type RemoteMachine } from "./remote_machine.ts";
import { OWN_CALL, WINDOW, WINDOW_SIZE } from "./window.ts";
import { WrittenMemory } from "./written_memory.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";

/** The pages of a machine's window: memory of guests, and room for the copies of what KVM shares with a process. */
export class WindowMemory {
  readonly #libc: Libc;
  readonly #machine: RemoteMachine;
  readonly #released: () => void;
  readonly #free = new PageAllocator(WINDOW.pages, WINDOW_SIZE);
  /** What this process has written to guests' memory. */
  readonly written: WrittenMemory = new WrittenMemory(processCalls());

  /** @param released Hears that something was given back, whose calls are still to be sent. */
  constructor(libc: Libc, machine: RemoteMachine, released: () => void) {
    this.#libc = libc;
    this.#machine = machine;
    this.#released = released;
  }

  /** Takes whole pages that are all zeros: their offset, or undefined where there are not as many. */
  take(size: number, alignment?: number, offset?: number): number | undefined {
    // What was given back is zeroed by then: this process writes there before it asks for anything else.
    this.#machine.settle();
    return this.#free.take(size, alignment, offset);
  }

  /** Gives back pages that were not written to. */
  give(start: number, size: number): void {
    this.#free.give(start, size);
  }

  /** Allocates guest memory. Throws as {@linkcode Libc.allocatePages} does. */
  allocate(size: number, alignment: number, offset: number): Pages {
    const machine = this.#machine;
    const start = this.take(wholePages(size), alignment, offset);
    if (start === undefined) {
      throw new HostError(
        `Cannot allocate ${size} bytes of guest memory: of the ${WINDOW_SIZE} that are shared with the emulated machine, so ` +
          "many are not free in one piece. Ask for less with the `memory` option, or dispose machines that are done.",
      );
    }
    machine.hold(1);
    const { written } = this;
    const address = machine.address + BigInt(start);
    const buffer = this.#libc.memory(address, size);
    const bytes = new Uint8Array(buffer);
    return {
      bytes,
      address,
      wrote: (from, length) => written.note(start + from, length),
      view: (from, length) => written.view(bytes, start, from, length),
      touched: () => this.#touched(start, size),
      [Symbol.dispose]: () => {
        if (buffer.detached) return;
        detach(buffer);
        written.forget(start, size);
        if (machine.death !== undefined) return;
        this.clear(start, wholePages(size));
        machine.hold(-1);
        this.#released();
      },
    };
  }

  /**
   * Gives back pages, and has them made zeros: by the agent, so that QEMU forgets the code that lay there. What nobody
   * has touched is no memory yet, and stays so.
   */
  clear(start: number, size: number): void {
    for (const { start: from, end } of this.#touched(start, size)) {
      this.#machine.add(OWN_CALL.zero, inAgent(start + from), end - from);
    }
    this.#free.give(start, size);
  }

  /** What of a piece of the window somebody has touched, by offsets in the piece. */
  #touched(start: number, size: number): PageRange[] {
    const end = start + size;
    const { window } = this.#machine;
    const ranges: PageRange[] = [];
    for (let at = start; at < end;) {
      const data = this.#libc.lseek(window, at, SEEK.DATA);
      if (data < 0 || data >= end) break;
      at = Math.min(end, this.#libc.lseek(window, data, SEEK.HOLE));
      ranges.push({ start: data - start, end: at - start });
    }
    return ranges;
  }
}

/** A piece of the window. */
interface Range {
  start: number;
  end: number;
}

/**
 * Which pages of the window are free: the first that fit are given. All numbers are offsets in the window, in bytes.
 */
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

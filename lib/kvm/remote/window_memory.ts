import { detach } from "../../ffi/buffer_pages.ts";
import { SEEK } from "../../ffi/files.ts";
import { HostError } from "../../ffi/host_error.ts";
import type { Libc, Pages } from "../../ffi/libc.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import { PageAllocator, wholePages } from "./page_allocator.ts";
import { inAgent, type RemoteMachine } from "./remote_machine.ts";
import { OWN_CALL, WINDOW, WINDOW_SIZE } from "./window.ts";
import { WrittenMemory } from "./written_memory.ts";

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
   * Gives back pages, and has them made zeros: by the agent, so that QEMU forgets the code that lay there. What nobody has touched
   * is no memory yet, and stays so.
   */
  clear(start: number, size: number): void {
    const end = start + size;
    const { window } = this.#machine;
    for (let at = start; at < end;) {
      const data = this.#libc.lseek(window, at, SEEK.DATA);
      if (data < 0 || data >= end) break;
      const hole = Math.min(end, this.#libc.lseek(window, data, SEEK.HOLE));
      this.#machine.add(OWN_CALL.zero, inAgent(data), hole - data);
      at = hole;
    }
    this.#free.give(start, size);
  }
}

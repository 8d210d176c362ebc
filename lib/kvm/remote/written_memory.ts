import type { ProcessCalls } from "../../ffi/process_calls.ts";

/** Bytes of a word of the agent's. */
const WORD_SIZE = 8;

/**
 * How finely a view is compared: by these pieces in turn, so that a large one of which little was written costs little.
 */
const STEPS = [64 * 1024, 4 * 1024, 64] as const;

/** A live view of guest memory, and how it was when the guest stopped. */
interface LiveView {
  readonly start: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly shadow: Uint8Array<ArrayBuffer>;
  /** What was handed out. It is kept until its memory ends: another view may have been made of it. */
  readonly handedOut: Uint8Array<ArrayBuffer>;
}

/** Takes a piece of the window that was written: its offset and its length, in whole words. */
type Taker = (start: number, length: number) => void;

/**
 * What this process has written to guest memory since the guest ran last.
 *
 * QEMU keeps its translation of the guest's code until somebody inside the machine writes there: what comes from
 * outside it does not see. So the agent writes the same bytes once more, before the guest runs on. Writes that go
 * through vmexit are noted; of a view that a test holds, which it may write to at any time, a copy is kept and
 * compared.
 */
export class WrittenMemory {
  readonly #calls: Pick<ProcessCalls, "equal">;
  readonly #ranges: number[] = [];
  readonly #views: LiveView[] = [];

  /** @param calls Compares memory. */
  constructor(calls: Pick<ProcessCalls, "equal">) {
    this.#calls = calls;
  }

  /** Notes that `length` bytes at the window's offset `at` were written. */
  note(at: number, length: number): void {
    if (length === 0) return;
    const start = down(at);
    const end = up(at + length);
    const ranges = this.#ranges;
    const last = ranges.length - 2;
    // What is written in order, a byte at a time, is one range.
    if (last >= 0 && start <= ranges[last + 1] && end >= ranges[last]) {
      ranges[last] = Math.min(ranges[last], start);
      ranges[last + 1] = Math.max(ranges[last + 1], end);
    } else ranges.push(start, end);
  }

  /**
   * A view of memory whose writes are found.
   *
   * @param memory All of a piece of memory, in whole words.
   * @param base Its offset in the window.
   */
  view(
    memory: Uint8Array<ArrayBuffer>,
    base: number,
    from: number,
    length: number,
  ): Uint8Array<ArrayBuffer> {
    for (const { handedOut } of this.#views) {
      const isSame = handedOut.buffer === memory.buffer &&
        handedOut.byteOffset === memory.byteOffset + from && handedOut.length === length;
      if (isSame) return handedOut;
    }
    const view = memory.subarray(from, from + length);
    const bytes = memory.subarray(down(from), up(from + length));
    const start = base + down(from);
    this.#views.push({ start, bytes, shadow: bytes.slice(), handedOut: view });
    return view;
  }

  /** Forgets the views of a piece of memory, which is no more. */
  forget(base: number, size: number): void {
    for (let index = this.#views.length - 1; index >= 0; index--) {
      const { start } = this.#views[index];
      if (start >= base && start < base + size) this.#views.splice(index, 1);
    }
  }

  /** Hands out what was written. */
  take(taker: Taker): void {
    for (let index = 0; index < this.#ranges.length; index += 2) {
      taker(this.#ranges[index], this.#ranges[index + 1] - this.#ranges[index]);
    }
    this.#ranges.length = 0;
    for (let index = this.#views.length - 1; index >= 0; index--) {
      const view = this.#views[index];
      this.#compare(view, 0, view.bytes.length, 0, taker);
    }
  }

  /** Notes how views are when the guest has stopped: it may have written there, too. */
  guestStopped(): void {
    const views = this.#views;
    for (let index = 0; index < views.length; index++) views[index].shadow.set(views[index].bytes);
  }

  #compare(view: LiveView, from: number, to: number, step: number, taker: Taker): void {
    const { start, bytes, shadow } = view;
    if (this.#calls.equal(bytes.subarray(from, to), shadow.subarray(from, to))) return;
    if (step === STEPS.length) return taker(start + from, to - from);
    for (let at = from; at < to; at += STEPS[step]) {
      this.#compare(view, at, Math.min(at + STEPS[step], to), step + 1, taker);
    }
  }
}

function down(at: number): number {
  return Math.floor(at / WORD_SIZE) * WORD_SIZE;
}

function up(at: number): number {
  return Math.ceil(at / WORD_SIZE) * WORD_SIZE;
}

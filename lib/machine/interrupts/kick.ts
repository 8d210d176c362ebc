import { SYSTEM_EVENT } from "./system_event.ts";

/** The word by which another thread kicks a machine's CPUs out of their run: not 0 where it has. */
export class Kick {
  #word: Int32Array<SharedArrayBuffer> | undefined;

  /** It. There is none before it is asked for, so that nobody pays for it. */
  get word(): Int32Array<SharedArrayBuffer> {
    return this.#word ??= new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  }

  /** Whether a kick waits. */
  get isAsked(): boolean {
    return this.#word !== undefined && Atomics.load(this.#word, 0) !== 0;
  }

  /** Takes a kick, which is over then; undefined where none waits. */
  take(): number | undefined {
    if (this.#word === undefined || Atomics.exchange(this.#word, 0, 0) === 0) return undefined;
    return SYSTEM_EVENT.KICK;
  }
}

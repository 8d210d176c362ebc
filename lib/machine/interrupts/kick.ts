import type { Vcpu } from "../../kvm/vcpu.ts";
import { SYSTEM_EVENT } from "./system_event.ts";

/** Has each of these CPUs looked at before it runs on. */
export function callForAttention(cpus: readonly { readonly vcpu: Vcpu }[]): void {
  for (const { vcpu } of cpus) vcpu.needsAttention = true;
}

/** What ends a run from outside: a word that another thread sets, or who else asks for it. */
export class Kick {
  readonly #look: () => void;
  #word: Int32Array<SharedArrayBuffer> | undefined;
  #asks: (() => boolean) | undefined;

  /** @param look Has it looked at from now on: at each exit, and from the next run on every few milliseconds. */
  constructor(look: () => void) {
    this.#look = look;
  }

  /** The word: not 0 where CPUs are kicked. There is none before it is asked for, so that nobody pays for it. */
  get word(): Int32Array<SharedArrayBuffer> {
    this.#look();
    return this.#word ??= new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  }

  /** Has CPUs kicked whenever `asks` says so; undefined for never again. */
  when(asks: (() => boolean) | undefined): void {
    this.#look();
    this.#asks = asks;
  }

  /** Whether CPUs may be kicked. */
  get isUsed(): boolean {
    return this.#word !== undefined || this.#asks !== undefined;
  }

  /** Whether a kick waits. */
  get isAsked(): boolean {
    return this.#word !== undefined && Atomics.load(this.#word, 0) !== 0 || this.#asks?.() === true;
  }

  /** Takes a kick, which is over then; undefined where none waits. */
  take(): number | undefined {
    const isByWord = this.#word !== undefined && Atomics.exchange(this.#word, 0, 0) !== 0;
    return isByWord || this.#asks?.() === true ? SYSTEM_EVENT.KICK : undefined;
  }
}

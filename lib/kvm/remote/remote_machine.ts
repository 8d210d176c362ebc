import { ERRNO, HostError, SystemError } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { MADV } from "../../ffi/mman.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import { readText } from "../../ffi/read_text.ts";
import type { MachineImage } from "./machine_image.ts";
import {
  endedError,
  lastWords,
  type MachineHandles,
  notedMachines,
  startMachine,
  writeNotes,
} from "./machine_process.ts";
import { CALL, HOLDER, MOST_CALLS, NOTES, WINDOW, WINDOW_IN_AGENT, WINDOW_SIZE } from "./window.ts";

/** How often a wait for the machine looks whether it takes too long, in milliseconds. */
const LOOK_MILLISECONDS = 1_000;

/** How long a machine may take to start, on a host with other work. */
const START_MILLISECONDS = 60_000;

/** How long it may take over a request that does not run a guest. None takes a hundredth of that on an idle host. */
const REQUEST_MILLISECONDS = 60_000;

const WORD = 2 ** 32;

/**
 * How often this process looks for the end of a request before it sleeps: about 70 µs, a little longer than an exit
 * takes. On an idle host that saves waking it, which takes as long again; where the processors are taken it would take
 * them from the machine, so it is left for a while where it fails.
 */
const SPINS = 1_500;
const MOST_PATIENCE = 16;
/** A spin that failed costs as much as so many that did not. */
const IMPATIENCE = 4;
const BLOCKED_BETWEEN_SPINS = 32;

/**
 * The windows of the machines that this isolate holds: those are in use, though their holder is the thread of whoever
 * looks.
 */
const heldHere = new Set<number>();

const HOLDER_WORD = (WINDOW.notes + NOTES.holder) >> 2;

/**
 * An emulated machine with a KVM, and the requests to the agent in it: several calls each, carried out in order. It is
 * held by one thread at a time, and ends with the process.
 *
 * Whoever waits for a request spins a little, and then sleeps in `recv(2)`.
 */
export class RemoteMachine {
  readonly #libc: Libc;
  readonly #calls = processCalls();
  readonly #parts: MachineHandles;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  readonly #byte = new Uint8Array(1);
  /** The head of the window: requests, calls and their bytes. */
  readonly head: Uint8Array<ArrayBuffer>;
  #count = 0;
  #outstanding = false;
  /** How often spinning may still fail before it is left; and how many requests were waited for since without. */
  #patience = MOST_PATIENCE;
  #blocked = 0;
  /** How many things are in use in it, and 1 while this isolate holds it. */
  #held = 0;
  #death: string | undefined;

  private constructor(libc: Libc, parts: MachineHandles) {
    this.#libc = libc;
    this.#parts = parts;
    const buffer = libc.memory(parts.address, WINDOW.pages);
    this.head = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
    this.#view = new DataView(buffer);
  }

  /**
   * A machine of this process that nobody holds; else a new one.
   *
   * @param image The image that it is started from; asked again, it has made sure that it is whole.
   * @throws {HostError} When it does not start.
   */
  static open(libc: Libc, image: (again: boolean) => MachineImage): RemoteMachine {
    const idle = RemoteMachine.#adopt(libc);
    if (idle !== undefined) return idle;
    try {
      return RemoteMachine.start(libc, image(false));
    } catch (error) {
      if (!(error instanceof HostError || error instanceof SystemError)) throw error;
      return RemoteMachine.start(libc, image(true));
    }
  }

  /** Where the window begins in this process. */
  get address(): bigint {
    return this.#parts.address;
  }

  /** The descriptor of the window. */
  get window(): number {
    return this.#parts.window;
  }

  /** The ids of its processes: what ends it, and, where it can be seen, QEMU. */
  get processes(): number[] {
    const { supervisor } = this.#parts;
    const children = readText(this.#libc, `/proc/${supervisor}/task/${supervisor}/children`) ?? "";
    return [supervisor, ...children.split(" ").filter((pid) => pid !== "").map(Number)];
  }

  /** Why it is no more; undefined as long as it lives. */
  get death(): string | undefined {
    return this.#death;
  }

  /**
   * Makes it this thread's. Whoever has something in it holds it, and any thread may have it after that.
   *
   * @returns Whether nobody else holds it.
   */
  acquire(): boolean {
    if (this.#held !== 0) return true;
    if (!this.#exchangeHolder(HOLDER.nobody, this.#libc.gettid())) return false;
    // Another thread may not have waited for its last request.
    this.#outstanding = !this.#isDone;
    this.#held = 1;
    heldHere.add(this.window);
    return true;
  }

  /** Whether this isolate holds it. */
  get isHeld(): boolean {
    return this.#held > 0;
  }

  /** Counts what is in use in it: descriptors, mappings, pieces of memory. */
  hold(change: number): void {
    this.#held += change;
  }

  /** Sends what was added, and lets it go, where nothing is in use in it any more. */
  release(): void {
    if (this.#death !== undefined || this.#held === 0) return;
    if (this.#count > 0) this.post();
    if (this.#held > 1) return;
    this.#held = 0;
    heldHere.delete(this.window);
    Atomics.store(this.#words, HOLDER_WORD, HOLDER.nobody);
  }

  /**
   * Adds a call to the next request, which is sent when it is full.
   *
   * @param number Of `SYSTEM_CALL` or `OWN_CALL`.
   * @returns Where its result will be, for {@linkcode RemoteMachine.result}.
   */
  add(number: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): number {
    if (this.#outstanding) this.#finish(REQUEST_MILLISECONDS);
    if (this.#count === MOST_CALLS) this.send();
    const at = WINDOW.callList + CALL.size * this.#count++;
    const words = this.#words;
    words[at >> 2] = number;
    words[at + 4 >> 2] = 0;
    this.#argument(at + CALL.argument, a);
    this.#argument(at + CALL.argument + 8, b);
    this.#argument(at + CALL.argument + 16, c);
    this.#argument(at + CALL.argument + 24, d);
    this.#argument(at + CALL.argument + 32, e);
    this.#argument(at + CALL.argument + 40, f);
    return at + CALL.result;
  }

  /** The result of a call whose request was sent: what the kernel returned, −errno where it failed. */
  result(at: number): number {
    return this.#words[at >> 2];
  }

  /** The whole of a result, for addresses. */
  wideResult(at: number): number {
    return this.#view.getInt32(at + 4, true) * WORD + this.#view.getUint32(at, true);
  }

  /**
   * Sends the calls that were added, and waits until they are carried out.
   *
   * @param limit How long that may take, in milliseconds.
   * @throws {HostError} When the machine ends meanwhile, or takes longer, which ends it.
   */
  send(limit: number = REQUEST_MILLISECONDS): void {
    this.post();
    this.#finish(limit);
  }

  /** Sends the calls that were added, without waiting for them. */
  post(): void {
    if (this.#death !== undefined) throw endedError(this.#death);
    if (this.#outstanding) this.#finish(REQUEST_MILLISECONDS);
    const words = this.#words;
    words[WINDOW.calls >> 2] = this.#count;
    this.#count = 0;
    this.#outstanding = true;
    Atomics.add(words, WINDOW.request >> 2, 1);
    if (Atomics.load(words, WINDOW.asleep >> 2) !== 0) {
      this.#calls.send(this.#parts.bell, this.#byte);
    }
  }

  /** Waits until all that was asked for is carried out. */
  settle(): void {
    if (this.#count > 0) this.send();
    else if (this.#outstanding) this.#finish(REQUEST_MILLISECONDS);
  }

  /** Ends the machine. */
  end(reason: string): void {
    if (this.#death !== undefined) return;
    const { life, supervisor, bell, signal, done, window, console, complaints } = this.#parts;
    heldHere.delete(window);
    this.#libc.close(life);
    this.#calls.wait(supervisor);
    this.#death = [reason, ...lastWords(this.#libc, this.#parts)].join("\n");
    this.#outstanding = false;
    for (const fd of [bell, signal, done, window, console, complaints]) this.#libc.close(fd);
    Atomics.store(this.#words, HOLDER_WORD, HOLDER.dead);
    // It stays mapped, because memory of guests and copies of kvm_run may still be looked at, but gives its pages back.
    const { address } = this.#parts;
    this.#libc.madvise(address + BigInt(WINDOW.data), WINDOW_SIZE - WINDOW.data, MADV.REMOVE);
  }

  #argument(at: number, value: number): void {
    this.#words[at >> 2] = value;
    this.#words[at + 4 >> 2] = Math.floor(value / WORD);
  }

  #finish(limit: number): void {
    const words = this.#words;
    if (this.#spin()) {
      this.#outstanding = false;
      return;
    }
    const began = performance.now();
    Atomics.store(words, WINDOW.waiting >> 2, 1);
    for (;;) {
      if (this.#isDone) break;
      const received = this.#calls.recv(this.#parts.done, this.#byte);
      if (received === 1) continue;
      const errno = received < 0 ? this.#calls.errno() : 0;
      if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) this.#fail("ended by itself");
      if (performance.now() - began >= limit) {
        this.#fail(`has not answered for ${Math.round(limit)} ms: its kernel, or QEMU, hangs`);
      }
    }
    Atomics.store(words, WINDOW.waiting >> 2, 0);
    this.#outstanding = false;
  }

  /** Looks for the end of the request for as long as an exit takes, if that has been of use lately. */
  #spin(): boolean {
    if (this.#patience === 0 && ++this.#blocked % BLOCKED_BETWEEN_SPINS !== 0) return false;
    for (let count = 0; count < SPINS; count++) {
      if (this.#isDone) {
        this.#patience = Math.min(MOST_PATIENCE, this.#patience + 1);
        return true;
      }
      Atomics.pause();
    }
    this.#patience = Math.max(0, this.#patience - IMPATIENCE);
    return false;
  }

  get #isDone(): boolean {
    const words = this.#words;
    return Atomics.load(words, WINDOW.request >> 2) === Atomics.load(words, WINDOW.done >> 2);
  }

  #fail(what: string): never {
    this.end(`The emulated machine with KVM ${what}. The next boot() starts another.`);
    throw endedError(this.#death);
  }

  static #adopt(libc: Libc): RemoteMachine | undefined {
    for (const { parts, holder } of notedMachines(libc)) {
      const machine = new RemoteMachine(libc, parts);
      if (machine.acquire()) return machine;
      machine.#endIfLeft(holder);
    }
    return undefined;
  }

  /**
   * Ends a machine whose isolate has ended in the middle of something: an earlier one of this thread, or a thread that
   * is no more.
   */
  #endIfLeft(holder: number): void {
    const thread = this.#libc.gettid();
    if (
      holder <= 0 || heldHere.has(this.window) ||
      holder !== thread && this.#calls.threadIsAlive(holder)
    ) return;
    if (this.#exchangeHolder(holder, thread)) {
      this.end("Its isolate ended in the middle of something");
    }
  }

  #exchangeHolder(from: number, to: number): boolean {
    return Atomics.compareExchange(this.#words, HOLDER_WORD, from, to) === from;
  }

  /**
   * A new machine.
   *
   * @throws {HostError | SystemError} When it does not start.
   */
  static start(libc: Libc, image: MachineImage): RemoteMachine {
    const { parts, monitor } = startMachine(libc, image);
    using _monitor = { [Symbol.dispose]: () => libc.close(monitor) };
    const machine = new RemoteMachine(libc, parts);
    machine.acquire();
    writeNotes(machine.#view, parts);
    machine.#calls.setReceiveTimeout(parts.done, LOOK_MILLISECONDS);
    // The agent slept when it was saved, and said so in another window.
    machine.#words[WINDOW.asleep >> 2] = 1;
    machine.send(START_MILLISECONDS);
    return machine;
  }
}

/** The address that the agent has for an offset in the window. */
export function inAgent(offset: number): number {
  return WINDOW_IN_AGENT + offset;
}

import { ERRNO } from "../../ffi/errno.ts";
import { HostError } from "../../ffi/host_error.ts";
import type { Libc } from "../../ffi/libc.ts";
import { MADV, MAP, MAP_FAILED, PROT } from "../../ffi/mman.ts";
import { type ProcessCalls, processCalls } from "../../ffi/process_calls.ts";
import { SystemError } from "../../ffi/system_error.ts";
import { IMAGE_FILES, type MachineImage } from "./machine_image.ts";
import { qemuArguments } from "./qemu_arguments.ts";
import {
  CALL,
  HOLDER,
  MOST_CALLS,
  NOTES,
  SIGNAL_SIZE,
  WINDOW,
  WINDOW_IN_AGENT,
  WINDOW_MEMORY,
  WINDOW_SIZE,
} from "./window.ts";

const MFD_CLOEXEC = 0x1;
const O_RDWR = 0x2;
const O_CLOEXEC = 0x8_0000;

/** How the window's descriptor is named in `/proc`, by which the next isolate of a thread finds it. */
const WINDOW_NAME = "vmexit-kvm";

/** How often a wait for the machine looks whether it takes too long, in milliseconds. */
const LOOK_MILLISECONDS = 1_000;

/** How long a machine may take to start, on a host with other work. */
const START_MILLISECONDS = 60_000;

/** How long it may take over a request that does not run a guest. None takes a hundredth of that on an idle host. */
const REQUEST_MILLISECONDS = 60_000;

const WORD = 2 ** 32;

const HOLDER_WORD = (WINDOW.notes + NOTES.holder) >> 2;

/** The numbers that the machine's descriptors have in the supervisor. */
const DESCRIPTOR = { window: 3, state: 4, bell: 5, done: 6, monitor: 7, console: 8, signal: 9 } as const;

/**
 * Starts the machine's program as a child, ends it as soon as the other end of its standard input is closed, however that came,
 * and keeps none of the machine's descriptors open itself.
 */
const SUPERVISOR = `"$@" </dev/null & machine=$!
exec ${Object.values(DESCRIPTOR).map((fd) => `${fd}>&-`).join(" ")}
read nothing
kill -9 $machine 2>/dev/null
wait $machine
echo "QEMU's exit status: $?" >&2`;

/** The process's own descriptors of a machine, its supervisor, and where its window is. */
interface MachineParts {
  readonly address: bigint;
  readonly window: number;
  readonly supervisor: number;
  readonly life: number;
  readonly bell: number;
  readonly signal: number;
  readonly done: number;
  readonly console: number;
  readonly complaints: number;
}

/**
 * An emulated machine with a KVM, and the requests to the agent in it: several calls each, carried out in order. It is held by
 * one thread at a time, and ends with the process.
 *
 * Whoever waits for a request sleeps in `recv(2)`: spinning would take the processor from the machine.
 */
export class RemoteMachine {
  readonly #libc: Libc;
  readonly #calls: ProcessCalls;
  readonly #parts: MachineParts;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  readonly #byte = new Uint8Array(1);
  /** The head of the window: requests, calls and their bytes. */
  readonly head: Uint8Array<ArrayBuffer>;
  #count = 0;
  #outstanding = false;
  /** How many things are in use in it, and 1 while this isolate holds it. */
  #held = 0;
  #death: string | undefined;

  private constructor(libc: Libc, calls: ProcessCalls, parts: MachineParts) {
    this.#libc = libc;
    this.#calls = calls;
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
    return true;
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
    if (this.#death !== undefined) throw new HostError(this.#death);
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
    this.#libc.close(life);
    this.#calls.wait(supervisor);
    this.#death = [reason, ...this.#lastWords()].join("\n");
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
    const began = performance.now();
    for (;;) {
      const received = this.#calls.recv(this.#parts.done, this.#byte);
      // A byte may be that of a request for which the thread's earlier isolate did not wait.
      if (received === 1 && this.#isDone) break;
      if (received === 1) continue;
      const errno = received < 0 ? this.#calls.errno() : 0;
      if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) this.#fail("ended by itself");
      if (performance.now() - began >= limit) {
        this.#fail(`has not answered for ${Math.round(limit)} ms: its kernel, or QEMU, hangs`);
      }
    }
    this.#outstanding = false;
  }

  get #isDone(): boolean {
    const words = this.#words;
    return Atomics.load(words, WINDOW.request >> 2) === Atomics.load(words, WINDOW.done >> 2);
  }

  #fail(what: string): never {
    this.end(`The emulated machine with KVM ${what}. The next boot() starts another.`);
    throw new HostError(this.#death!);
  }

  /** The end of what QEMU and the machine's kernel said. */
  #lastWords(): string[] {
    return [this.#parts.complaints, this.#parts.console].map((fd) => this.#tail(fd))
      .filter((text) => text !== "");
  }

  #tail(fd: number): string {
    const size = this.#libc.lseek(fd, 0, 2);
    const length = Math.max(0, Math.min(size, 4096));
    const bytes = new Uint8Array(length);
    this.#libc.pread(fd, bytes, size - length);
    return new TextDecoder().decode(bytes.filter((byte) => byte !== 0)).replaceAll("\r", "").trim();
  }

  static #adopt(libc: Libc): RemoteMachine | undefined {
    const calls = processCalls();
    for (const name of calls.namesIn("/proc/self/fd")) {
      if (!isWindow(name)) continue;
      const notes = new DataView(new ArrayBuffer(WINDOW.callList - WINDOW.notes));
      libc.pread(Number(name), new Uint8Array(notes.buffer), WINDOW.notes);
      const note = (at: number) => Number(notes.getBigInt64(at, true));
      if (note(NOTES.window) !== Number(name)) continue;
      const machine = new RemoteMachine(libc, calls, {
        address: notes.getBigInt64(NOTES.address, true),
        window: note(NOTES.window),
        supervisor: note(NOTES.supervisor),
        life: note(NOTES.life),
        bell: note(NOTES.bell),
        signal: note(NOTES.signal),
        done: note(NOTES.done),
        console: note(NOTES.console),
        complaints: note(NOTES.complaints),
      });
      if (machine.acquire()) return machine;
      machine.#endIfLeft(note(NOTES.holder));
    }
    return undefined;
  }

  /** Ends a machine whose isolate has ended in the middle of something: an earlier one of this thread, or a thread that is no more. */
  #endIfLeft(holder: number): void {
    const thread = this.#libc.gettid();
    if (holder <= 0 || holder !== thread && this.#calls.threadIsAlive(holder)) return;
    if (this.#exchangeHolder(holder, thread)) this.end("Its isolate ended in the middle of something");
  }

  #exchangeHolder(from: number, to: number): boolean {
    return Atomics.compareExchange(this.#words, HOLDER_WORD, from, to) === from;
  }

  /** A new machine. @throws {HostError | SystemError} When it does not start. */
  static start(libc: Libc, image: MachineImage): RemoteMachine {
    const calls = processCalls();
    using opened = new DisposableStack();
    const own = (fd: number, what: string) => {
      if (fd < 0) throw new SystemError(what, libc.errno(), "the emulated machine was not started");
      opened.defer(() => libc.close(fd));
      return fd;
    };
    using lent = new DisposableStack();
    const lend = (fd: number, what = "open") => {
      if (fd < 0) throw new SystemError(what, libc.errno(), "the emulated machine was not started");
      lent.defer(() => libc.close(fd));
      return fd;
    };
    const memoryFile = (name: string) => own(libc.memfd_create(name, MFD_CLOEXEC), "memfd_create");
    const pair = () => {
      const [here, there] = calls.socketpair();
      lend(there);
      return [own(here, "socketpair"), there];
    };
    const window = memoryFile(WINDOW_NAME);
    if (calls.ftruncate(window, WINDOW_MEMORY) !== 0) {
      throw new SystemError("ftruncate", calls.errno(), "the memory shared with the emulated machine");
    }
    const address = libc.mmap(WINDOW_SIZE, PROT.READ | PROT.WRITE, MAP.SHARED, window, 0);
    if (address === MAP_FAILED) {
      throw new SystemError("mmap", libc.errno(), "the memory shared with the emulated machine");
    }
    opened.defer(() => libc.munmap(address, WINDOW_SIZE));
    const console = memoryFile("vmexit-console");
    const complaints = memoryFile("vmexit-complaints");
    const [bell, bellThere] = pair();
    const [signal, signalThere] = pair();
    const [done, doneThere] = pair();
    const [monitor, monitorThere] = pair();
    const [life, lifeThere] = pair();
    const state = lend(libc.open(`${image.folder}/${IMAGE_FILES.state}`, O_CLOEXEC));
    const nothing = lend(libc.open("/dev/null", O_RDWR | O_CLOEXEC));
    const socket = (fd: number) => `socket,fd=${fd}`;
    const qemu = [
      image.program,
      ...qemuArguments({
        memory: `${image.folder}/${IMAGE_FILES.memory}`,
        keepsMemory: false,
        window: `/proc/self/fd/${DESCRIPTOR.window}`,
        connections: {
          bell: socket(DESCRIPTOR.bell),
          signal: socket(DESCRIPTOR.signal),
          done: socket(DESCRIPTOR.done),
          monitor: socket(DESCRIPTOR.monitor),
          console: `file,path=/proc/self/fd/${DESCRIPTOR.console}`,
        },
      }),
      ...["-incoming", "defer"],
    ];
    const supervisor = calls.spawn({
      program: "/bin/sh",
      args: ["sh", "-c", SUPERVISOR, "vmexit", ...qemu],
      env: ["PATH=/usr/bin:/bin", "LC_ALL=C"],
      descriptors: [
        ...[lifeThere, nothing, complaints],
        ...[window, state, bellThere, doneThere, monitorThere, console, signalThere],
      ],
    });
    opened.move();
    const parts = { address, window, supervisor, life, bell, signal, done, console, complaints };
    const machine = new RemoteMachine(libc, calls, parts);
    machine.#note();
    machine.acquire();
    calls.setReceiveTimeout(done, LOOK_MILLISECONDS);
    lent.dispose();
    machine.#resume(monitor);
    return machine;
  }

  /** Writes down what the next isolate of this thread needs. */
  #note(): void {
    const note = (at: number, value: bigint) =>
      this.#view.setBigInt64(WINDOW.notes + at, value, true);
    for (const [name, value] of Object.entries(this.#parts)) {
      note(NOTES[name as keyof typeof NOTES], BigInt(value));
    }
  }

  /** Has QEMU load the saved state, which then runs on, and waits until the agent answers. */
  #resume(monitor: number): void {
    const say = (execute: string, args?: Record<string, unknown>) => ({ execute, arguments: args });
    const capabilities = [{ capability: "x-ignore-shared", state: true }];
    const commands = [
      say("qmp_capabilities"),
      say("migrate-set-capabilities", { capabilities }),
      say("migrate-incoming", { uri: `fd:${DESCRIPTOR.state}` }),
    ];
    const text = commands.map((command) => `${JSON.stringify(command)}\n`).join("");
    this.#calls.send(monitor, new TextEncoder().encode(text));
    // The agent slept when it was saved, and said so in another window.
    this.#words[WINDOW.asleep >> 2] = 1;
    try {
      this.send(START_MILLISECONDS);
    } finally {
      this.#libc.close(monitor);
    }
  }
}

/**
 * Signals an eventfd of another thread's machine of this process, which may be in the middle of a request.
 *
 * @param window The descriptor of that machine's window.
 * @param number The eventfd's number there.
 * @param count What is added to it.
 * @returns Whether there is such a machine.
 */
export function signalElsewhere(
  libc: Libc,
  window: number,
  number: number,
  count: bigint,
): boolean {
  const note = new DataView(new ArrayBuffer(8));
  const bytes = new Uint8Array(note.buffer);
  if (!isWindow(window) || libc.pread(window, bytes, WINDOW.notes + NOTES.signal) !== 8) return false;
  const message = new BigInt64Array([BigInt(number), count]);
  const sent = processCalls().send(Number(note.getBigInt64(0, true)), new Uint8Array(message.buffer));
  return sent === SIGNAL_SIZE;
}

/** Whether a descriptor of this process is a machine's window. */
function isWindow(fd: number | string): boolean {
  const target = processCalls().readlink(`/proc/self/fd/${fd}`);
  return target?.startsWith(`/memfd:${WINDOW_NAME} `) ?? false;
}

/** The address that the agent has for an offset in the window. */
export function inAgent(offset: number): number {
  return WINDOW_IN_AGENT + offset;
}


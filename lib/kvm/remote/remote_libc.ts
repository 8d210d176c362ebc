import { ERRNO } from "../../ffi/errors.ts";
import { SC } from "../../ffi/files.ts";
import type { Libc } from "../../ffi/libc.ts";
import { MAP_FAILED, PAGE_SIZE } from "../../ffi/mman.ts";
import { cString } from "../../ffi/process_calls.ts";
import { ITIMERSPEC } from "../../ffi/thread_timer.ts";
import { KVM } from "../abi/constants.ts";
import type { IoctlReferences } from "../abi/ioctl_references.ts";
import { IOCTLS } from "../abi/ioctls.ts";
import type { MachineImage } from "./machine_image.ts";
import { CoalescedRings, type CopiedMapping } from "./coalesced_rings.ts";
import { wholePages, WindowMemory } from "./window_memory.ts";
import { endedError, signalElsewhere } from "./machine_process.ts";
import { inAgent, RemoteMachine } from "./remote_machine.ts";
import { TranslatedArgument, type Translations } from "./translated_argument.ts";
import { DATA_SIZE, OWN_CALL, SYSTEM_CALL, WINDOW, WINDOW_SIZE } from "./window.ts";
import {
  DESCRIPTORS,
  FIRST_DESCRIPTOR,
  MACHINES,
  timerIdentifier,
  timerMachine,
  timerNumber,
  windowOf,
  WINDOWS,
} from "./descriptor_numbers.ts";

const KVM_RUN = IOCTLS.KVM_RUN.number;
/** The ioctls that refer to something beyond their argument, by request. */
const REFERENCES: ReadonlyMap<number, IoctlReferences> = new Map(
  Object.values(IOCTLS).flatMap(({ number, references }) =>
    references === undefined ? [] : [[number, references]]
  ),
);

const DIRTY_RING_OFFSET = KVM.DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE;

/**
 * How much longer than its time limit a run may take before the machine counts as hung: on a busy host its timer is
 * late.
 */
const RUN_GRACE_MILLISECONDS = 10_000;

const MILLISECONDS_PER_SECOND = 1e3;
const NANOSECONDS_PER_MILLISECOND = 1e6;
const EVENTFD_SIZE = 8;
const MOST_TIMERS = (WINDOW.pages - WINDOW.timers) / ITIMERSPEC.size;

/**
 * The C library of an emulated machine with a KVM: the calls are made there, by the agent, and the memory of guests is
 * shared. To whoever calls, it is a {@linkcode Libc} like another; the machine is started by the first call that needs
 * it, and again by the next `open` after it has ended.
 */
export class RemoteLibc {
  readonly #local: Libc;
  readonly #image: (again: boolean) => MachineImage;
  readonly #grace: number;
  #machine: RemoteMachine | undefined;
  #generation = -1;
  #errno = 0;
  #memory: WindowMemory | undefined;
  /** Copies of `kvm_run`, by the vCPU's descriptor. */
  readonly #runs = new Map<number, CopiedMapping>();
  readonly #rings: CopiedMapping[] = [];
  readonly #coalesced: CoalescedRings;
  /** Those that are open. */
  readonly #descriptors = new Set<number>();
  /** When the time limit that is in force ends, by this process's clock. */
  #limitEnds = Infinity;
  #flushIsDue = false;
  /** Where the latest timer's value lies: a place of {@linkcode WINDOW.timers}. */
  #timers = 0;

  /**
   * @param local The C library of this process.
   * @param image Finds the image from which the machine is started; asked again, it makes sure that it is whole.
   * @param grace How much longer than its time limit a run may take, in milliseconds.
   */
  constructor(
    local: Libc,
    image: (again: boolean) => MachineImage,
    grace = RUN_GRACE_MILLISECONDS,
  ) {
    this.#local = local;
    this.#image = image;
    this.#grace = grace;
    this.#coalesced = new CoalescedRings(local);
  }

  /** Its calls. */
  get libc(): Libc {
    const { memory, addressOf, functionAddress } = this.#local;
    return {
      memory,
      addressOf,
      functionAddress,
      errno: () => this.#errno,
      open: (path, flags) => this.#open(path, flags),
      close: (fd) => this.#close(fd),
      read: (fd, buffer) => this.#transfer(SYSTEM_CALL.read, fd, buffer, true),
      write: (fd, bytes) =>
        this.#isElsewhere(fd)
          ? this.#signal(fd, bytes)
          : this.#transfer(SYSTEM_CALL.write, fd, bytes, false),
      pread: (fd, buffer, offset) => this.#transfer(SYSTEM_CALL.pread64, fd, buffer, true, offset),
      lseek: (fd, offset, whence) => {
        const own = this.numberOf(fd);
        return own < 0
          ? this.#fail(ERRNO.EBADF)
          : this.#call(SYSTEM_CALL.lseek, own, offset, whence);
      },
      memfd_create: (name, flags) =>
        this.#newDescriptor(this.#callWith(SYSTEM_CALL.memfd_create, cString(name), flags)),
      eventfd: (initialValue, flags) => {
        this.#alive();
        return this.#newDescriptor(this.#call(SYSTEM_CALL.eventfd2, initialValue, flags));
      },
      ioctl: (fd, request, argument) => this.#ioctl(fd, request, argument),
      ioctlBuffer: (fd, request, buffer) => this.#ioctlBuffer(fd, request, buffer),
      mmap: (length, protection, flags, fd, offset) =>
        this.#mmap(length, protection, flags, fd, offset),
      munmap: (address) => this.#munmap(address),
      madvise: (address, length, advice) => {
        const at = this.#offsetOf(address);
        // What is in the window is somebody's, who holds the machine.
        return at < 0 || !this.#machine!.isHeld
          ? this.#fail(ERRNO.ENOMEM)
          : this.#call(SYSTEM_CALL.madvise, inAgent(at), length, advice);
      },
      allocatePages: (size, alignment, offset) => {
        this.#alive();
        return this.#memory!.allocate(size, alignment, offset);
      },
      gettid: () => {
        this.#alive();
        return this.#call(SYSTEM_CALL.gettid);
      },
      // The agent has set up the timer's signal, whose handler must be a function of its own.
      sigaction: () => 0,
      timer_create: (clock, event, timerId) => this.#timerCreate(clock, event, timerId),
      timer_settime: (timerId, value) => this.#timerSetTime(timerId, value),
      timer_delete: (timerId) =>
        this.#release(() => {
          this.#machine!.add(SYSTEM_CALL.timer_delete, timerNumber(timerId));
          this.#machine!.hold(-1);
        }, timerMachine(timerId)),
      sysconf: (name) =>
        name === SC.PHYS_PAGES
          ? (WINDOW_SIZE - WINDOW.pages) / PAGE_SIZE
          : this.#local.sysconf(name),
    };
  }

  // --- The machine, and the numbers of what is in it ---

  /** The machine, started where there is none that lives. */
  get machine(): RemoteMachine {
    return this.#alive();
  }

  #alive(): RemoteMachine {
    // What turns out to be idle is let go.
    this.#flushSoon();
    const current = this.#machine;
    if (current !== undefined && current.death === undefined && current.acquire()) return current;
    this.#machine = RemoteMachine.open(this.#local, this.#image);
    this.#generation = (this.#generation + 1) % MACHINES;
    this.#memory = new WindowMemory(this.#local, this.#machine, () => this.#flushSoon());
    this.#runs.clear();
    this.#rings.length = 0;
    this.#coalesced.clear();
    this.#descriptors.clear();
    this.#limitEnds = Infinity;
    return this.#machine;
  }

  /**
   * The number that a descriptor has in the machine; -1 of none that is open. @throws {HostError} When that machine has
   * ended.
   */
  numberOf(fd: number): number {
    const machine = this.#machine;
    if (fd < FIRST_DESCRIPTOR || machine === undefined) return -1;
    if (!this.#isAlive(fd)) throw endedError(machine.death);
    // One that is closed is not used again, though the machine may not have closed it yet.
    return this.#descriptors.has(fd) ? (fd - FIRST_DESCRIPTOR) % DESCRIPTORS : -1;
  }

  /** Whether a descriptor is in the machine that lives. */
  #isAlive(fd: number): boolean {
    return this.#machine !== undefined && this.#machine.death === undefined &&
      fd >= FIRST_DESCRIPTOR &&
      Math.floor((fd - FIRST_DESCRIPTOR) / DESCRIPTORS) === this.#identity;
  }

  /** What tells this machine's descriptors from those of others. */
  get #identity(): number {
    return this.#generation * WINDOWS + this.#machine!.window;
  }

  #numberHere(number: number): number {
    return FIRST_DESCRIPTOR + this.#identity * DESCRIPTORS + number;
  }

  #newDescriptor(number: number): number {
    if (number < 0) return number;
    this.#machine!.hold(1);
    const fd = this.#numberHere(number);
    this.#descriptors.add(fd);
    return fd;
  }

  // --- Calls ---

  #call(number: number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): number {
    const machine = this.#machine!;
    const at = machine.add(number, a, b, c, d, e, f);
    machine.send();
    return this.#returned(machine.result(at));
  }

  /** What libc returns for what the kernel returned. */
  #returned(result: number): number {
    return result >= 0 ? result : this.#fail(-result);
  }

  /** What libc returns for a call that fails. */
  #fail(errno: number): -1 {
    this.#errno = errno;
    return -1;
  }

  /** A call whose first argument points to bytes. */
  #callWith(number: number, bytes: Uint8Array, b = 0): number {
    this.#alive().head.set(bytes, WINDOW.data);
    return this.#call(number, inAgent(WINDOW.data), b);
  }

  /** A call whose result nobody waits for: it goes with the next request, or by itself when the test lets go. */
  #release(add: () => void, fd: number): number {
    if (!this.#isAlive(fd)) return 0;
    add();
    this.#flushSoon();
    return 0;
  }

  #flushSoon(): void {
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    queueMicrotask(() => {
      this.#flushIsDue = false;
      this.#machine?.release();
    });
  }

  #open(path: string, flags: number): number {
    this.#alive();
    return this.#newDescriptor(this.#callWith(SYSTEM_CALL.open, cString(path), flags));
  }

  #close(fd: number): number {
    return this.#release(() => {
      const number = this.numberOf(fd);
      if (!this.#descriptors.delete(fd)) return;
      this.#machine!.add(OWN_CALL.close, number);
      this.#machine!.hold(-1);
    }, fd);
  }

  #transfer(
    number: number,
    fd: number,
    bytes: Uint8Array<ArrayBuffer>,
    isRead: boolean,
    offset = 0,
  ): number {
    const own = this.numberOf(fd);
    if (own < 0) return this.#fail(ERRNO.EBADF);
    const length = Math.min(bytes.length, DATA_SIZE);
    const { head } = this.#machine!;
    if (!isRead) head.set(bytes.subarray(0, length), WINDOW.data);
    const count = this.#call(number, own, inAgent(WINDOW.data), length, offset);
    if (isRead && count > 0) bytes.set(head.subarray(WINDOW.data, WINDOW.data + count));
    return count;
  }

  /** Whether a descriptor is another thread's: of a device that runs beside the machine, say. */
  #isElsewhere(fd: number): boolean {
    return fd >= FIRST_DESCRIPTOR && windowOf(fd) !== this.#machine?.window;
  }

  /** Adds to an eventfd of another thread's machine, which is all that can be done there. */
  #signal(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
    const number = (fd - FIRST_DESCRIPTOR) % DESCRIPTORS;
    const count = bytes.length === EVENTFD_SIZE && new DataView(bytes.buffer, bytes.byteOffset);
    const isSent = count !== false &&
      signalElsewhere(this.#local, windowOf(fd), number, count.getBigInt64(0, true));
    return isSent ? EVENTFD_SIZE : this.#fail(ERRNO.EBADF);
  }

  #ioctl(fd: number, request: number, argument: number): number {
    const own = this.numberOf(fd);
    if (own < 0) return this.#fail(ERRNO.EBADF);
    if (request === KVM_RUN) return this.#run(own, fd);
    this.#ringsIn();
    const at = this.#machine!.add(SYSTEM_CALL.ioctl, own, request, argument);
    this.#ringsOut();
    this.#machine!.send();
    const result = this.#returned(this.#machine!.result(at));
    if (!REFERENCES.get(request)?.returnsDescriptor) return result;
    const made = this.#newDescriptor(result);
    if (request === IOCTLS.KVM_CREATE_VCPU.number) this.#coalesced.addVcpu(made, fd);
    return made;
  }

  #ioctlBuffer(fd: number, request: number, buffer: Uint8Array<ArrayBuffer>): number {
    const own = this.numberOf(fd);
    const references = REFERENCES.get(request);
    if (buffer.length > DATA_SIZE) {
      throw new RangeError(
        `Cannot pass ${buffer.length} bytes to an emulated machine: an argument has ${DATA_SIZE} at most`,
      );
    }
    if (own < 0) return this.#fail(ERRNO.EBADF);
    const machine = this.#machine!;
    machine.head.set(buffer, WINDOW.data);
    const translated = references && new TranslatedArgument(buffer, references, this.#translations);
    translated?.there(new DataView(machine.head.buffer, WINDOW.data, buffer.length));
    const at = machine.add(SYSTEM_CALL.ioctl, own, request, inAgent(WINDOW.data));
    machine.send();
    const result = this.#returned(machine.result(at));
    buffer.set(machine.head.subarray(WINDOW.data, WINDOW.data + buffer.length));
    translated?.back(result >= 0);
    return references?.returnsDescriptor ? this.#newDescriptor(result) : result;
  }

  #run(own: number, fd: number): number {
    const machine = this.#machine!;
    const mapping = this.#runs.get(fd);
    if (mapping === undefined) return this.#fail(ERRNO.EBADF);
    const { written } = this.#memory!;
    written.take(this.#tell);
    this.#ringsIn();
    this.#coalesced.beforeRun(mapping);
    const at = machine.add(OWN_CALL.run, own, mapping.real, inAgent(mapping.copy));
    this.#ringsOut();
    machine.send(this.#runLimit());
    written.guestStopped();
    this.#coalesced.afterRun(mapping);
    return this.#returned(machine.result(at));
  }

  /** What addresses and descriptors of this process are in the machine. */
  readonly #translations: Translations = {
    addressOf: (bytes) => this.#local.addressOf(bytes),
    offsetOf: (address) => this.#offsetOf(address),
    numberOf: (fd) => fd >= FIRST_DESCRIPTOR ? this.numberOf(fd) : fd,
    newDescriptor: (number) => this.#newDescriptor(number),
  };

  /** Has the agent write once more what this process has written. */
  readonly #tell = (start: number, length: number): void => {
    this.#machine!.add(OWN_CALL.copy, inAgent(start), inAgent(start), length);
  };

  #runLimit(): number {
    if (this.#limitEnds === Infinity) return Infinity;
    return Math.max(0, this.#limitEnds - performance.now()) + this.#grace;
  }

  #ringsIn(): void {
    for (const { real, copy, length } of this.#rings) {
      this.#machine!.add(OWN_CALL.harvest, real, inAgent(copy), length);
    }
  }

  #ringsOut(): void {
    for (const { real, copy, length } of this.#rings) {
      this.#machine!.add(OWN_CALL.copy, inAgent(copy), real, length);
    }
  }

  // --- Mappings and memory ---

  /** The offset in the window of an address of this process; negative where it is outside. */
  #offsetOf(address: bigint): number {
    const offset = this.#machine === undefined ? -1 : Number(address - this.#machine.address);
    return offset >= 0 && offset < WINDOW_SIZE ? offset : -1;
  }

  #mmap(
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ): bigint {
    const own = this.numberOf(fd);
    if (own < 0) return this.#noMapping(ERRNO.EBADF);
    const machine = this.#machine!;
    const size = wholePages(length);
    const copy = this.#memory!.take(size);
    if (copy === undefined) return this.#noMapping(ERRNO.ENOMEM);
    const at = machine.add(SYSTEM_CALL.mmap, 0, length, protection, flags, own, offset);
    machine.send();
    const real = machine.wideResult(at);
    if (real < 0) {
      this.#memory!.give(copy, size);
      return this.#noMapping(-real);
    }
    machine.add(OWN_CALL.copy, inAgent(copy), real, length);
    machine.send();
    machine.hold(1);
    const mapping = { descriptor: fd, real, copy, length };
    if (offset === DIRTY_RING_OFFSET) this.#rings.push(mapping);
    else {
      this.#runs.set(fd, mapping);
      this.#coalesced.map(mapping, machine.address);
    }
    return machine.address + BigInt(copy);
  }

  #noMapping(errno: number): bigint {
    this.#errno = errno;
    return MAP_FAILED;
  }

  #munmap(address: bigint): number {
    const machine = this.#machine;
    if (machine === undefined || machine.death !== undefined) return 0;
    const at = this.#offsetOf(address);
    const mapping = [...this.#runs.values(), ...this.#rings].find(({ copy }) => copy === at);
    if (mapping === undefined) return 0;
    // A dirty ring has the descriptor of its vCPU, whose kvm_run stays.
    if (this.#runs.get(mapping.descriptor) === mapping) this.#runs.delete(mapping.descriptor);
    this.#coalesced.unmap(mapping);
    const ring = this.#rings.indexOf(mapping);
    if (ring >= 0) this.#rings.splice(ring, 1);
    machine.add(SYSTEM_CALL.munmap, mapping.real, mapping.length);
    this.#memory!.clear(at, wholePages(mapping.length));
    machine.hold(-1);
    this.#flushSoon();
    return 0;
  }

  // --- Timers ---

  #timerCreate(
    clock: number,
    event: Uint8Array<ArrayBuffer>,
    timerId: Uint8Array<ArrayBuffer>,
  ): number {
    const { head } = this.#alive();
    const identifier = WINDOW.data + event.length;
    head.set(event, WINDOW.data);
    const result = this.#call(
      SYSTEM_CALL.timer_create,
      clock,
      inAgent(WINDOW.data),
      inAgent(identifier),
    );
    if (result < 0) return result;
    const number = new DataView(head.buffer).getInt32(identifier, true);
    this.#machine!.hold(1);
    const identifierHere = timerIdentifier(this.#numberHere(0), number);
    new DataView(timerId.buffer, timerId.byteOffset).setBigUint64(0, identifierHere, true);
    return 0;
  }

  /** Nobody waits for it: an armed timer goes with the run that it limits, a disarmed one with what comes next. */
  #timerSetTime(timerId: bigint, value: Uint8Array<ArrayBuffer>): number {
    if (!this.#isAlive(timerMachine(timerId))) throw endedError(this.#machine?.death);
    const machine = this.#machine!;
    const view = new DataView(value.buffer, value.byteOffset);
    const milliseconds = (at: number) =>
      Number(view.getBigInt64(at, true)) * MILLISECONDS_PER_SECOND +
      Number(view.getBigInt64(at + 8, true)) / NANOSECONDS_PER_MILLISECOND;
    const first = milliseconds(ITIMERSPEC.value);
    this.#limitEnds = first === 0 ? Infinity : performance.now() + first;
    this.#timers = (this.#timers + 1) % MOST_TIMERS;
    const at = WINDOW.timers + this.#timers * ITIMERSPEC.size;
    machine.head.set(value, at);
    machine.add(SYSTEM_CALL.timer_settime, timerNumber(timerId), 0, inAgent(at), 0);
    this.#flushSoon();
    return 0;
  }
}

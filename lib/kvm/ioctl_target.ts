import type { Libc } from "../ffi/libc.ts";
import { OwnedFd } from "../ffi/handles.ts";
import type { Struct, Writable } from "../ffi/struct.ts";
import type { CapabilityName } from "./abi/capabilities.ts";
import { type IoctlName, IOCTLS } from "./abi/ioctls.ts";
import { CapabilityError, KvmError } from "./errors.ts";
import { ERRNO } from "../ffi/errors.ts";

const U64_SIZE = 8;

/** What an ioctl's call needs beside its argument. */
export interface IoctlOptions {
  /** What is being done, for the error's message, where the ioctl's name does not say it. */
  readonly context?: string;
  /**
   * The capability that gates it, where that is another than the table says: some ioctls are gated by
   * another one on each level. `null` where none tells.
   */
  readonly capability?: CapabilityName | null;
}

/** Hears of an ioctl that the kernel has carried out, with its argument. It keeps a copy of that, or nothing. */
export type IoctlObserver = (name: IoctlName, argument: number | Uint8Array<ArrayBuffer>) => void;

/** Where a `struct kvm_msrs` has how many there are, and the number of the first, and how far they are apart. */
const MSRS = { count: 0, first: 8, size: 16 };

/** What was asked of a VM or a vCPU: whether it can be made as new again depends on that. */
export interface AskedOfKvm {
  /** The ioctls that were made on it, but for KVM_RUN. */
  readonly made: ReadonlySet<IoctlName>;
  /** The numbers of the MSRs that were set. */
  readonly msrsSet: ReadonlySet<number>;
  /** Forgets what was asked so far. */
  forget(): void;
}

/** The descriptor of a VM or a vCPU, which notes what is asked of it. */
export class KvmFd extends OwnedFd implements AskedOfKvm {
  /** See {@linkcode AskedOfKvm.made}. */
  readonly made: Set<IoctlName> = new Set();
  /** See {@linkcode AskedOfKvm.msrsSet}. */
  readonly msrsSet: Set<number> = new Set();

  #latestMsrs: Uint8Array | undefined;

  /** Notes an ioctl that is about to be made. */
  note(name: IoctlName, argument: number | Uint8Array<ArrayBuffer>): void {
    this.made.add(name);
    if (name !== "KVM_SET_MSRS" || typeof argument === "number") return;
    // A snapshot's are the same each time.
    if (argument === this.#latestMsrs) return;
    this.#latestMsrs = argument;
    const view = new DataView(argument.buffer, argument.byteOffset, argument.length);
    const count = view.getUint32(MSRS.count, true);
    for (let index = 0; index < count; index++) {
      this.msrsSet.add(view.getUint32(MSRS.first + index * MSRS.size, true));
    }
  }

  /** See {@linkcode AskedOfKvm.forget}. */
  forget(): void {
    this.made.clear();
    this.msrsSet.clear();
    this.#latestMsrs = undefined;
  }
}

/**
 * A file descriptor that takes ioctls, with what all of them need: the check of the capability, and
 * structures as plain objects. It does not own the descriptor.
 */
export class IoctlTarget {
  /** The C library that makes the calls. */
  readonly libc: Libc;
  readonly #fd: OwnedFd;
  readonly #ask: (name: CapabilityName) => number;
  readonly #before: (name: IoctlName) => void;
  /** The capabilities that were found once. They never go away, so each is asked for once. */
  readonly present: Set<CapabilityName>;
  /** Who hears of each. */
  observer: IoctlObserver | undefined;

  /**
   * Makes ioctls on `fd`, which stays its owner's.
   *
   * @param ask What `KVM_CHECK_EXTENSION` says of a capability.
   * @param present The capabilities that an earlier owner has found.
   * @param before Called before each.
   */
  constructor(
    libc: Libc,
    fd: OwnedFd,
    ask: (name: CapabilityName) => number,
    present: Set<CapabilityName> = new Set(),
    before: (name: IoctlName) => void = () => {},
  ) {
    this.present = present;
    this.libc = libc;
    this.#fd = fd;
    this.#ask = ask;
    this.#before = before;
  }

  /**
   * What `KVM_CHECK_EXTENSION` says of a capability now.
   *
   * @param name With `KVM_CAP_`.
   */
  capability(name: CapabilityName): number {
    return this.#ask(name);
  }

  /**
   * Makes an ioctl.
   *
   * @param argument A number by value, or the structure's bytes, which the kernel may fill.
   * @returns What it returned.
   * @throws {CapabilityError} Before the kernel is asked, when it lacks the capability.
   * @throws {KvmError} When the kernel refuses.
   */
  call(
    name: IoctlName,
    argument: number | Uint8Array<ArrayBuffer> = 0,
    { context, capability = IOCTLS[name].capability }: IoctlOptions = {},
  ): number {
    // First, so that a closed descriptor is refused as such.
    void this.#fd.number;
    if (capability !== undefined && capability !== null) this.#require(name, capability);
    this.#before(name);
    const result = ioctl(this.libc, this.#fd, name, argument, context);
    this.observer?.(name, argument);
    return result;
  }

  /**
   * Makes an ioctl that fills a structure, and reads it. Throws as {@linkcode IoctlTarget.call} does.
   *
   * @param layout The structure's.
   * @param value What of it the kernel reads; the rest is zero.
   */
  get<Value>(
    name: IoctlName,
    layout: Struct<Value>,
    value: Writable<Value> = {} as Writable<Value>,
    options: IoctlOptions = {},
  ): Value {
    const bytes = structBytes(layout, value);
    this.call(name, bytes, options);
    return layout.read(new DataView(bytes.buffer));
  }

  /**
   * Makes an ioctl that takes a structure. Throws as {@linkcode IoctlTarget.call} does.
   *
   * @param value What is not given of it is zero; or its bytes.
   * @throws {RangeError} When a value does not fit its member.
   * @throws {TypeError} When a name is not a member's.
   */
  set<Value>(
    name: IoctlName,
    layout: Struct<Value>,
    value: Writable<Value> | Uint8Array<ArrayBuffer>,
    options: IoctlOptions = {},
  ): number {
    return this.call(name, structBytes(layout, value), options);
  }

  /**
   * Makes an ioctl that fills a 64-bit number.
   *
   * @param name The header's name.
   */
  getU64(name: IoctlName): bigint {
    const bytes = buffer(U64_SIZE);
    this.call(name, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  /**
   * Makes an ioctl that takes the address of a 64-bit number.
   *
   * @param name The header's name.
   * @param value 0 to 2^64 − 1.
   */
  setU64(name: IoctlName, value: bigint): void {
    const bytes = buffer(U64_SIZE);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.call(name, bytes);
  }

  #require(name: IoctlName, capability: CapabilityName): void {
    if (this.present.has(capability)) return;
    if (this.#ask(capability) <= 0) throw new CapabilityError(name, capability);
    this.present.add(capability);
  }
}

/**
 * Zeroed bytes with a buffer of their own, which stays where it is: V8 may move those of small arrays that
 * have none.
 */
export function buffer(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(size));
}

/**
 * A structure's bytes: what is given of it, the rest zero; or the bytes that are given.
 *
 * @param elements Of its flexible array.
 * @throws {RangeError} When they are not as many as the structure has.
 */
export function structBytes<Value>(
  layout: Struct<Value>,
  value: Writable<Value> | Uint8Array<ArrayBuffer>,
  elements?: number,
): Uint8Array<ArrayBuffer> {
  if (value instanceof Uint8Array) {
    if (value.length === layout.size) return value as Uint8Array<ArrayBuffer>;
    throw new RangeError(
      `Cannot take ${value.length} bytes as a struct ${layout.name}: it has ${layout.size}`,
    );
  }
  const bytes = buffer(elements === undefined ? layout.size : layout.sizeFor(elements));
  layout.write(new DataView(bytes.buffer), 0, value);
  return bytes;
}

/**
 * A structure followed by data that it points to: one buffer, so that the data lives as long as the call.
 */
export interface StructWithData {
  /** The structure, and the data behind it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where the data begins in `bytes`; a multiple of 8. */
  readonly dataStart: number;
  /** The address of the data. */
  readonly dataAddress: bigint;
}

/** Makes room for a structure of `size` bytes and `dataSize` bytes that it points to. */
export function structWithData(libc: Libc, size: number, dataSize: number): StructWithData {
  const dataStart = Math.ceil(size / U64_SIZE) * U64_SIZE;
  const bytes = buffer(dataStart + dataSize);
  return { bytes, dataStart, dataAddress: libc.addressOf(bytes) + BigInt(dataStart) };
}

/**
 * Makes one ioctl, by name; again where a signal interrupts it. That of a machine's timer does, where `boot` is called
 * in a handler: `KVM_CREATE_VM` gives up when a signal waits. (`KVM_RUN`, whose EINTR is a result, is made by
 * {@linkcode Vcpu.run}.)
 *
 * @param argument The third argument: a number by value, or the structure's bytes.
 * @returns What the ioctl returned: 0, or a file descriptor, or a count.
 * @throws {KvmError} When the kernel refuses.
 */
export function ioctl(
  libc: Libc,
  fd: OwnedFd,
  name: IoctlName,
  argument: number | Uint8Array<ArrayBuffer> = 0,
  context?: string,
): number {
  const request = IOCTLS[name].number;
  if (fd instanceof KvmFd) fd.note(name, argument);
  for (;;) {
    const result = typeof argument === "number"
      ? libc.ioctl(fd.number, request, argument)
      : libc.ioctlBuffer(fd.number, request, argument);
    if (result >= 0) return result;
    const errno = libc.errno();
    if (errno !== ERRNO.EINTR) throw new KvmError(name, errno, context);
  }
}

import type { Mapping } from "../ffi/handles.ts";
import { EXIT_REASON } from "./abi/exit_reasons.ts";
import { KVM_SYNC_X86 } from "./abi/constants.ts";
import { kvm_regs, kvm_sregs } from "./abi/structs/registers.ts";
import { kvm_run, kvm_sync_regs } from "./abi/structs/run.ts";
import { kvm_vcpu_events } from "./abi/structs/vcpu.ts";
import { decodeExit } from "./exits/decode_exit.ts";
import type { AnswerFields, Exit } from "./exits/exit.ts";
import { writeAnswer } from "./exits/exit_answer.ts";

const EXIT_REASON_OFFSET = kvm_run.offsetOf("exit_reason");
const IMMEDIATE_EXIT = kvm_run.offsetOf("immediate_exit");
const REQUEST_INTERRUPT_WINDOW = kvm_run.offsetOf("request_interrupt_window");
const READY_FOR_INTERRUPT_INJECTION = kvm_run.offsetOf("ready_for_interrupt_injection");
const IF_FLAG = kvm_run.offsetOf("if_flag");
const CR8 = kvm_run.offsetOf("cr8");
const APIC_BASE = kvm_run.offsetOf("apic_base");
const IO_DIRECTION = kvm_run.offsetOf("io.direction");
const IO_SIZE = kvm_run.offsetOf("io.size");
const IO_PORT = kvm_run.offsetOf("io.port");
const IO_COUNT = kvm_run.offsetOf("io.count");
const IO_DATA_OFFSET = kvm_run.offsetOf("io.data_offset");
const MMIO_ADDRESS = kvm_run.offsetOf("mmio.phys_addr");
const MMIO_DATA = kvm_run.offsetOf("mmio.data");
const MMIO_LENGTH = kvm_run.offsetOf("mmio.len");
const MMIO_IS_WRITE = kvm_run.offsetOf("mmio.is_write");
const MSR_INDEX = kvm_run.offsetOf("msr.index");
const MSR_REASON = kvm_run.offsetOf("msr.reason");
const MSR_DATA = kvm_run.offsetOf("msr.data");
const MSR_ERROR = kvm_run.offsetOf("msr.error");
const SYSTEM_EVENT_TYPE = kvm_run.offsetOf("system_event.type");
const SYSTEM_EVENT_DATA_COUNT = kvm_run.offsetOf("system_event.ndata");
const SYSTEM_EVENT_DATA = kvm_run.offsetOf("system_event.data");
const HYPERV_TYPE = kvm_run.offsetOf("hyperv.type");

/** Where what it says of an exit ends. */
const VALID_REGISTERS = kvm_run.offsetOf("kvm_valid_regs");
const DIRTY_WORD = kvm_run.offsetOf("kvm_dirty_regs") / Uint32Array.BYTES_PER_ELEMENT;

const SHARED = kvm_run.offsetOf("s.regs");

/** One of the sets of registers that go by the page. */
export type SharedSet = "sregs" | "regs" | "events";

/** Where each lies in `struct kvm_sync_regs`, how long it is, and its bit. */
const SETS: Readonly<Record<SharedSet, readonly [offset: number, size: number, bit: number]>> = {
  sregs: [kvm_sync_regs.offsetOf("sregs"), kvm_sregs.size, Number(KVM_SYNC_X86.SREGS)],
  regs: [kvm_sync_regs.offsetOf("regs"), kvm_regs.size, Number(KVM_SYNC_X86.REGS)],
  events: [kvm_sync_regs.offsetOf("events"), kvm_vcpu_events.size, Number(KVM_SYNC_X86.EVENTS)],
};

const ALL_SETS = Number(KVM_SYNC_X86.VALID_FIELDS);
const SHARED_CR8 = kvm_sync_regs.offsetOf("sregs.cr8");

/** Puts a set to its place in the bytes of a `struct kvm_sync_regs`. */
export function putShared(all: Uint8Array, set: SharedSet, bytes: Uint8Array): void {
  all.set(bytes, SETS[set][0]);
}

const WORD_SIZE = 4;
const WORD = 2 ** 32;

/**
 * The structure that a vCPU and this process share (Documentation/virt/kvm/api.rst, 5, "kvm_run"). It reads
 * single fields without allocating, for the run loop; {@linkcode KvmRunPage.exit} decodes the whole. The
 * mapping itself never leaves: all that is handed out is copied.
 */
export class KvmRunPage {
  readonly #mapping: Mapping;

  /**
   * Reads and writes through a mapping that it does not own.
   *
   * @param mapping The vCPU's mapping, which stays the vCPU's.
   */
  constructor(mapping: Mapping) {
    this.#mapping = mapping;
  }

  /** The structure as arrays, for the run loop alone: like the mapping, they must not outlive the vCPU. */
  get arrays(): { readonly words: Uint32Array; readonly bytes: Uint8Array } {
    return this.#mapping;
  }

  /** Why the vCPU left the guest: a number of `EXIT_REASON`. */
  get exitReason(): number {
    return this.#mapping.view.getUint32(EXIT_REASON_OFFSET, true);
  }

  /** Set before a run, so that one that fails is not mistaken for the exit before it. */
  set exitReason(reason: number) {
    this.#mapping.view.setUint32(EXIT_REASON_OFFSET, reason, true);
  }

  /** For SYSTEM_EVENT: one of `KVM_SYSTEM_EVENT`. */
  get systemEventType(): number {
    return this.#mapping.view.getUint32(SYSTEM_EVENT_TYPE, true);
  }

  /** Makes the latest exit a SYSTEM_EVENT: what user space has asked for. */
  setSystemEvent(type: number, data?: bigint): void {
    const { view } = this.#mapping;
    this.exitReason = EXIT_REASON.SYSTEM_EVENT;
    view.setUint32(SYSTEM_EVENT_TYPE, type, true);
    view.setUint32(SYSTEM_EVENT_DATA_COUNT, data === undefined ? 0 : 1, true);
    view.setBigUint64(SYSTEM_EVENT_DATA, data ?? 0n, true);
  }

  /** Whether the next `KVM_RUN` only finishes the latest exit and returns with EINTR. */
  set immediateExit(immediate: boolean) {
    this.#mapping.view.setUint8(IMMEDIATE_EXIT, immediate ? 1 : 0);
  }

  /**
   * Whether the guest is left with IRQ_WINDOW_OPEN as soon as it takes external interrupts, until that is taken
   * back. For machines whose interrupt controllers are not in the kernel.
   */
  set requestInterruptWindow(request: boolean) {
    this.#mapping.view.setUint8(REQUEST_INTERRUPT_WINDOW, request ? 1 : 0);
  }

  /**
   * Whether the guest would have taken an external interrupt at the latest exit. For machines whose interrupt
   * controllers are not in the kernel.
   */
  get readyForInterruptInjection(): boolean {
    return this.#mapping.view.getUint8(READY_FOR_INTERRUPT_INJECTION) !== 0;
  }

  /** RFLAGS.IF as it was at the latest exit. */
  get ifFlag(): boolean {
    return this.#mapping.view.getUint8(IF_FLAG) !== 0;
  }

  /** CR8, the task priority, as it was at the latest exit. For machines whose local APIC is not in the kernel. */
  get cr8(): bigint {
    return this.#mapping.view.getBigUint64(CR8, true);
  }

  /** What KVM sets CR8 to before the next run, where the local APIC is not in the kernel. */
  set cr8(value: bigint) {
    this.#mapping.view.setBigUint64(CR8, value, true);
  }

  /** The MSR IA32_APIC_BASE as it was at the latest exit. */
  get apicBase(): bigint {
    return this.#mapping.view.getBigUint64(APIC_BASE, true);
  }

  /** For IO: `KVM_EXIT_IO.IN` or `KVM_EXIT_IO.OUT`. */
  get ioDirection(): number {
    return this.#mapping.view.getUint8(IO_DIRECTION);
  }

  /** For IO: bytes of one element. */
  get ioSize(): 1 | 2 | 4 {
    return this.#mapping.view.getUint8(IO_SIZE) as 1 | 2 | 4;
  }

  /** For IO: the port. */
  get ioPort(): number {
    return this.#mapping.view.getUint16(IO_PORT, true);
  }

  /** For IO: how many elements. */
  get ioCount(): number {
    return this.#mapping.view.getUint32(IO_COUNT, true);
  }

  /**
   * For IO: the element at `index`.
   *
   * @param index From 0 to `ioCount` − 1.
   * @param size Bytes of it: `ioSize`.
   */
  ioElement(index: number, size: 1 | 2 | 4): number {
    const view = this.#mapping.view;
    const offset = this.#ioData(view) + index * size;
    if (size === 1) return view.getUint8(offset);
    return size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
  }

  /**
   * For IO: sets the element at `index`, which the guest reads.
   *
   * @param index From 0 to `ioCount` − 1.
   * @param size Bytes of it: `ioSize`.
   * @param value Its low `size` bytes count.
   */
  setIoElement(index: number, size: 1 | 2 | 4, value: number): void {
    const view = this.#mapping.view;
    const offset = this.#ioData(view) + index * size;
    if (size === 1) view.setUint8(offset, value);
    else if (size === 2) view.setUint16(offset, value, true);
    else view.setUint32(offset, value, true);
  }

  /** For IO: the bytes of all elements, as a copy. */
  get ioData(): Uint8Array<ArrayBuffer> {
    const view = this.#mapping.view;
    const length = this.ioSize * this.ioCount;
    return new Uint8Array(view.buffer as ArrayBuffer, this.#ioData(view), length).slice();
  }

  /**
   * For IO: sets all elements from their bytes.
   *
   * @param bytes `ioSize` × `ioCount` of them, the first element first.
   */
  setIoData(bytes: Uint8Array): void {
    const view = this.#mapping.view;
    new Uint8Array(view.buffer, this.#ioData(view), bytes.length).set(bytes);
  }

  /** For MMIO: the physical address. */
  get mmioAddress(): number {
    const view = this.#mapping.view;
    return view.getUint32(MMIO_ADDRESS + WORD_SIZE, true) * WORD +
      view.getUint32(MMIO_ADDRESS, true);
  }

  /** For MMIO: how many bytes, 1 to 8. */
  get mmioLength(): number {
    return this.#mapping.view.getUint32(MMIO_LENGTH, true);
  }

  /** For MMIO: whether the guest writes. */
  get mmioIsWrite(): boolean {
    return this.#mapping.view.getUint8(MMIO_IS_WRITE) !== 0;
  }

  /** For an MMIO write: the low 32 bits of the value, without bytes beyond its length. */
  get mmioLow(): number {
    return this.#mmioWord(0);
  }

  /** For an MMIO write: the high 32 bits of the value. */
  get mmioHigh(): number {
    return this.#mmioWord(WORD_SIZE);
  }

  /**
   * For an MMIO read: what the guest gets, as two halves.
   *
   * @param low The low 32 bits.
   * @param high The high 32 bits.
   */
  setMmioWords(low: number, high: number): void {
    const view = this.#mapping.view;
    view.setUint32(MMIO_DATA, low, true);
    view.setUint32(MMIO_DATA + WORD_SIZE, high, true);
  }

  /**
   * For an MMIO read: what the guest gets, as bytes.
   *
   * @param bytes `mmioLength` of them, at most 8.
   */
  setMmioData(bytes: Uint8Array): void {
    new Uint8Array(this.#mapping.view.buffer, MMIO_DATA, bytes.length).set(bytes);
  }

  /** For X86_RDMSR and X86_WRMSR: the MSR's number. */
  get msrIndex(): number {
    return this.#mapping.view.getUint32(MSR_INDEX, true);
  }

  /** For X86_RDMSR and X86_WRMSR: why it is an exit, one of `KVM_MSR_EXIT_REASON`. */
  get msrReason(): number {
    return this.#mapping.view.getUint32(MSR_REASON, true);
  }

  /** For X86_RDMSR and X86_WRMSR: what the process has answered; not 0 gives the guest #GP. */
  get msrError(): number {
    return this.#mapping.view.getUint8(MSR_ERROR);
  }

  /** For X86_RDMSR and X86_WRMSR: 1 gives the guest #GP, 0 lets it go on. */
  set msrError(error: 0 | 1) {
    this.#mapping.view.setUint8(MSR_ERROR, error);
  }

  /** For X86_WRMSR: the value. */
  get msrData(): bigint {
    return this.#mapping.view.getBigUint64(MSR_DATA, true);
  }

  /** For X86_RDMSR: what the guest gets. */
  set msrData(value: bigint) {
    this.#mapping.view.setBigUint64(MSR_DATA, value, true);
  }

  /** For X86_WRMSR: the low 32 bits of the value. */
  get msrLow(): number {
    return this.#mapping.view.getUint32(MSR_DATA, true);
  }

  /** For X86_WRMSR: the high 32 bits of the value. */
  get msrHigh(): number {
    return this.#mapping.view.getUint32(MSR_DATA + WORD_SIZE, true);
  }

  /** For HYPERV: one of `KVM_EXIT_HYPERV`. */
  get hypervType(): number {
    return this.#mapping.view.getUint32(HYPERV_TYPE, true);
  }

  /**
   * Answers the latest exit, one of {@linkcode ExitAnswers}.
   *
   * @param answer The answer's fields, by name; those left out become 0.
   * @throws {TypeError} When exits of its reason take no answer, or none with such a field.
   * @throws {RangeError} When a value does not fit its field.
   */
  answer(answer: AnswerFields): void {
    writeAnswer(this.#mapping.view, this.exitReason, answer);
  }

  /** What it says of the latest exit, and of the CPU then, as bytes: all but what a port access carries. */
  save(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#mapping.bytes.subarray(EXIT_REASON_OFFSET, VALID_REGISTERS));
  }

  /** Says that again. */
  restore(bytes: Uint8Array): void {
    this.#mapping.bytes.set(bytes, EXIT_REASON_OFFSET);
  }

  /**
   * Which registers KVM leaves in this page at each exit: bits of `KVM_SYNC_X86` (api.rst 6, KVM_CAP_SYNC_REGS). A KVM at
   * arm's length does not bring them here; it takes those that are left for it.
   */
  set sharedRegisters(sets: bigint) {
    this.#mapping.view.setBigUint64(VALID_REGISTERS, sets, true);
  }

  /** The general registers that KVM has left in this page, into a `struct kvm_regs`. */
  readSharedRegs(bytes: Uint8Array): void {
    bytes.set(this.#shared("regs"));
  }

  /** Leaves general registers for KVM, which takes them at the next run. */
  leaveRegs(bytes: Uint8Array): void {
    const [offset, , bit] = SETS.regs;
    this.#mapping.bytes.set(bytes, SHARED + offset);
    this.#mapping.words[DIRTY_WORD] |= bit;
  }

  /**
   * Leaves all that goes by the page for KVM, which takes it at the next run before anything else: general registers, special
   * ones, events, in this order (`sync_regs` in arch/x86/kvm/x86.c).
   *
   * @param all A `struct kvm_sync_regs`.
   */
  leaveAll(all: Uint8Array): void {
    const { bytes, words } = this.#mapping;
    bytes.set(all, SHARED);
    words[DIRTY_WORD] = ALL_SETS;
    // Its four bits KVM takes from there, where the local APIC is not in the kernel.
    bytes[CR8] = all[SHARED_CR8];
  }

  /** Whether registers are left that KVM has not taken. */
  get hasLeft(): boolean {
    return this.#mapping.words[DIRTY_WORD] !== 0;
  }

  /** Takes back a set that is left, if it is: a copy. */
  takeBack(set: "sregs" | "regs" | "events"): Uint8Array<ArrayBuffer> | undefined {
    const { words } = this.#mapping;
    const [, , bit] = SETS[set];
    if ((words[DIRTY_WORD] & bit) === 0) return undefined;
    words[DIRTY_WORD] &= ~bit;
    return new Uint8Array(this.#shared(set));
  }

  #shared(set: SharedSet): Uint8Array {
    const [offset, size] = SETS[set];
    return this.#mapping.bytes.subarray(SHARED + offset, SHARED + offset + size);
  }

  /** The latest exit, whole, as a copy. */
  exit(): Exit {
    return decodeExit(this.#mapping.view);
  }

  #ioData(view: DataView): number {
    // The kernel's own offset: 4096, the page after this structure. It fits a number by far.
    return view.getUint32(IO_DATA_OFFSET, true);
  }

  #mmioWord(start: number): number {
    const view = this.#mapping.view;
    const length = Math.min(WORD_SIZE, this.mmioLength - start);
    let word = 0;
    for (let index = length - 1; index >= 0; index--) {
      word = word * 0x100 + view.getUint8(MMIO_DATA + start + index);
    }
    return word;
  }
}

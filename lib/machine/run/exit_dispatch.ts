import { EXIT_REASON, KVM_EXIT_IO } from "../../kvm/abi/mod.ts";
import type { AnswerFields } from "../../kvm/exits/exit.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import {
  asyncError,
  checkWritten,
  isPromise,
  type MmioHandler,
  type PortHandler,
} from "../../devices/handlers.ts";
import type { HandlerTable } from "../buses/bus.ts";
import { littleEndianInteger } from "../exits/answer_bytes.ts";
import type { ExitHandlers } from "../exits/exit_handlers.ts";
import type { ExitRecorder } from "../exits/exit_log.ts";
import type { InputRecord } from "../exits/input_record.ts";
import { handlerError } from "../exits/handler_error.ts";
import { fits, LIMITS, NUMBER_SIZE, tooWide, UNNAMED } from "../exits/read_value.ts";
import type { RegisterStore } from "../registers/register_store.ts";

const WORD_BITS = 32n;
const LOW_WORD = 0xffff_ffffn;

/** The answer to a write of an MSR that is not refused. */
const ACCEPTED: AnswerFields = {};

/** Who takes exits, and what is noted of it. */
export interface ExitDispatchInit {
  readonly vcpu: Vcpu;
  /** The registers: what the test changed of them is brought into the vCPU before it runs. */
  readonly store: RegisterStore;
  readonly ports: HandlerTable<PortHandler>;
  readonly mmio: HandlerTable<MmioHandler>;
  readonly handlers: ExitHandlers;
  readonly log: ExitRecorder;
  readonly inputs: InputRecord;
}

/** Hands the latest exit of a CPU to its handler, and takes its answer. Nothing here allocates for accesses of up to 4 bytes. */
export class ExitDispatch {
  /** The exit waits for an answer, and nobody has given one. */
  isUnanswered = false;
  readonly #parts: ExitDispatchInit;

  /** That of one CPU. */
  constructor(parts: ExitDispatchInit) {
    this.#parts = parts;
  }

  /** Hands the latest exit to the handler that has its port or address. False where there is none. */
  dispatch(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    switch (kvmRun.exitReason) {
      case EXIT_REASON.IO:
        return kvmRun.ioDirection === KVM_EXIT_IO.OUT ? this.#portWrite() : this.#portRead();
      case EXIT_REASON.MMIO:
        return kvmRun.mmioIsWrite ? this.#mmioWrite() : this.#mmioRead();
      default:
        return this.#other();
    }
  }

  /** Answers the latest exit, one that is neither IO nor MMIO, with fields of `kvm_run`. */
  answerFields(fields: AnswerFields, answeredBy: string): void {
    this.#parts.vcpu.kvmRun.answer(fields);
    this.#noteAnswer(answeredBy);
  }

  /** Answers the latest exit, a read, with bytes: one element, or all elements, of a port read. */
  answer(bytes: Uint8Array, answeredBy: string): void {
    const { kvmRun } = this.#parts.vcpu;
    const isMmio = kvmRun.exitReason === EXIT_REASON.MMIO;
    if (isMmio) kvmRun.setMmioData(bytes);
    else kvmRun.setIoData(bytes);
    const first = littleEndianInteger(isMmio ? bytes : bytes.subarray(0, kvmRun.ioSize));
    this.#answered(Number(first & LOW_WORD), Number(first >> WORD_BITS), answeredBy);
    if (!isMmio && kvmRun.ioCount > 1) this.#parts.inputs.elements(bytes);
  }

  /** Notes that a write, or an exit without data, was foreseen; a read still waits for its answer. */
  acknowledge(answeredBy: string): void {
    if (this.#parts.vcpu.kvmRun.exitReason === EXIT_REASON.X86_WRMSR && this.isUnanswered) {
      this.answerFields(ACCEPTED, answeredBy);
    } else if (!this.isUnanswered) this.#parts.log.setAnsweredBy(answeredBy);
  }

  #other(): boolean {
    const { vcpu: { kvmRun }, handlers, log } = this.#parts;
    const handler = handlers.find(kvmRun.exitReason);
    if (handler === undefined) return false;
    const answer = handler.answer(kvmRun);
    if (answer === false) return false;
    const by = handler.name ?? UNNAMED;
    if (isPromise(answer)) throw asyncError(answer, `take exit ${log.total} by ${by}`);
    if (answer === true) this.#noteAnswer(by);
    else if (typeof answer === "object") this.answerFields(answer, by);
    else if (this.isUnanswered && kvmRun.exitReason === EXIT_REASON.X86_WRMSR) {
      this.answerFields(ACCEPTED, by);
    } else if (this.isUnanswered) {
      throw handlerError(
        new TypeError(
          `Cannot go on from exit ${log.total}: its guest waits for an answer, and ${by} returned none. ` +
            "The exit still waits: the machine can be run on once its handler returns one.",
        ),
      );
    } else log.setAnsweredBy(by);
    return true;
  }

  /** The answer is in `kvm_run`. */
  #noteAnswer(answeredBy: string): void {
    const { vcpu: { kvmRun }, log } = this.#parts;
    this.#checkStandsThere();
    this.isUnanswered = false;
    log.setAnsweredBy(answeredBy);
    this.#parts.inputs.otherAnswer(kvmRun.save());
    const { exitReason } = kvmRun;
    const isRead = exitReason === EXIT_REASON.X86_RDMSR;
    if (!isRead && exitReason !== EXIT_REASON.X86_WRMSR) return;
    if (kvmRun.msrError !== 0) log.setFaulted();
    else if (isRead) log.setValue(kvmRun.msrLow, kvmRun.msrHigh);
  }

  #portWrite(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const port = kvmRun.ioPort;
    const handler = this.#parts.ports.writer(port);
    if (handler?.write === undefined) return false;
    this.#parts.log.setAnsweredBy(handler.name ?? UNNAMED);
    const size = kvmRun.ioSize;
    const count = kvmRun.ioCount;
    for (let index = 0; index < count; index++) {
      checkWritten(handler.write(port, kvmRun.ioElement(index, size), size), handler);
    }
    return true;
  }

  #portRead(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const port = kvmRun.ioPort;
    const handler = this.#parts.ports.reader(port);
    if (handler?.read === undefined) return false;
    const size = kvmRun.ioSize;
    const count = kvmRun.ioCount;
    let first = 0;
    for (let index = 0; index < count; index++) {
      const value = handler.read(port, size);
      if (isPromise(value)) throw asyncError(value, `answer a read by ${handler.name ?? UNNAMED}`);
      if (typeof value !== "number" || !fits(value, size)) {
        throw tooWide("port", port, value, size, handler.name);
      }
      kvmRun.setIoElement(index, size, value);
      if (index === 0) first = value;
    }
    this.#answered(first, 0, handler.name ?? UNNAMED);
    if (count > 1) this.#parts.inputs.elements(kvmRun.ioData);
    return true;
  }

  #mmioWrite(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const address = kvmRun.mmioAddress;
    const handler = this.#parts.mmio.writer(address);
    if (handler?.write === undefined) return false;
    this.#parts.log.setAnsweredBy(handler.name ?? UNNAMED);
    const size = kvmRun.mmioLength;
    const low = kvmRun.mmioLow;
    const value = size <= NUMBER_SIZE ? low : BigInt(kvmRun.mmioHigh) << WORD_BITS | BigInt(low);
    checkWritten(handler.write(address, value, size), handler);
    return true;
  }

  #mmioRead(): boolean {
    const { kvmRun } = this.#parts.vcpu;
    const address = kvmRun.mmioAddress;
    const handler = this.#parts.mmio.reader(address);
    if (handler?.read === undefined) return false;
    const size = kvmRun.mmioLength;
    const value = handler.read(address, size);
    if (isPromise(value)) throw asyncError(value, `answer a read by ${handler.name ?? UNNAMED}`);
    if (!fits(value, size)) throw tooWide("address", address, value, size, handler.name);
    const isSmall = typeof value === "number" && value <= LIMITS[NUMBER_SIZE];
    const low = isSmall ? value : Number(BigInt(value) & LOW_WORD);
    const high = isSmall ? 0 : Number(BigInt(value) >> WORD_BITS);
    kvmRun.setMmioWords(low, high);
    this.#answered(low, high, handler.name ?? UNNAMED);
    return true;
  }

  /**
   * KVM finishes an instruction that waits for an answer where RIP is by then: the answer would be lost, or the new
   * RIP.
   *
   * @throws {TypeError} When RIP was set since the exit.
   */
  #checkStandsThere(): void {
    if (!this.isUnanswered || !this.#parts.store.movesInstructionPointer) return;
    throw new TypeError(
      `Cannot answer exit ${this.#parts.log.total}: rip, or cs, was set while the instruction waited for its answer, ` +
        "so that KVM would drop one of the two. Answer first, and set rip when the machine has stopped again.",
    );
  }

  #answered(low: number, high: number, answeredBy: string): void {
    this.#checkStandsThere();
    this.isUnanswered = false;
    this.#parts.log.setValue(low, high);
    this.#parts.log.setAnsweredBy(answeredBy);
    this.#parts.inputs.answer(low, high);
  }
}

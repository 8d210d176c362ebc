import { EXIT_REASON, KVM_EXIT_IO } from "../../kvm/abi/mod.ts";
import { kvm_run } from "../../kvm/abi/structs/run.ts";
import { checkWritten, type PortHandler } from "../../devices/handlers.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { HandlerTable } from "../buses/bus.ts";
import type { CoalescedWrites } from "../buses/coalesced_writes.ts";
import type { ByteStream, PortRecorder } from "../buses/port_output.ts";
import { type ExitRecorder, headOfPortWrite } from "../exits/exit_log.ts";
import { UNNAMED } from "../exits/read_value.ts";
import type { WriteFollower } from "./run_options.ts";
import { ROW, type TimeLimit } from "./time_limit.ts";

/** Where `kvm_run` has what of a port access, in words of 32 bits: direction, size and port are one. */
const REASON_WORD = kvm_run.offsetOf("exit_reason") / 4;
const IO_WORD = kvm_run.offsetOf("io.direction") / 4;
const IO_COUNT_WORD = kvm_run.offsetOf("io.count") / 4;
const IO_DATA_WORD = kvm_run.offsetOf("io.data_offset") / 4;
const IO_DIRECTION_MASK = 0xff;
const IO_SIZE_SHIFT = 8;
const IO_SIZE_MASK = 0xff;
const IO_PORT_SHIFT = 16;

// Constants of this module are part of the code that V8 makes; those of another are looked up, and converted, each time.
const IO = EXIT_REASON.IO;
const OUT = KVM_EXIT_IO.OUT;
const BYTE_BITS = 8;

/** What no write to a port is like, which has a direction. */
const NO_WRITE: number = 0;

/** How {@linkcode runPlain} ended. */
export type PlainEnd = typeof GOES_ON | typeof NOTED | typeof TAKEN;
/** The latest exit is done with, or not noted yet: the run loop's `runToExit` is to go on. */
export const GOES_ON = 0;
/** The latest exit was noted, and nobody has taken it. */
export const NOTED = 1;
/** The latest exit is one that its follower has taken, who wants to look at it, or whose handler has called for attention. */
export const TAKEN = 2;

/** The run loop, as far as this asks it. */
export interface PlainLoop {
  /** Makes the vCPU ready to run. Whether a port access has then nothing to do with anybody but its handler. */
  becomesPlain(): boolean;
  /** Notes that an exit is in `kvm_run`, and not in the log. */
  holds(): void;
  /** A signal has stopped the guest. True where more is to be done than to run it on. */
  isInterrupted(): boolean;
  /** Notes the exit that is in `kvm_run`, in the log, too. */
  notes(): void;
  /** The guest stands at a write, as long as none of these says otherwise: KVM is to finish it. */
  standsAtWrite(): void;
  /** Hands the latest exit to its handler. False where there is none. */
  dispatch(): boolean;
}

/** What is touched at a write. */
export interface PlainRunInit {
  /** The CPU's number. */
  readonly cpu: number;
  readonly vcpu: Vcpu;
  readonly ports: HandlerTable<PortHandler>;
  readonly log: ExitRecorder;
  readonly portOutput: PortRecorder;
  /** The writes that made no exits. */
  readonly coalesced: CoalescedWrites;
  readonly limit: TimeLimit;
  /** Whether a device has asked for a SYSTEM_EVENT. */
  readonly hasEvent: () => boolean;
  /** Throws the error for a run whose time is over. */
  readonly timeOver: () => never;
}

/**
 * Runs the guest from one port write to the next, as long as nobody but the ports' handlers, and who follows the guest, has
 * a say: no other CPU, no device's timer, no breakpoint, no interrupt. Each is done as the run loop's `runToExit` and
 * `dispatch` do it, without asking before each about what is not there; a handler that changes that calls for
 * attention. What follows from a write being the same as the one before, but for its value, is not found out again.
 *
 * All of it is small and in one place, because V8 inlines so much and no more, and what it does not inline costs
 * several times as much; and behind each call it looks anew at each object that is touched.
 *
 * @param follower Who takes the exits first; with one, only writes that it takes stay here.
 */
export function runPlain(loop: PlainLoop, parts: PlainRunInit, follower?: WriteFollower): PlainEnd {
  const { vcpu, ports, log, portOutput, coalesced, cpu, limit } = parts;
  if (!loop.becomesPlain()) return GOES_ON;
  const { words } = vcpu.kvmRun.arrays;
  let size: 1 | 2 | 4 = 1;
  let access = NO_WRITE;
  let version = -1;
  let port = 0;
  let mask = 0;
  let dataWord = 0;
  let head = 0;
  let by = 0;
  let handler: PortHandler | undefined;
  let stream: ByteStream | undefined;
  let left = limit.beginRow();
  for (;;) {
    if (--left === 0) limit.enters();
    if (vcpu.run() !== 0) {
      access = NO_WRITE;
      if (loop.isInterrupted()) return GOES_ON;
      continue;
    }
    if (words[REASON_WORD] !== IO) {
      loop.holds();
      return GOES_ON;
    }
    if (left <= 0) {
      left = ROW;
      const isOver = limit.isOverAfter(ROW);
      if (isOver || parts.hasEvent()) {
        loop.holds();
        return isOver ? parts.timeOver() : GOES_ON;
      }
    }
    // As a signed number, or V8 keeps it as a floating-point one.
    if (
      (words[IO_WORD] | 0) !== access || words[IO_COUNT_WORD] !== 1 || ports.version !== version
    ) {
      access = words[IO_WORD] | 0;
      if ((access & IO_DIRECTION_MASK) !== OUT || words[IO_COUNT_WORD] !== 1) {
        access = NO_WRITE;
        loop.notes();
        if (follower !== undefined || !loop.dispatch()) return NOTED;
        if (vcpu.needsAttention || coalesced.isUsed) return GOES_ON;
        continue;
      }
      port = access >>> IO_PORT_SHIFT;
      size = (access >> IO_SIZE_SHIFT & IO_SIZE_MASK) as 1 | 2 | 4;
      version = ports.version;
      handler = ports.writer(port);
      if (follower?.by === undefined && handler === undefined) {
        loop.notes();
        return NOTED;
      }
      mask = size === 4 ? -1 : (1 << BYTE_BITS * size) - 1;
      dataWord = words[IO_DATA_WORD] >>> 2;
      stream = portOutput.stream(port, size);
      head = headOfPortWrite(size, cpu);
      by = log.numberOf(follower?.by ?? handler?.name ?? UNNAMED) | 0;
      loop.standsAtWrite();
    }
    const value = (words[dataWord] & mask) >>> 0;
    if (follower !== undefined && !follower.takesWrite(port, size, value)) {
      loop.notes();
      return NOTED;
    }
    log.addPortWrite(head, port, value, by);
    if (size === 1) stream!.add(value);
    else portOutput.add(port, value, size);
    if (handler !== undefined) {
      const result = handler.write!(port, value, size);
      if (result !== undefined) checkWritten(result, handler);
    }
    if (follower !== undefined && !follower.isPassed()) return TAKEN;
    if (vcpu.needsAttention || coalesced.isUsed) return follower === undefined ? GOES_ON : TAKEN;
  }
}

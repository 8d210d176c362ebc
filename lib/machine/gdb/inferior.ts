import { describeExit } from "../../kvm/exits/describe_exit.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { emulatorLacks } from "../host/emulated_machine.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import type { Breakpoint } from "../run/guest_debug.ts";
import { GuestFaultError, isOfGuest, isRefusal } from "../run/run_errors.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { History, Position } from "../postmortem/history.ts";
import type { DebuggedCpu, DebuggedMachine, InterruptWhen } from "./debugged_machine.ts";
import { Past, type PastEnd } from "./past.ts";
import { contentAt, isOfCode, POINT, type Point } from "./point.ts";

/** Signals by gdb's numbers (`include/gdb/signals.def`). */
export const SIGNAL = { NONE: 0, INT: 2, ILL: 4, TRAP: 5, FPE: 8, SEGV: 11 } as const;

/** Exceptions that have another signal than SIGSEGV, as Linux has it. */
const SIGNAL_OF_VECTOR: Readonly<Record<number, number>> = {
  0: SIGNAL.FPE,
  1: SIGNAL.TRAP,
  3: SIGNAL.TRAP,
  6: SIGNAL.ILL,
  16: SIGNAL.FPE,
  19: SIGNAL.FPE,
};

/** A run that a person watches has no time limit: as many milliseconds as timers take. */
const NO_LIMIT = 2 ** 31;

/** How many instructions are stepped before it is looked whether gdb interrupts. */
const STEPS_PER_LOOK = 64;

/** Why the guest stands still. */
export interface Stop {
  /** By gdb's number. */
  readonly signal: number;
  /** The number of the CPU. */
  readonly cpu: number;
  /** The point that it came to. */
  readonly point?: Point;
  /** That there is no more of the guest's past, in either direction. */
  readonly replay?: "begin" | "end";
  /** What gdb's user is told beside. */
  readonly text?: string;
}

const WATCH_SIZES: readonly number[] = [1, 2, 4, 8];

/** The guest as gdb runs it. */
export class Inferior implements Disposable {
  readonly #machine: DebuggedMachine;
  readonly #past: Past;
  readonly #interruptWhen: InterruptWhen;
  readonly #isInterrupted: () => boolean;
  readonly #points: Point[] = [];

  /** @param isInterrupted Whether gdb wants the guest to stop. */
  constructor(
    machine: DebuggedMachine,
    history: History,
    interruptWhen: InterruptWhen,
    isInterrupted: () => boolean,
  ) {
    this.#machine = machine;
    this.#past = new Past(history, isInterrupted);
    this.#interruptWhen = interruptWhen;
    this.#isInterrupted = isInterrupted;
  }

  /** Where the guest stands in its past; undefined in the present. */
  get past(): (Position & { readonly cpu: StoppedCpu }) | undefined {
    const { cpu, where } = this.#past;
    return cpu && where && { ...where, cpu };
  }

  /** Leaves the past. */
  [Symbol.dispose](): void {
    this.#past[Symbol.dispose]();
  }

  /** Sets a point from the next run on. False where this host cannot. */
  insert(point: Point): boolean {
    const isWatch = point.kind >= POINT.WRITE;
    // x86 has no watchpoint of reads alone (Intel SDM Vol. 3B, 17.2.4).
    if (point.kind === POINT.READ) return false;
    const isStepped = emulatorLacks("breakpoints");
    if (isWatch && !isStepped && !WATCH_SIZES.includes(point.size)) return false;
    // By steps it is seen which bytes have changed, and not which were read.
    if (point.kind === POINT.ACCESS && isStepped) return false;
    this.#points.push(point);
    return true;
  }

  /** Takes one away. */
  remove({ kind, address }: Point): void {
    const index = this.#points.findIndex((each) => each.kind === kind && each.address === address);
    if (index >= 0) this.#points.splice(index, 1);
  }

  /** Runs the guest until something stops it. */
  continue(): Stop {
    if (this.past !== undefined) return this.#travel(() => this.#past.forward(this.#points));
    const watched = this.#points.filter(({ kind }) => kind >= POINT.WRITE);
    if (watched.length > 0 && emulatorLacks("breakpoints")) return this.#stepUntilWritten(watched);
    using set = new DisposableStack();
    return this.#attempt(() => {
      const points = this.#points.flatMap((point) =>
        this.#machine.cpus.map((cpu) => ({ point, set: set.use(breakpoint(cpu, point)) }))
      );
      const before = points.map(({ set }) => set.hits);
      this.#interruptWhen(this.#isInterrupted);
      const exit = this.#machine.run({ timeout: NO_LIMIT });
      const hit = points.find(({ set }, index) => set.hits > before[index]);
      return { ...this.#stopOf(exit), point: hit?.point };
    });
  }

  /** Executes one instruction of a CPU. */
  step(cpu: number): Stop {
    if (this.past !== undefined) return this.#travel(() => this.#past.forward(undefined), true);
    return this.#attempt(() => ({
      ...this.#stopOf(this.#machine.cpus[cpu].step({ timeout: NO_LIMIT })),
      cpu,
    }));
  }

  /** Goes back to the last point. */
  continueBack(): Stop {
    return this.#travel(() => this.#past.back(this.#points));
  }

  /** Goes back by one instruction. */
  stepBack(): Stop {
    return this.#travel(() => this.#past.stepBack());
  }

  /** @param isStep It steps: gdb hangs where a step that it makes itself, off a breakpoint, ends with the past. */
  #travel(way: () => PastEnd, isStep = false): Stop {
    const cpu = this.#machine.exitingCpu.number;
    try {
      const end = way();
      if (end === "interrupted") return { signal: SIGNAL.INT, cpu };
      if (end === "begin") return { signal: SIGNAL.TRAP, cpu, replay: "begin" };
      if (end === "present" && !isStep) return { signal: SIGNAL.TRAP, cpu, replay: "end" };
      return { signal: SIGNAL.TRAP, cpu, point: typeof end === "string" ? undefined : end };
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
      return { signal: SIGNAL.NONE, cpu, text: error.message };
    }
  }

  /** Where nothing but steps can tell that memory was written. */
  #stepUntilWritten(watched: readonly Point[]): Stop {
    const { number } = this.#machine.exitingCpu;
    const [cpu] = this.#machine.cpus;
    const contents = watched.map((point) => contentAt(cpu, point));
    for (let steps = 1;; steps++) {
      const stop = this.step(number);
      if (stop.signal !== SIGNAL.TRAP || stop.text !== undefined) return stop;
      const written = watched.find((point, index) => contentAt(cpu, point) !== contents[index]);
      if (written !== undefined) return { ...stop, point: written };
      const pc = linearInstructionPointer(this.#machine.cpus[number].registers);
      const point = this.#points.find((point) => isOfCode(point) && point.address === pc);
      if (point !== undefined) return { ...stop, point };
      if (steps % STEPS_PER_LOOK === 0 && this.#isInterrupted()) {
        return { signal: SIGNAL.INT, cpu: number };
      }
    }
  }

  /** What goes wrong with the guest stops it; what goes wrong otherwise is thrown. */
  #attempt(body: () => Stop): Stop {
    try {
      return body();
    } catch (error) {
      if (!isOfGuest(error) && !isRefusal(error)) throw error;
      const cpu = this.#machine.exitingCpu.number;
      // What gdb shows by itself, and `monitor state`, is behind the first paragraph.
      const [text] = error.message.split("\n\n");
      if (error instanceof GuestFaultError) {
        return { signal: SIGNAL_OF_VECTOR[error.fault.vector] ?? SIGNAL.SEGV, cpu, text };
      }
      const isShutDown = this.#machine.exitingCpu.lastExit?.reason === "SHUTDOWN";
      return { signal: isShutDown ? SIGNAL.SEGV : SIGNAL.TRAP, cpu, text };
    } finally {
      this.#interruptWhen(undefined);
    }
  }

  #stopOf(exit: Exit): Stop {
    const cpu = this.#machine.exitingCpu.number;
    switch (exit.reason) {
      case "DEBUG":
        return { signal: SIGNAL.TRAP, cpu };
      case "INTR":
        return { signal: SIGNAL.INT, cpu };
      default: {
        const { exitStatus } = this.#machine;
        const status = exitStatus === undefined ? "" : `, with status ${exitStatus}`;
        return {
          signal: SIGNAL.TRAP,
          cpu,
          text: `The run has ended${status}: ${describeExit(exit)}.`,
        };
      }
    }
  }
}

function breakpoint({ debug }: DebuggedCpu, point: Point): Breakpoint {
  const { kind, address, size } = point;
  if (isOfCode(point)) return debug.breakAt(address);
  return debug.watch(address, {
    size: size as 1 | 2 | 4 | 8,
    on: kind === POINT.WRITE ? "write" : "access",
  });
}

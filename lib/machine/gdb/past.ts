import type { History, Position } from "../postmortem/history.ts";
import type { RepeatedRun } from "../postmortem/repeated_run.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { contentAt, isOfCode, type Point } from "./point.ts";

/** How many instructions are executed before it is looked whether gdb interrupts. */
const STEPS_PER_LOOK = 64;

/** How a way through the past ended: at a point, at an instruction, by gdb's Ctrl-C, or where there is no more of it. */
export type PastEnd = Point | "step" | "interrupted" | "begin" | "present";

/** Ends a way back, whose begin is where the guest stays. */
class Interrupted extends Error {}

/** What has been of a guest, as gdb goes back and forth in it. */
export class Past implements Disposable {
  readonly #history: History;
  readonly #isInterrupted: () => boolean;
  #run: RepeatedRun | undefined;
  #where: Position | undefined;
  #looks = 0;

  /** That of one guest, which stands in the present. */
  constructor(history: History, isInterrupted: () => boolean) {
    this.#history = history;
    this.#isInterrupted = isInterrupted;
  }

  /** The guest's CPU as it was then; undefined in the present. */
  get cpu(): StoppedCpu | undefined {
    return this.#run?.cpu;
  }

  /** Where that is; undefined in the present. */
  get where(): Position | undefined {
    return this.#where;
  }

  /**
   * Goes back by an instruction.
   *
   * @throws {TypeError} When the run cannot be repeated.
   */
  stepBack(): PastEnd {
    const isFirst = this.#where === undefined;
    const where = this.#history.stepBefore(this.#from);
    this.#enter(where ?? this.#history.begin);
    if (isFirst && where !== undefined && this.#history.isFaultOfPresent(this.#run!.cpu)) {
      return this.stepBack();
    }
    return where === undefined ? "begin" : "step";
  }

  /**
   * Goes back to the last time before this that the guest was about to execute an instruction at one of these points, or one
   * that wrote to one of them.
   *
   * @throws {TypeError} When the run cannot be repeated.
   */
  back(points: readonly Point[]): PastEnd {
    let end: PastEnd = "begin";
    try {
      const where = this.#history.lastBefore(this.#from, (cpu) => {
        const watch = new Watch(cpu, points);
        let before: Position | undefined;
        return (where, isEnd) => {
          if (this.#isAsked) throw new Interrupted();
          const written = watch.written();
          const writer = before;
          before = where;
          const point = isEnd ? undefined : codePointAt(cpu, points);
          end = point ?? written ?? end;
          return point !== undefined ? where : written !== undefined ? writer : undefined;
        };
      });
      this.#enter(where ?? this.#history.begin);
      return end;
    } catch (error) {
      if (error instanceof Interrupted) return "interrupted";
      throw error;
    }
  }

  get #from(): Position {
    return this.#where ?? this.#history.present;
  }

  /**
   * Goes forward to the next of these points; undefined: to the next instruction.
   *
   * @throws {TypeError} When the run cannot be repeated any more: the guest stands in the present then.
   */
  forward(points: readonly Point[] | undefined): PastEnd {
    const run = this.#run!;
    const watch = new Watch(run.cpu, points ?? []);
    watch.written();
    let end: PastEnd = "step";
    const from = this.#where!;
    this.#where = undefined;
    try {
      this.#where = this.#history.goOn(run, from, () => {
        if (points === undefined) return true;
        const isAsked = this.#isAsked;
        const point = codePointAt(run.cpu, points) ?? watch.written();
        end = point ?? (isAsked ? "interrupted" : end);
        return end !== "step";
      });
      return this.#where === undefined ? "present" : end;
    } finally {
      if (this.#where === undefined) this[Symbol.dispose]();
    }
  }

  #enter(where: Position): void {
    if (where.exit === this.#where?.exit && where.steps === this.#where.steps) return;
    const run = this.#history.reach(where);
    this[Symbol.dispose]();
    this.#run = run;
    this.#where = where;
  }

  /** Whether gdb interrupts: asked now and then. */
  get #isAsked(): boolean {
    return ++this.#looks % STEPS_PER_LOOK === 0 && this.#isInterrupted();
  }

  /** Leaves it for the present. */
  [Symbol.dispose](): void {
    this.#run?.[Symbol.dispose]();
    this.#run = this.#where = undefined;
  }
}

/** Knows when what is watched has changed. */
class Watch {
  readonly #cpu: StoppedCpu;
  readonly #points: readonly Point[];
  #contents: readonly string[] | undefined;

  constructor(cpu: StoppedCpu, points: readonly Point[]) {
    this.#cpu = cpu;
    this.#points = points.filter((point) => !isOfCode(point));
  }

  /** One of the points whose bytes have changed since this was asked last. */
  written(): Point | undefined {
    if (this.#points.length === 0) return undefined;
    const before = this.#contents;
    const now = this.#contents = this.#points.map((point) => contentAt(this.#cpu, point));
    return this.#points.find((_, index) => before !== undefined && before[index] !== now[index]);
  }
}

/** The point at which a CPU is about to execute an instruction. */
function codePointAt({ registers }: StoppedCpu, points: readonly Point[]): Point | undefined {
  if (points.length === 0) return undefined;
  const pc = linearInstructionPointer(registers);
  return points.find((point) => isOfCode(point) && point.address === pc);
}

import type { Address } from "../../guest/address.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { hex } from "../../x86/hex.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import type { Board } from "../board.ts";
import type { Cpu } from "../cpu.ts";
import { emulatorLacks } from "../host/emulated_machine.ts";
import type { LinearMemory } from "../memory/linear_memory.ts";
import type { PhysicalMemory } from "../memory/physical_memory.ts";
import { codeLocation, imageBaseAt } from "../registers/code_location.ts";
import type { Registers } from "../registers/registers.ts";
import { RepeatedRun, RepeatError, type RunToRepeat } from "./repeated_run.ts";
import { decoded, isAt, type Moment, momentOf, placeKey, registersOf } from "./steps.ts";

/** How long a run may take when it is repeated for a test, in milliseconds. */
const LONGEST_MILLISECONDS = 10_000;

/** How many instructions a trace has where nobody says, and at most. */
const DEFAULT_STEPS = 1_000;
const MOST_STEPS = 100_000;

/** How many times as many exits are gone back each time that nothing was found. */
const EXITS_FACTOR = 4;

/** Columns of a trace's instructions. */
const TEXT_COLUMNS = 32;

/** What {@linkcode Machine.trace} shows. */
export interface TraceOptions {
  /** The label, or the linear address, at which it begins, when the guest comes there first. Default: where the run began. */
  readonly from?: Address;
  /** How many instructions, 1 to 100,000. Default 1000. */
  readonly steps?: number;
}

const TRACE_OPTIONS: NamesOf<TraceOptions> = { from: "value", steps: "value" };

/** Who wrote last to a place of memory: {@linkcode Machine.lastWriter}. */
export interface LastWriter {
  /** `"guest"`: an instruction; `"host"`: the test, a handler or a device. */
  readonly by: "guest" | "host";
  /** How many exits the guest had made by then. */
  readonly exit: number;
  /** The linear address of the instruction; of the host's writes, that of the guest's next one. */
  readonly linear: bigint;
  /** The instruction's text; empty of the host's writes. */
  readonly text: string;
  /** `"boot.asm:12"`, where the instruction has a source line. */
  readonly line: string | undefined;
  /** The byte before, and after. */
  readonly before: number;
  /** The byte that was written. */
  readonly after: number;
}

/** A machine as it was at an earlier time: a copy of its guest, to be looked at. Declare it with `using`. */
export class PastMachine implements Disposable {
  /** The registers then. */
  readonly registers: Registers;
  /** Memory by guest physical address then. */
  readonly memory: PhysicalMemory;
  /** Memory by linear address then. */
  readonly linear: LinearMemory;
  /** How many exits the guest had made. */
  readonly exit: number;
  /** How many instructions it had completed behind the last of them. */
  readonly steps: number;
  readonly #history: History;
  readonly #run: RepeatedRun;

  /** Use {@linkcode Machine.at}. Takes ownership of the run. */
  constructor(history: History, run: RepeatedRun, steps: number) {
    run.rest();
    this.#history = history;
    this.#run = run;
    this.registers = run.cpu.registers;
    this.memory = run.cpu.memory;
    this.linear = run.cpu.linear;
    this.exit = run.exit;
    this.steps = steps;
  }

  /**
   * The machine one instruction before; an instruction that makes an exit is one, too.
   *
   * @throws {RangeError} Where the run began.
   */
  stepBack(): PastMachine {
    return this.#history.before(this);
  }

  /** Ends the copy. */
  [Symbol.dispose](): void {
    this.#run[Symbol.dispose]();
  }
}

/** A place in a run, between two instructions. */
export interface Position {
  /** How many exits the guest has made by then. */
  readonly exit: number;
  /** How many instructions it has completed behind the last of them. */
  readonly steps: number;
}

function isBefore(one: Position, other: Position): boolean {
  return one.exit < other.exit || one.exit === other.exit && one.steps < other.steps;
}

/** Ends a run where it has come far enough. */
class Arrived extends Error {}

/** What was before: a machine's run, which is made once more for each question. */
export class History {
  readonly #what: RunToRepeat;

  /** That of one machine. */
  constructor(what: RunToRepeat) {
    this.#what = what;
  }

  /** See {@linkcode Machine.at}. */
  at(exit: number): PastMachine {
    const { first, last } = this.#exits;
    if (!Number.isInteger(exit) || exit < first || exit > last) {
      throw new RangeError(
        `Cannot go back to exit ${exit}: the run has exits ${first} (its begin) to ${last}`,
      );
    }
    return this.#repeating(`go back to exit ${exit}`, (run) => {
      run.runTo(exit);
      run.complete();
      return new PastMachine(this, run, 0);
    });
  }

  /** See {@linkcode Machine.stepBack}. */
  stepBack(): PastMachine {
    return this.before(this.present);
  }

  /** Where the run began. */
  get begin(): Position {
    return { exit: this.#exits.first, steps: 0 };
  }

  /**
   * Where the machine stands: behind its latest exit.
   *
   * @throws {TypeError} When a signal has stopped it between two exits.
   */
  get present(): Position {
    const { last } = this.#exits;
    const input = this.#what.original.inputs.inputs.at(-1);
    if (input?.kind === "asked" && input.exit === last - 1 && input.isLate) {
      throw new TypeError(
        `Cannot look back from where the guest was interrupted: nobody knows at which instruction behind exit ${
          last - 1
        } that was`,
      );
    }
    return { exit: last, steps: 0 };
  }

  /** Whether the machine stands before the instruction of its triple fault ({@linkcode Examiner.standAtFault}), as a CPU does. */
  isFaultOfPresent(cpu: Cpu): boolean {
    const { log, cpus: [present] } = this.#what.original;
    return log.latest?.reason === EXIT_REASON.SHUTDOWN && isAt(cpu, momentOf(present));
  }

  /** The machine an instruction before a position. */
  before(position: Position): PastMachine {
    const before = this.stepBefore(position);
    if (before === undefined) throw new RangeError("Cannot step back: the run began there");
    return new PastMachine(this, this.reach(before), before.steps);
  }

  /** The position an instruction before another; undefined where the run began. */
  stepBefore({ exit, steps }: Position): Position | undefined {
    if (steps > 0) return { exit, steps: steps - 1 };
    return this.lastBefore({ exit, steps }, () => (where, isEnd) => isEnd ? undefined : where);
  }

  /** A run that stands at a position. */
  reach(position: Position): RepeatedRun {
    return this.#repeating("step back", (run) => {
      run.runTo(position.exit);
      run.complete();
      this.#walk(run, position, () => false);
      run.rest();
      return run;
    });
  }

  /**
   * Goes on from the position at which a run stands.
   *
   * @param isEnough Asked at each position behind it, before the present.
   * @returns Where that was enough; undefined in the present.
   */
  goOn(
    run: RepeatedRun,
    from: Position,
    isEnough: (where: Position) => boolean,
  ): Position | undefined {
    run.resume(LONGEST_MILLISECONDS);
    let end: Position | undefined;
    this.#repeating("go on", () =>
      this.#walk(run, this.present, (where) => {
        if (!isBefore(from, where) || !isEnough(where)) return false;
        end = where;
        return true;
      }, from), run);
    run.rest();
    return end;
  }

  /**
   * The last position before another that somebody wants, undefined where there is none. The nearest exits are looked behind
   * first.
   *
   * @param wants Asked anew for each stretch of the run: gives what is asked at each of its positions, in their order, and at
   *   the end of the stretch; what that returns, one of those before the end, is wanted.
   */
  lastBefore(
    position: Position,
    wants: (cpu: Cpu) => (where: Position, isEnd: boolean) => Position | undefined,
  ): Position | undefined {
    const { first } = this.#exits;
    let to = position;
    for (let exits = 1;; exits *= EXITS_FACTOR) {
      const from = Math.max(first, to.steps === 0 ? to.exit - exits : to.exit);
      if (!isBefore({ exit: from, steps: 0 }, to)) return undefined;
      using run = this.#begin();
      const last = this.#repeating("step back", () => {
        let last: Position | undefined;
        const ask = wants(run.cpu);
        run.runTo(from);
        run.complete();
        this.#walk(run, to, (where) => {
          last = ask(where, false) ?? last;
          return false;
        });
        return ask(to, true) ?? last;
      }, run);
      if (last !== undefined) return last;
      to = { exit: from, steps: 0 };
    }
  }

  /** Executes the guest's instructions up to a position, or until something before one of them is enough. */
  #walk(
    run: RepeatedRun,
    to: Position,
    isEnough: (where: Position) => boolean,
    from: Position = { exit: run.exit, steps: 0 },
  ): void {
    let { exit, steps } = from;
    const hasArrived = this.#step(run, to.steps === 0 ? to.exit : to.exit + 1, () => {
      if (run.exit !== exit) steps = 0;
      exit = run.exit;
      const where = { exit, steps };
      if (!isBefore(where, to) || isEnough(where)) throw new Arrived();
      steps++;
    });
    if (to.steps > 0 && !hasArrived) throw new RepeatError("it has made another number of steps");
  }

  /** See {@linkcode Machine.lastWriter}. */
  lastWriter(address: Address): LastWriter | undefined {
    const { last } = this.#exits;
    using run = this.#begin();
    const { cpu } = run;
    const linear = cpu.linear.addressOf(address);
    const byteAt = () => {
      try {
        return cpu.linear.u8(linear);
      } catch {
        // It is not mapped at that time.
        return undefined;
      }
    };
    let byte: number | undefined;
    let moment: Moment | undefined;
    let found: Omit<LastWriter, "text" | "line"> & { readonly moment: Moment } | undefined;
    const look = (by: LastWriter["by"], exit: number, at: Moment) => {
      const after = byteAt();
      if (byte !== undefined && after !== undefined && after !== byte) {
        found = { by, exit, linear: at.linear, before: byte, after, moment: at };
      }
      byte = after ?? byte;
    };
    let exit = run.exit;
    run.beforeInput = () => {
      if (moment !== undefined) look("guest", exit, moment);
    };
    run.behindInput = () => look("host", run.exit, momentOf(cpu));
    this.#repeating("find the last writer", () => {
      byte = byteAt();
      this.#step(run, last, () => {
        if (moment !== undefined) look("guest", exit, moment);
        moment = momentOf(cpu);
        exit = run.exit;
      });
      if (moment !== undefined) look("guest", exit, moment);
    }, run);
    if (found === undefined) return undefined;
    const { moment: at, ...writer } = found;
    const text = writer.by === "host" ? "" : decoded([at])[0].text;
    return { ...writer, text, line: lineOf(cpu, at) };
  }

  /** See {@linkcode Machine.trace}. */
  trace(options: TraceOptions): string {
    checkOptions("trace", options, TRACE_OPTIONS);
    const { from, steps = DEFAULT_STEPS } = options;
    if (!Number.isInteger(steps) || steps < 1 || steps > MOST_STEPS) {
      throw new RangeError(
        `Cannot trace ${steps} steps: it is not a whole number from 1 to ${MOST_STEPS}; to see what comes later, ` +
          "begin there with `from`",
      );
    }
    using run = this.#begin();
    const start = from === undefined ? undefined : run.cpu.linear.addressOf(from);
    const trace = new Trace(run.cpu);
    let end = "";
    try {
      this.#step(run, this.#exits.last, () => {
        const moment = momentOf(run.cpu);
        if (trace.length === 0 && start !== undefined && moment.linear !== start) return;
        trace.add(moment, run.exit);
        if (trace.length > steps) {
          end = `… and more: these are the first ${steps} steps`;
          throw new Arrived();
        }
      });
    } catch (error) {
      // What there is by then is shown all the same.
      if (!(error instanceof RepeatError) || trace.length === 0) throw refusal("trace", error);
      end = `… and more: ${error.message}`;
    }
    if (end !== "") end += "; what comes later is shown with `from`";
    if (trace.length === 0) {
      throw new RangeError(
        `Cannot trace from ${
          typeof from === "string" ? from : hex(start ?? 0n)
        }: the guest has not come there`,
      );
    }
    return [...trace.lines(steps), ...end === "" ? [] : [end]].join("\n");
  }

  get #exits(): { readonly first: number; readonly last: number } {
    const { inputs, log } = this.#what.original;
    return { first: inputs.firstExit, last: log.total };
  }

  /** Steps the guest until the log would have so many exits. What came behind the last is not taken. True where `visit` ended it. */
  #step(run: RepeatedRun, exit: number, visit: () => void): boolean {
    run.visit = visit;
    try {
      run.runUpTo(exit);
      return false;
    } catch (error) {
      if (!(error instanceof Arrived)) throw error;
      return true;
    } finally {
      run.visit = undefined;
    }
  }

  #begin(): RepeatedRun {
    const { original } = this.#what;
    original.runControl.progress.checkStopped("look at what was before");
    if (original.cpus.length > 1) {
      throw new TypeError("Cannot look at what was before: the machine has several CPUs");
    }
    if (emulatorLacks("singleStep")) {
      throw new TypeError(
        "Cannot look at what was before: this host's KVM executes no single steps",
      );
    }
    try {
      return new RepeatedRun(this.#what, LONGEST_MILLISECONDS);
    } catch (error) {
      throw refusal("look at what was before", error);
    }
  }

  /**
   * Asks a run.
   *
   * @param own The run, which stays the caller's; without it one is begun, and is the result's.
   * @throws {TypeError} When the run cannot be repeated.
   */
  #repeating<Result>(
    what: string,
    body: (run: RepeatedRun) => Result,
    own?: RepeatedRun,
  ): Result {
    const run = own ?? this.#begin();
    try {
      return body(run);
    } catch (error) {
      if (own === undefined) run[Symbol.dispose]();
      throw refusal(what, error);
    }
  }
}

function refusal(what: string, error: unknown): unknown {
  if (!(error instanceof RepeatError)) return error;
  return new TypeError(`Cannot ${what}: the run cannot be repeated: ${error.message}`);
}

/** `"boot.asm:12"`; undefined where the code has no line. */
function lineOf(cpu: Cpu, { linear }: Moment): string | undefined {
  const { imageBase } = imageBaseAt(cpu.image, linear, codeLocation(cpu).imageBase);
  const line = cpu.image.lineOf(linear - imageBase);
  return line && `${line.file.split("/").at(-1)}:${line.line}`;
}

/** The instructions of a stretch; of each no more is kept than its line shows. */
class Trace {
  readonly #cpu: Cpu;
  readonly #rows: { readonly place: string; readonly exit: number; changes: string }[] = [];
  /** A moment of each place, by its address and its bytes. */
  readonly #places = new Map<string, Moment>();
  #latest: Moment | undefined;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** How many there are. */
  get length(): number {
    return this.#rows.length;
  }

  /** Adds the instruction that a CPU stands before, behind so many exits. */
  add(moment: Moment, exit: number): void {
    if (this.#latest !== undefined) {
      this.#rows.at(-1)!.changes = changesBetween(this.#latest, moment).join(" ");
    }
    const place = placeKey(moment);
    if (!this.#places.has(place)) this.#places.set(place, moment);
    this.#rows.push({ place, exit, changes: "" });
    this.#latest = moment;
  }

  /** A line for each of the first, and one for each exit between them. */
  lines(most: number): string[] {
    const moments = [...this.#places.values()];
    const texts = decoded(moments);
    const lines = new Map([...this.#places.keys()].map((place, index) => [
      place,
      [
        hex(moments[index].linear),
        texts[index].text.padEnd(TEXT_COLUMNS),
        lineOf(this.#cpu, moments[index]) ?? "",
      ].join("  "),
    ]));
    return this.#rows.slice(0, most).flatMap(({ place, exit, changes }, index) => [
      ...exit === this.#rows[index - 1]?.exit
        ? []
        : [exit === 0 ? "from the start" : `behind exit ${exit}`],
      `  ${lines.get(place)}  ${changes}`.trimEnd(),
    ]);
  }
}

/** The general registers that an instruction has changed. */
function changesBetween(before: Moment, after: Moment): string[] {
  const [then, now] = [registersOf(before).registers, registersOf(after).registers];
  return Object.entries(now).flatMap(([name, value]) =>
    name === "rip" || name === "rflags" || value === then[name as keyof typeof then]
      ? []
      : [`${name}=${hex(value)}`]
  );
}

const HISTORIES = new WeakMap<Board, History>();

/** Says what repeats the run of a machine. */
export function setHistory(board: Board, history: History): void {
  HISTORIES.set(board, history);
}

/** What repeats the run of a machine. */
export function historyOf(board: Board): History {
  return HISTORIES.get(board)!;
}

import { LONGEST_INSTRUCTION } from "../../guest/disassemble.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { deliveryChain } from "../../x86/diagnosis/delivery.ts";
import { GuestView } from "../../x86/diagnosis/guest_view.ts";
import type { SeenException } from "../../x86/diagnosis/incident.ts";
import { predictException } from "../../x86/diagnosis/predict.ts";
import { hex } from "../../x86/hex.ts";
import { PORT } from "../../x86/layout.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import { exitText } from "../report/exit_text.ts";
import { incidentOf } from "./incident_of.ts";
import { OwnIdt, TRAP_CODE } from "./own_idt.ts";
import { type RepeatedRun, RepeatError } from "./repeated_run.ts";
import {
  decoded,
  type DecodedInstruction,
  isAt,
  jumpTarget,
  type Moment,
  momentOf,
  putBack,
  registersOf,
} from "./steps.ts";

/** How many of the instructions are kept, of those that were executed one by one. */
const KEPT_STEPS = 1_024;

/** How many instructions in a row may be zeros: a guest that executes more of them has lost its way. */
const MOST_ZEROS = 24;

/** How many instructions are told apart from their handlers, each by one more run. */
const MOST_SUSPECTS = 3;

/** How often an instruction raises its exception again, behind its handler, before the guest is taken to be lost. */
const MOST_RAISED = 4;

/** How often an instruction is executed before it is taken for one of a loop. */
const LOOP_VISITS = 16;

/** The same of a place that is none of the guest's own code: one that is in no loop there has made its exit by then. */
const STRAY_VISITS = LOOP_VISITS / 2;

/** Behind these comes what is elsewhere. */
const GOES_ELSEWHERE = /^(?:jmp|ret|iret|sysret|sysexit)/;
/** Behind these the CPU is interrupted no sooner than behind the next (Intel SDM Vol. 3A, 6.8.3). */
const MAKES_SHADOW = /^(?:mov ss|pop ss|lss)\b/;
/** The opcodes of `int3`, `int n` and `into`. */
const SOFTWARE_INTERRUPTS: readonly number[] = [0xcc, 0xcd, 0xce];
const SOFTWARE_INTERRUPT = /^int (0x[\da-f]+)$/;
/** What a free run does not bear: another IDT than the harness's. */
const SETS_IDT = /^[ls]idt\b/;

/** Instructions that a guest has executed one by one, and how that ended. */
export interface Steps {
  /** The moments before the last of them, oldest first: before the last itself, which did not complete, comes last. */
  readonly moments: readonly Moment[];
  /** How many instructions have completed since the exit before the last. */
  readonly count: number;
  /** Whether there were more: the rounds of a loop that it has run through. */
  readonly isMore: boolean;
  /** The exit by which it ended; undefined where it strayed: it executes zeros. */
  readonly exit: Exit | undefined;
  /** The event that was being delivered then, instead of an instruction. */
  readonly interrupt: RepeatedRun["interrupt"];
  /** The exception that the last instruction raised, where it could be seen. */
  readonly exception: SeenException | undefined;
}

/** How a guest is stepped. */
export interface StepOptions {
  /** How many exits the log has by the end, the last included. */
  readonly exits: number;
  /** How many instructions are executed one by one at most. */
  readonly most: number;
  /** Whether it runs through loops: else it steps through them, too. */
  readonly skipsLoops: boolean;
  /** Where the guest was stopped, or has made its last exit, where that is no code of its own: it ends in a loop there, too. */
  readonly strayedAt: bigint | undefined;
  /** Linear addresses of instructions behind which an earlier run shut down: they may have entered a handler. */
  readonly suspects: ReadonlySet<bigint>;
  /** Where the guest stood when the test had stopped it: by the numbers of these exits. */
  readonly stops: ReadonlyMap<number, Moment>;
}

/**
 * Executes the guest's instructions one by one up to the last exit: into handlers, and past loops, through which it runs.
 *
 * @throws {LoopError} When it fails in a loop through which it ran.
 * @throws {RepeatError} When there are too many of them, or it goes another way.
 */
export function stepToEnd(run: RepeatedRun, options: StepOptions): Steps {
  run.complete();
  return new Stepper(run, options).toEnd();
}

/** A guest shut down behind an instruction, in whose handler it may have been by then: it is to be run anew. */
export class SuspectError extends RepeatError {
  /** The linear address of the instruction. */
  readonly suspect: bigint;

  /** Of the instruction at `suspect`. */
  constructor(suspect: bigint) {
    super("its handlers could not be followed");
    this.suspect = suspect;
  }
}

/** A guest failed in a loop through which it ran. */
export class LoopError extends RepeatError {}

class Stepper {
  readonly #run: RepeatedRun;
  readonly #options: StepOptions;
  readonly #moments: Moment[] = [];
  /** The linear addresses of all instructions so far. */
  readonly #trail: bigint[] = [];
  readonly #visits = new Map<bigint, number>();
  /** How often the instruction at each address has brought it into the handler of its exception. */
  readonly #raised = new Map<bigint, number>();
  /** The latest moment at each address. */
  readonly #latest = new Map<bigint, Moment>();
  readonly #decoded = new Map<Moment, DecodedInstruction>();
  #all = 0;
  #count = 0;
  #isMore = false;
  /** How many instructions in a row were zeros. */
  #zeros = 0;
  /** It stands at an instruction of a loop that raises an exception. */
  #mustStep = false;

  constructor(run: RepeatedRun, options: StepOptions) {
    this.#run = run;
    this.#options = options;
  }

  toEnd(): Steps {
    const run = this.#run;
    const { most } = this.#options;
    while (this.#all++ < most) {
      this.#takeRecorded();
      const moment = this.#note();
      if (this.#zeros === MOST_ZEROS || this.#isInStrayLoop()) {
        return this.#end(undefined, undefined);
      }
      if (!run.isStepped && this.#isInLoop(moment) && this.#runThroughLoop(moment)) continue;
      if (this.#raisesAgain(moment)) return this.#end(undefined, undefined);
      const { interrupt } = run;
      if (!run.isStepped && interrupt === undefined && this.#leavesForHandler(moment)) {
        this.#count++;
        continue;
      }
      const exit = run.step();
      this.#mustStep = false;
      if (exit === undefined) {
        this.#count++;
        // In the kernel it is no exit.
        if (run.isNextAsked && run.cpu.mpState === "HALTED") return this.#end(undefined, interrupt);
        continue;
      }
      if (exit.reason !== "SHUTDOWN") {
        if (this.#isLast && interrupt === undefined && this.#ranOn(moment)) {
          throw new SuspectError(moment.linear);
        }
        if (this.#isLast) return this.#end(exit, interrupt);
        this.#take(exit);
        continue;
      }
      putBack(run.cpu, moment);
      if (interrupt === undefined && this.#passesShadow(moment)) continue;
      // Memory is what it was after the handler: only another run has it as it was before.
      if (this.#mayHaveHandler(moment)) throw new SuspectError(moment.linear);
      const exception = interrupt === undefined ? this.#exceptionAt(moment) : undefined;
      if (this.#entersHandler(moment, interrupt, exception)) this.#count++;
      else if (this.#isLast) return this.#end(exit, interrupt, exception);
      else throw new RepeatError(otherWay(run, exit));
    }
    throw new RepeatError(`behind exit ${run.exit} it executed too many instructions`);
  }

  /** Takes exits that KVM does not make, or that are not in the log, and where the test has stopped the guest. */
  #takeRecorded(): void {
    const run = this.#run;
    for (;;) {
      const { exit } = run;
      const stop = this.#options.stops.get(exit + 1);
      if (this.#isLast || stop !== undefined) run.forgetStops();
      if (stop !== undefined && isAt(run.cpu, stop)) run.takeStop();
      else if (run.isNextRecorded && !(run.isNextAsked && this.#isLast)) run.takeRecorded();
      else return;
      if (run.exit > exit) this.#passExit();
    }
  }

  /** Whether an instruction has brought the guest into its handler: `int n`, or one of the suspects that raises. */
  #leavesForHandler(moment: Moment): boolean {
    // It is not stepped: TF, which is KVM's, would be in the frame.
    if (SOFTWARE_INTERRUPTS.includes(moment.bytes[0])) {
      return this.#entersHandler(moment, undefined, undefined);
    }
    if (!this.#options.suspects.has(moment.linear)) return false;
    const exception = this.#exceptionAt(moment);
    if (exception === undefined || !this.#entersHandler(moment, undefined, exception)) return false;
    this.#raised.set(moment.linear, (this.#raised.get(moment.linear) ?? 0) + 1);
    return true;
  }

  /** Whether an instruction raises its exception over and over: its handler does not mend the cause. */
  #raisesAgain({ linear }: Moment): boolean {
    return (this.#raised.get(linear) ?? 0) >= MOST_RAISED;
  }

  /** Whether an instruction that was to be stepped has led on to an exit elsewhere: through a handler, where TF is clear. */
  #ranOn(moment: Moment): boolean {
    const passed = linearInstructionPointer(this.#run.cpu.registers) - moment.linear;
    return (passed < 0n || passed > LONGEST_INSTRUCTION) && this.#mayHaveHandler(moment);
  }

  /** Whether the guest has an IDT of its own, or real mode's, and was not looked at with care at this instruction. */
  #mayHaveHandler(moment: Moment): boolean {
    const { suspects } = this.#options;
    const { cr0, idt } = registersOf(moment).specialRegisters;
    return (idt.base !== 0n || (cr0 & 1n) === 0n) && suspects.size < MOST_SUSPECTS &&
      !suspects.has(moment.linear);
  }

  /** Whether the next exit is the last. */
  get #isLast(): boolean {
    return this.#run.exit + 1 === this.#options.exits;
  }

  /** Takes an exit of the log. */
  #take(exit: Exit): void {
    this.#run.take(exit);
    this.#passExit();
  }

  #passExit(): void {
    this.#count = 0;
    this.#isMore = false;
  }

  #isInStrayLoop(): boolean {
    const { strayedAt } = this.#options;
    return strayedAt !== undefined && (this.#visits.get(strayedAt) ?? 0) >= STRAY_VISITS;
  }

  #isInLoop({ linear }: Moment): boolean {
    return this.#options.skipsLoops && !this.#mustStep && this.#visits.get(linear)! >= LOOP_VISITS;
  }

  #end(exit: Exit | undefined, interrupt: Steps["interrupt"], exception?: SeenException): Steps {
    const moments = this.#moments;
    return { moments, count: this.#count, isMore: this.#isMore, exit, interrupt, exception };
  }

  #note(): Moment {
    const moment = momentOf(this.#run.cpu);
    const { linear } = moment;
    this.#moments.push(moment);
    const [first, second] = moment.bytes;
    this.#zeros = first === 0 && second === 0 ? this.#zeros + 1 : 0;
    if (this.#moments.length > KEPT_STEPS) this.#moments.shift();
    this.#trail.push(linear);
    this.#visits.set(linear, (this.#visits.get(linear) ?? 0) + 1);
    this.#latest.set(linear, moment);
    return moment;
  }

  #instruction(moment: Moment): DecodedInstruction {
    this.#decode([moment]);
    return this.#decoded.get(moment)!;
  }

  #decode(moments: readonly Moment[]): void {
    const unknown = moments.filter((moment) => !this.#decoded.has(moment));
    decoded(unknown).forEach((each, index) => this.#decoded.set(unknown[index], each));
  }

  /**
   * Runs through a loop that the guest is in, to where it leaves it, or to the instruction in it that raises an exception.
   * False where that cannot be: it is to be stepped.
   */
  #runThroughLoop(moment: Moment): boolean {
    const rounds = this.#trail.flatMap((linear, at) => linear === moment.linear ? [at] : []);
    const body = new Set(this.#trail.slice(rounds.at(-LOOP_VISITS / 2)));
    const moments = [...body].map((linear) => this.#latest.get(linear)!);
    this.#decode(moments);
    const instructions = moments.map((each) => this.#decoded.get(each)!);
    const exits = new Set(moments.flatMap((each, index) => successors(each, instructions[index])));
    const ways = [...exits].filter((linear) => !body.has(linear));
    if (ways.length === 0 || instructions.some(({ text }) => SETS_IDT.test(text))) {
      this.#visits.set(moment.linear, -Infinity);
      return false;
    }
    using idt = OwnIdt.of(this.#run);
    this.#isMore = true;
    if (this.#runToTrap(ways)) return true;
    this.#mustStep = idt?.caught() !== undefined;
    if (this.#mustStep) return true;
    throw new LoopError(
      `behind exit ${this.#run.exit} it failed in a loop at ${
        hex(moment.linear)
      }, nobody knows in which round`,
    );
  }

  /** Runs the guest until it is about to execute an instruction at one of these linear addresses. False where it is not. */
  #runToTrap(addresses: readonly bigint[]): boolean {
    const { cpu } = this.#run;
    const { linear, registers } = cpu;
    const traps: { readonly at: bigint; readonly bytes: Uint8Array }[] = [];
    for (const at of addresses) {
      try {
        const bytes = linear.read(at, TRAP_CODE.length).slice();
        linear.write(at, TRAP_CODE);
        traps.push({ at, bytes });
      } catch {
        // Nothing is mapped there, so that what comes is an exception.
      }
    }
    const exit = this.#run.enter();
    const isTrap = exit?.reason === "IO" && exit.port === PORT.fault;
    if (isTrap) this.#run.complete();
    for (const { at, bytes } of traps.reverse()) {
      try {
        linear.write(at, bytes);
      } catch {
        // It is no longer.
      }
    }
    if (!isTrap) {
      const isOfLog = exit !== undefined && exit.reason !== "SHUTDOWN" && !this.#isLast;
      if (isOfLog) this.#take(exit);
      return isOfLog;
    }
    const behind = BigInt.asUintN(64, registers.cs.base + registers.rip);
    const trap = traps.find(({ at }) => at + BigInt(TRAP_CODE.length) === behind);
    if (trap === undefined) return false;
    registers.rip -= BigInt(TRAP_CODE.length);
    return true;
  }

  /** Executes an instruction behind which nothing interrupts the guest. False where it is none, or fails itself. */
  #passesShadow(moment: Moment): boolean {
    const { text, length } = this.#instruction(moment);
    if (!MAKES_SHADOW.test(text)) return false;
    if (!this.#runToTrap([moment.linear + BigInt(length)])) {
      putBack(this.#run.cpu, moment);
      return false;
    }
    this.#count++;
    return true;
  }

  /** The exception that the next instruction raises, where the guest could be given another IDT. */
  #exceptionAt(moment: Moment): SeenException | undefined {
    const { cpu } = this.#run;
    if (/^int/.test(this.#instruction(moment).text)) return undefined;
    // One that another has started is run no more behind its shutdown, before a SIPI: the manuals' rules must do.
    if (cpu.number > 0 && cpu.machine.irqchip !== false) return undefined;
    let seen: SeenException | undefined;
    {
      using idt = OwnIdt.of(this.#run);
      if (idt === undefined) return undefined;
      const exit = this.#run.enter();
      if (exit?.reason === "IO") {
        this.#run.complete();
        const fault = idt.caught();
        if (fault?.linear === moment.linear) {
          const { vector, errorCode, cr2 } = fault;
          seen = { vector, errorCode, cr2 };
        }
      }
    }
    putBack(cpu, moment);
    return seen;
  }

  /** Brings the guest to the first instruction of the handler of what the next one raises. False where it comes to none. */
  #entersHandler(
    moment: Moment,
    interrupt: Steps["interrupt"],
    exception: SeenException | undefined,
  ): boolean {
    const { cpu, vcpu } = this.#run;
    const incident = incidentOf(cpu, { moments: [moment], interrupt, exception });
    const view = new GuestView(incident, () => undefined);
    const software = softwareVector(this.#instruction(moment).text);
    const vector = interrupt?.vector ?? exception?.vector ?? software ??
      predictException(view)?.vector;
    if (vector === undefined) return false;
    const source = interrupt?.source ?? (vector === software ? "software" : undefined);
    const handler = deliveryChain(view, { vector, source }).handler?.linear;
    if (handler === undefined) return false;
    if (interrupt?.source === "external") vcpu.events.interrupt(interrupt.vector);
    if (interrupt?.source === "nmi") vcpu.events.nmi();
    if (this.#runToTrap([handler])) return true;
    putBack(cpu, moment);
    return false;
  }
}

/** That an exit is not the one that was to come. */
export function otherWay(run: RepeatedRun, exit: Exit): string {
  return `it went another way: exit ${run.exit + 1} was ${exitText(exit)}`;
}

/** Where the guest may go on behind an instruction, as far as that can be seen of it. */
function successors({ linear }: Moment, { text, length }: DecodedInstruction): bigint[] {
  if (length === 0) return [];
  const target = jumpTarget(text);
  return [
    ...target === undefined ? [] : [target],
    ...GOES_ELSEWHERE.test(text) ? [] : [linear + BigInt(length)],
  ];
}

/** The vector of an instruction that raises a software interrupt. */
function softwareVector(text: string): number | undefined {
  const vector = SOFTWARE_INTERRUPT.exec(text)?.[1];
  if (vector !== undefined) return Number(vector);
  return { int3: 3, int1: 1, into: 4 }[text];
}

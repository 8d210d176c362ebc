import type { MemoryContent } from "../machine/address_space.ts";
import { Machine } from "../machine/machine.ts";
import type { RunOptions } from "../machine/machine_types.ts";
import type { RegisterValues } from "../machine/registers.ts";
import { UnhandledExitError } from "../machine/unhandled_exit_error.ts";
import type { RflagsFlag } from "../x86/flag_tables.ts";
import type { FlagValues } from "../x86/flags.ts";
import type { Matcher } from "./assertion_error.ts";
import { matchEnd, matchExitStatus } from "./matchers/end.ts";
import { matchMemory } from "./matchers/memory.ts";
import { matchPortOutput, matchSerial, matchSerialPart } from "./matchers/output.ts";
import { matchRegisters } from "./matchers/registers.ts";
import { matchTimeLimit } from "./matchers/time.ts";
import { matchTranscript } from "./matchers/transcript.ts";
import type { ExitPattern } from "./patterns/exit_pattern.ts";
import { assertVerdict, type Verdict } from "./verdict.ts";

/** What can be expected of a stopped machine, as it is or, after `.not`, as it is not. */
export class StateExpectation {
  readonly #machine: Machine;
  readonly #negated: boolean;

  /** Use {@linkcode expect}. */
  constructor(machine: Machine, negated: boolean) {
    this.#machine = machine;
    this.#negated = negated;
  }

  /**
   * The registers have these values. Only those that are named are compared; a segment given as a number is
   * compared by its selector.
   *
   * @throws {AssertionError} When one differs.
   * @throws {RangeError} When there is no register of a name, or it could not hold the value.
   * @throws {TypeError} When none is named.
   */
  toHaveRegisters(values: RegisterValues): void {
    this.#assert(matchRegisters(this.#machine, "toHaveRegisters", values), this.toHaveRegisters);
  }

  /**
   * RFLAGS has these flags. Only those that are named are compared.
   *
   * @throws {AssertionError} When one differs.
   * @throws {RangeError} When there is no flag of a name.
   */
  toHaveFlags(flags: FlagValues<RflagsFlag>): void {
    this.#assert(matchRegisters(this.#machine, "toHaveFlags", flags), this.toHaveFlags);
  }

  /**
   * Memory holds this content at a guest physical address.
   *
   * @throws {AssertionError} When a byte differs.
   * @throws {RangeError} When there is no memory.
   */
  toHaveMemory(gpa: number, content: MemoryContent): void {
    const { memory } = this.#machine;
    this.#assert(matchMemory(memory, "toHaveMemory", gpa, content), this.toHaveMemory);
  }

  /**
   * Memory holds this content at a linear address, through the guest's page tables.
   *
   * @throws {AssertionError} When a byte differs.
   * @throws {RangeError} When it is not mapped, or there is no memory.
   */
  toHaveLinearMemory(linear: number | bigint, content: MemoryContent): void {
    this.#assert(
      matchMemory(this.#machine.linear, "toHaveLinearMemory", linear, content),
      this.toHaveLinearMemory,
    );
  }

  /**
   * The guest has written exactly this to a port, whoever answered.
   *
   * @throws {AssertionError} When it has not.
   */
  toHavePortOutput(port: number, content: MemoryContent): void {
    this.#assert(matchPortOutput(this.#machine, port, content), this.toHavePortOutput);
  }

  /**
   * The text on the serial line is this string, or has a match of this regular expression.
   *
   * @throws {AssertionError} When it is not.
   * @throws {TypeError} When the machine was booted with `serial: false`.
   */
  toHaveSerial(text: string | RegExp): void {
    this.#assert(matchSerial(this.#machine, text), this.toHaveSerial);
  }

  /**
   * The text on the serial line has this string in it.
   *
   * @throws {AssertionError} When it has not.
   * @throws {TypeError} When the machine was booted with `serial: false`.
   */
  toHaveSerialContaining(text: string): void {
    this.#assert(matchSerialPart(this.#machine, text), this.toHaveSerialContaining);
  }

  /**
   * The guest's latest exit was HLT.
   *
   * @throws {AssertionError} When it was another, or the guest has not run.
   */
  toBeHalted(): void {
    this.#assert(matchEnd(this.#machine, "toBeHalted()", "HLT"), this.toBeHalted);
  }

  /**
   * The guest's latest exit was SHUTDOWN: it has triple-faulted.
   *
   * @throws {AssertionError} When it was another, or the guest has not run.
   */
  toBeShutDown(): void {
    this.#assert(matchEnd(this.#machine, "toBeShutDown()", "SHUTDOWN"), this.toBeShutDown);
  }

  /**
   * The guest has written this to its exit port.
   *
   * @throws {AssertionError} When it has not, or another value.
   */
  toHaveExitStatus(status: number): void {
    this.#assert(matchExitStatus(this.#machine, status), this.toHaveExitStatus);
  }

  #assert(verdict: Verdict, matcher: Matcher): void {
    assertVerdict(this.#machine, verdict, this.#negated, matcher);
  }
}

/** What can be expected of a machine. */
export class Expectation extends StateExpectation {
  readonly #machine: Machine;

  /** Use {@linkcode expect}. */
  constructor(machine: Machine) {
    super(machine, false);
    this.#machine = machine;
  }

  /** The opposite of what follows. */
  get not(): StateExpectation {
    return new StateExpectation(this.#machine, true);
  }

  /**
   * Runs the guest, which must cause exactly these exits in this order; reads are answered as the patterns
   * say. It stops when the last pattern has come as often as it must. After a HLT in the middle the guest is
   * run on. A later call goes on where this one stopped.
   *
   * Exits that a device of the machine answers may come in between, unless a pattern names their port or
   * address.
   *
   * @throws {AssertionError} At the first exit that is not the one expected, and when the time limit is over.
   * @throws {UnhandledExitError} When a read matches a pattern that has no answer, and no device has one.
   * @throws {TypeError} When the transcript is none.
   * @throws {RangeError} When its last pattern may be left out: it would never be waited for.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, expect, hlt, portIn, portOut } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   * .wait:
   *   in   al, 0x64
   *   test al, 1
   *   jz   .wait
   *   in   al, 0x60
   *   out  0x80, al
   *   hlt
   * `);
   * expect(vm).toExit([
   *   portIn(0x64).returns(0).times(3),
   *   portIn(0x64).returns(1),
   *   portIn(0x60).returns(0x1c),
   *   portOut(0x80, 0x1c),
   *   hlt(),
   * ]);
   * ```
   */
  toExit(transcript: readonly ExitPattern[], options: RunOptions = {}): void {
    this.#assertRun(() => matchTranscript(this.#machine, transcript, options), this.toExit);
  }

  /**
   * Runs the guest, which must still be running when the time limit is over. The machine can be looked at
   * afterwards, and run on.
   *
   * @param options How long it may take: short, because the whole of it is waited for. `VMEXIT_TIMEOUT_SCALE`
   * multiplies it.
   * @throws {AssertionError} When the run ends before.
   * @throws {UnhandledExitError} At an exit that no handler answers.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, expect } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   * again:
   *   jmp again
   * `);
   * expect(vm).toRunOutOfTime({ timeout: 10 });
   * expect(vm).toHaveRegisters({ rip: vm.image.symbol("again") });
   * ```
   */
  toRunOutOfTime(options: RunOptions = {}): void {
    this.#assertRun(() => matchTimeLimit(this.#machine, options), this.toRunOutOfTime);
  }

  #assertRun(run: () => Verdict, matcher: Matcher): void {
    let verdict: Verdict;
    try {
      verdict = run();
    } catch (error) {
      // What went wrong is the test's: its line is the place, not the run loop.
      if (error instanceof UnhandledExitError) Error.captureStackTrace(error, matcher);
      throw error;
    }
    assertVerdict(this.#machine, verdict, false, matcher);
  }
}

/**
 * Assertions on a machine. A failing one throws an {@linkcode AssertionError} whose location is the line of
 * the test and whose text is the failure page: what was expected and received, where the guest was, and what
 * it had done.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hlt, portIn } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   in  al, 0x60
 *   mov [0x800], al
 *   hlt
 * `);
 * expect(vm).toExit([portIn(0x60).returns(0x1c), hlt()]);
 * expect(vm).toHaveRegisters({ al: 0x1c, rflags: { cf: false } });
 * expect(vm).toHaveMemory(0x800, [0x1c]);
 * expect(vm).not.toBeShutDown();
 * ```
 */
export function expect(machine: Machine): Expectation {
  if (!(machine instanceof Machine)) {
    throw new TypeError("Cannot expect anything of that: it is not a machine that boot() made");
  }
  return new Expectation(machine);
}

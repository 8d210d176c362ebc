import type { Address } from "../guest/address.ts";
import type { MemoryContent } from "../machine/memory/address_space.ts";
import { MachineCpu } from "../machine/machine.ts";
import type { CallInput, RunOptions } from "../machine/run/run_options.ts";
import type { RegisterValues } from "../machine/registers/registers.ts";
import { fromCaller } from "../machine/run/run_errors.ts";
import type { MsrValues } from "../x86/msrs/msr_number.ts";
import type { RflagsFlag } from "../x86/registers/flag_tables.ts";
import type { FlagValues } from "../x86/registers/flags.ts";
import type { ExceptionName } from "../x86/exceptions/exceptions.ts";
import { assertResult, type Matcher, type MatcherResult } from "./failure_page.ts";
import { checkArguments } from "./patterns/access_data.ts";
import type { FaultFields } from "./patterns/fault.ts";
import { matchEnd, matchExitStatus, matchTimeLimit } from "./matchers/end.ts";
import { matchFault } from "./matchers/fault.ts";
import { matchMemory } from "./matchers/memory.ts";
import { matchMsrs, matchRegisters } from "./matchers/registers.ts";
import { matchScreen } from "./matchers/screen.ts";
import { matchPortOutput, matchSerial, matchSerialPart } from "./matchers/output.ts";
import {
  type CpuTranscripts,
  matchCall,
  matchTranscript,
  type TranscriptOptions,
} from "./matchers/transcript.ts";
import type { RegisterDefinitions } from "../devices/register_definition.ts";
import { RegisterMap } from "../devices/register_map.ts";
import { RegisterMapExpectation } from "./matchers/register_map.ts";
import type { ExitPattern } from "./patterns/exit_pattern.ts";

/**
 * What can be expected of a stopped machine, as it is or, after `.not`, as it is not.
 *
 * Every matcher throws a `TypeError` where it would hold by accident: of what a guest has done that has not run; after
 * `.not`, of several values of which one alone need differ, of an exit status that nobody wrote, and of a port's output
 * that is the same in accesses of another width.
 */
export class StateExpectation {
  readonly #machine: MachineCpu;
  readonly #negated: boolean;

  /** Use {@linkcode expect}. */
  constructor(machine: MachineCpu, negated: boolean) {
    this.#machine = machine;
    this.#negated = negated;
  }

  /**
   * The registers have these values. Only those that are named are compared; a segment given as a number is
   * compared by its selector, a vector given as lanes (`{ xmm0: { f32: [1, 2, 3, 4] } }`) lane by lane, and a
   * register of x87's stack given as a number by the nearest double.
   *
   * @throws {AssertionError} When one differs.
   * @throws {RangeError} When there is no register or label of a name, or the register could not hold the value.
   * @throws {TypeError} When none is named, or a value is undefined, or true or false for what is no flag.
   */
  toHaveRegisters(values: RegisterValues): void {
    this.#assert(
      () => matchRegisters(this.#machine, "toHaveRegisters", values),
      this.toHaveRegisters,
    );
  }

  /**
   * RFLAGS has these flags. Only those that are named are compared.
   *
   * @throws {AssertionError} When one differs.
   * @throws {RangeError} When there is no flag of a name, or it could not hold the value.
   * @throws {TypeError} When none is named, or a value is undefined.
   */
  toHaveFlags(flags: FlagValues<RflagsFlag>): void {
    this.#assert(() => matchRegisters(this.#machine, "toHaveFlags", flags), this.toHaveFlags);
  }

  /**
   * The model-specific registers have these values, by name or number. Only those that are named are compared.
   *
   * @throws {AssertionError} When one differs.
   * @throws {RangeError} When there is none of a name, or it could not hold the value.
   * @throws {MsrError} When the vCPU does not have one.
   * @throws {TypeError} When none is named, or a value is undefined.
   */
  toHaveMsrs(values: MsrValues): void {
    this.#assert(() => matchMsrs(this.#machine, values), this.toHaveMsrs);
  }

  /**
   * Memory holds this content at a guest physical address, or where a label was loaded.
   *
   * @throws {AssertionError} When a byte differs.
   * @throws {RangeError} When there is no such label, or no memory.
   */
  toHaveMemory(gpa: Address, content: MemoryContent): void {
    const { memory } = this.#machine;
    this.#assert(() => matchMemory(memory, "toHaveMemory", gpa, content), this.toHaveMemory);
  }

  /**
   * Memory holds this content at a linear address or a label, through the guest's page tables.
   *
   * @throws {AssertionError} When a byte differs.
   * @throws {RangeError} When it is not mapped, or there is no memory.
   */
  toHaveLinearMemory(linear: Address, content: MemoryContent): void {
    this.#assert(
      () => matchMemory(this.#machine.linear, "toHaveLinearMemory", linear, content),
      this.toHaveLinearMemory,
    );
  }

  /**
   * The guest has written exactly this to a port, whoever answered.
   *
   * @param size The width of each `out` in bytes: 1, 2 or 4. Wider ones bring their lowest byte first. Default 1.
   * @throws {AssertionError} When it has not, or by writes of another width.
   * @throws {RangeError} When there is no such port or width, or the content is not bytes.
   */
  toHavePortOutput(port: number, content: MemoryContent, size: 1 | 2 | 4 = 1): void {
    this.#assert(() => matchPortOutput(this.#machine, port, content, size), this.toHavePortOutput);
  }

  /**
   * The text on the serial line is this string, or has a match of this regular expression.
   *
   * @throws {AssertionError} When it is not.
   * @throws {RangeError} When every text has a match of the expression.
   * @throws {TypeError} When the machine was booted with `serial: false`.
   */
  toHaveSerial(text: string | RegExp): void {
    this.#assert(() => matchSerial(this.#machine, text), this.toHaveSerial);
  }

  /**
   * The text screen shows this, of a machine that has one (`TextScreen`): a string is somewhere in its text, whose rows
   * end in line feeds and have no blanks at their ends; a list is its rows, from the top, all that are not blank; a
   * regular expression has a match in the text.
   *
   * @throws {AssertionError} When it does not.
   * @throws {RangeError} When every screen does: the string is empty, or the expression matches all.
   * @throws {TypeError} When the machine has no screen.
   */
  toHaveScreen(text: string | RegExp | readonly string[]): void {
    this.#assert(() => matchScreen(this.#machine, text), this.toHaveScreen);
  }

  /**
   * The text on the serial line has this string in it.
   *
   * @throws {AssertionError} When it has not.
   * @throws {RangeError} When it is empty: every text contains that.
   * @throws {TypeError} When the machine was booted with `serial: false`.
   */
  toHaveSerialContaining(text: string): void {
    this.#assert(() => matchSerialPart(this.#machine, text), this.toHaveSerialContaining);
  }

  /**
   * The guest's latest exit was HLT, and it stands there.
   *
   * @throws {AssertionError} When it was another, RIP or CS was set since, or the guest has not run.
   */
  toBeHalted(): void {
    this.#assert(() => matchEnd(this.#machine, "toBeHalted()", "HLT"), this.toBeHalted);
  }

  /**
   * The guest's latest exit was SHUTDOWN: it has triple-faulted. A run ends there without an error only with
   * `until: "shutdown"`, or in a transcript by {@linkcode shutdown}.
   *
   * @throws {AssertionError} When it was another, or the guest has not run.
   */
  toBeShutDown(): void {
    this.#assert(() => matchEnd(this.#machine, "toBeShutDown()", "SHUTDOWN"), this.toBeShutDown);
  }

  /**
   * The guest has written this to its exit port, in its latest run (or loop over its exits, or transcript).
   *
   * @throws {AssertionError} When it has not, or another value.
   */
  toHaveExitStatus(status: number): void {
    this.#assert(() => matchExitStatus(this.#machine, status), this.toHaveExitStatus);
  }

  #assert(match: () => MatcherResult, matcher: Matcher): void {
    assertResult(this.#machine, fromCaller(matcher, match), this.#negated, matcher);
  }
}

/** What can be expected of a machine. */
export class Expectation extends StateExpectation {
  readonly #machine: MachineCpu;

  /** Use {@linkcode expect}. */
  constructor(machine: MachineCpu) {
    super(machine, false);
    this.#machine = machine;
  }

  /** The opposite of what follows. */
  get not(): StateExpectation {
    return new StateExpectation(this.#machine, true);
  }

  /**
   * Runs the guest, which must cause exactly these exits in this order; reads are answered as the patterns
   * say. After a HLT in the middle the guest is run on.
   *
   * It stops as soon as the last pattern has come as often as it must, with the instruction of that exit done: of what
   * the guest would do next nothing is said. End with {@linkcode hlt} where it is to end, or ask for
   * `then: "silence"`. A later call goes on where this one stopped.
   *
   * Exits that a device of the machine answers may come in between, unless a pattern names their port or
   * address.
   *
   * On a machine with several CPUs a transcript is about this CPU's exits; those of the others are their handlers'. An
   * object has transcripts for several CPUs in one run, by their numbers: `{ 0: [hlt()], 1: [hlt()] }`. Which of two
   * CPUs comes first does not matter. A CPU whose transcript is done may go on, loop and halt, but has no other exits
   * that nobody answers, until all transcripts are done.
   *
   * @throws {AssertionError} At the first exit that is not the one expected, and when the time limit is over.
   * @throws {UnhandledExitError} When a read matches a pattern that has no answer, and no device has one.
   * @throws {TypeError} When the transcript is none, there is no option of a name, or the machine was booted without
   *   `catchFaults` and a fault is expected.
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
  toExit(
    transcript: readonly ExitPattern[] | CpuTranscripts,
    options: TranscriptOptions = {},
  ): void {
    this.#assertRun(() => matchTranscript(this.#machine, transcript, options), this.toExit);
  }

  /**
   * Runs the guest, which must still be running when the time limit is over: that it waits in HLT, or for the SIPI that
   * starts it, is not enough. The machine can be looked at
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
   * expect(vm).toHaveRegisters({ rip: "again" });
   * ```
   */
  toRunOutOfTime(options: RunOptions = {}): void {
    this.#assertRun(() => matchTimeLimit(this.#machine, options), this.toRunOutOfTime);
  }

  /**
   * Runs the guest until it faults, which must be by this exception, and have these fields; devices answer its
   * exits before that. The machine must have been booted with `catchFaults: true`.
   *
   * Afterwards the registers are those at the fault, `vm.fault` has all of it, and running on tries the instruction
   * again, or, behind a trap (`#BP`), goes on.
   *
   * @param name The exception's name: `"#GP"`; `"int 0x21"` for that instruction, without a handler, in real mode.
   * @param fields Left out, only the name is compared. Before options, {} says so.
   * @throws {AssertionError} When another fault comes, or none until the guest ends or its time is over.
   * @throws {UnhandledExitError} At an exit that no handler answers.
   * @throws {TypeError} When the machine was booted without `catchFaults`, there is no such field, or such exceptions
   *   do not have it.
   * @throws {RangeError} When there is no exception of that name, or a value does not fit.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, expect } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   bits 64
   * broken:
   *   mov [0x4000], al
   *   hlt
   * `, { catchFaults: true, mappings: [{ linear: 0x4000, size: 0x1000, present: false }] });
   *
   * expect(vm).toFault("#PF", { errorCode: 0x2, cr2: 0x4000, rip: "broken" });
   * ```
   */
  toFault(
    name: ExceptionName | `int 0x${string}`,
    fields?: FaultFields,
    options?: RunOptions,
  ): void {
    this.#assertRun(() => {
      checkArguments("toFault", arguments, ["name", "fields", "options"]);
      return matchFault(this.#machine, name, fields, options);
    }, this.toFault);
  }

  /**
   * Calls one routine of the guest, as {@linkcode MachineCpu.call} does: its exits must be exactly those of the
   * transcript, in this order, whoever else would answer them, and then it must return. Reads are answered as the
   * patterns say.
   *
   * @param routine A label, or a linear address.
   * @param given Registers by name, or the arguments by the C convention.
   * @param transcript Its exits; an empty list for a routine that has none.
   * @throws {AssertionError} At the first exit that is not the one expected, when it returns before the last has come,
   *   and when the time limit is over.
   * @throws {CallError} When it comes back with another RSP or CS, or without registers of its caller, or does not return.
   * @throws {UnhandledExitError} When a read matches a pattern that has no answer, and no device has one.
   * @throws {TypeError | RangeError} As {@linkcode MachineCpu.call} does, and when the transcript is none.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, expect, portIn, portOut } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   hlt
   * uart_putc:
   *   mov ah, al
   *   mov dx, 0x3fd
   * .wait:
   *   in al, dx
   *   test al, 0x20
   *   jz .wait
   *   mov al, ah
   *   mov dx, 0x3f8
   *   out dx, al
   *   ret
   * `);
   * expect(vm).toCall("uart_putc", { al: 0x41 }, [
   *   portIn(0x3fd).returns(0),
   *   portIn(0x3fd).returns(0x20),
   *   portOut(0x3f8, "A"),
   * ]);
   * ```
   */
  toCall(
    routine: Address,
    given: CallInput,
    transcript: readonly ExitPattern[],
    options: Pick<RunOptions, "timeout" | "pending"> = {},
  ): void {
    this.#assertRun(
      () => matchCall(this.#machine, { routine, given }, transcript, options),
      this.toCall,
    );
  }

  /** @param prepare Checks what the test expects, and gives what runs the guest. */
  #assertRun(prepare: () => () => MatcherResult, matcher: Matcher): void {
    const run = fromCaller(matcher, prepare);
    assertResult(this.#machine, fromCaller(matcher, run), false, matcher);
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
export function expect(machine: MachineCpu): Expectation;
/** Assertions on what a guest did to a device that exists as its registers. */
export function expect<Registers extends RegisterDefinitions>(
  map: RegisterMap<Registers>,
): RegisterMapExpectation;
export function expect(
  subject: MachineCpu | RegisterMap<RegisterDefinitions>,
): Expectation | RegisterMapExpectation {
  return fromCaller(expect, () => {
    if (subject instanceof MachineCpu) return new Expectation(subject);
    if (subject instanceof RegisterMap) return new RegisterMapExpectation(subject);
    throw new TypeError(
      "Cannot expect anything of that: it is not a machine that boot() made, nor a RegisterMap",
    );
  });
}

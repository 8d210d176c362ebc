import type { Incident } from "../../x86/diagnosis/incident.ts";
import type { Cpu } from "../cpu.ts";
import { accessesOf } from "../../x86/diagnosis/accesses.ts";
import { GuestView, isCode } from "../../x86/diagnosis/guest_view.ts";
import { tableEntries } from "../../x86/diagnosis/descriptors.ts";
import { checkSegment } from "../../x86/diagnosis/memory_rules.ts";
import { readInstruction } from "../../x86/diagnosis/operands.ts";
import type { Segment } from "../../x86/registers/segment.ts";
import { emulatedMachineName, emulatorLacks } from "../host/emulated_machine.ts";
import type { Postmortem } from "../report/postmortem.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { ForgivenFaultError } from "../run/run_errors.ts";
import { memoryReader } from "../memory/physical_memory.ts";
import { incidentOf } from "./incident_of.ts";
import { RepeatedRun, RepeatError, type RunToRepeat } from "./repeated_run.ts";
import { decoded, type Moment, momentOf, putBack, registersOf } from "./steps.ts";

/** How many instructions of a run are looked at. */
const MOST_STEPS = 3_000;

/** How long that may take, in milliseconds. */
const LONGEST_MILLISECONDS = 2_000;

/** Of a machine that is run again and again, how often. */
const MOST_CHECKS = 3;

/** What 16-bit code reaches, and 32-bit code: the limits of segments that it cannot leave. */
const WHOLE = { 16: 0xffff, 32: 0xffff_ffff } as const;

/** The accessed bit of a code or data segment's type. */
const ACCESSED = 1;

/** What the emulated processor is called on which KVM runs. */
const EMULATOR = "QEMU's emulated processor";

/** Whether the processor that KVM runs on forgives what hardware does not. */
export function forgives(): boolean {
  return emulatedMachineName() !== undefined && emulatorLacks("segmentChecks");
}

/**
 * Finds, in a run that has ended well, what the processors of the manuals do not let through. Only a guest that has used
 * segments whose limits it can exceed, or null ones, is run once more, instruction by instruction: all others cost a look at
 * their GDT.
 */
export class StrictCheck {
  readonly #what: RunToRepeat;
  #checks = 0;

  /** That of one machine. */
  constructor(what: RunToRepeat) {
    this.#what = what;
  }

  /** @throws {ForgivenFaultError} When it finds something. */
  check(cpu: StoppedCpu): void {
    const { original } = this.#what;
    if (
      this.#checks === MOST_CHECKS || original.cpus.length > 1 || !isSuspicious(original.cpus[0])
    ) return;
    this.#checks++;
    try {
      using run = new RepeatedRun(this.#what, LONGEST_MILLISECONDS);
      const found = this.#find(run);
      if (found !== undefined) throw new ForgivenFaultError(cpu, found, EMULATOR);
    } catch (error) {
      // What cannot be repeated is not known.
      if (!(error instanceof RepeatError)) throw error;
    }
  }

  #find(run: RepeatedRun): Postmortem | undefined {
    const moments: Moment[] = [];
    run.visit = () => {
      if (moments.length === MOST_STEPS) throw new RepeatError("it executes more instructions");
      moments.push(momentOf(run.cpu));
    };
    try {
      run.runTo(this.#what.original.log.total);
    } catch (error) {
      // What was executed until then is looked at.
      if (!(error instanceof RepeatError)) throw error;
    }
    run.visit = undefined;
    const at = firstForgiven(run, moments);
    if (at === undefined) return undefined;
    const steps = moments.slice(0, at + 1);
    putBack(run.cpu, moments[at]);
    const nothing = { interrupt: undefined, exception: undefined };
    const { bootRegisters } = this.#what.original.cpus[0];
    const incident = incidentOf(run.cpu, { moments: steps, ...nothing }, bootRegisters);
    return {
      cpu: run.cpu,
      incident,
      stepCount: at,
      isMore: false,
      hasStrayed: false,
      doubt: undefined,
    };
  }
}

/** The first of some instructions that accesses what its segment does not allow. */
function firstForgiven(run: RepeatedRun, moments: readonly Moment[]): number | undefined {
  const texts = decoded(moments).map(({ text }) => text);
  const index = moments.findIndex((moment, index) => {
    const view = viewOf(run.cpu, moment, texts[index]);
    if (view.mode !== "protected" && view.mode !== "compatibility") return false;
    const accesses = accessesOf(readInstruction(texts[index], view.bits), view.incident, view.bits);
    return accesses.some((access) => checkSegment(view, access) !== undefined);
  });
  return index < 0 ? undefined : index;
}

/** Whether a guest may have accessed what its segments do not allow. */
function isSuspicious(cpu: Cpu): boolean {
  const { registers } = cpu;
  if (!registers.cr0.pe || registers.efer.lma) return false;
  if (
    [registers.ds, registers.es].some(({ unusable, selector }) => unusable === 1 && selector < 4)
  ) return true;
  const used = tableEntries(viewOf(cpu, momentOf(cpu), "")).map(({ segment }) => segment)
    .filter(isUsed);
  const whole = WHOLE[used.some((each) => isCode(each) && each.db === 1) ? 32 : 16];
  return used.some((each) => !isCode(each) && each.limit < whole);
}

function isUsed({ s, present, type }: Segment): boolean {
  return s === 1 && present === 1 && (type & ACCESSED) !== 0;
}

/** What rules ask of a moment, in whose memory nothing has to be found by names. */
function viewOf(cpu: Cpu, moment: Moment, text: string): GuestView {
  const { linear, bits, bytes } = moment;
  const incident: Incident = {
    ...registersOf(moment),
    instruction: { linear, bits, bytes, text },
    read: memoryReader(cpu.memory),
    steps: [],
    vendor: "amd",
  };
  return new GuestView(incident, () => undefined);
}

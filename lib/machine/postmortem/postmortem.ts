import { kvm_debugregs } from "../../kvm/abi/structs/registers.ts";
import type { Incident } from "../../x86/diagnosis/incident.ts";
import type { Board } from "../board.ts";
import type { Cpu } from "../cpu.ts";
import { isAmd } from "../host/host_checks.ts";
import { emulatorLacks } from "../host/emulated_machine.ts";
import type { Postmortem, PostmortemResult } from "../report/postmortem.ts";
import { exitText } from "../report/exit_text.ts";
import { RepeatedRun, RepeatError, type RunToRepeat } from "./repeated_run.ts";
import { registersOf, type Steps, stepToEnd, textsOf } from "./steps.ts";

/** Finds out why the guest of a machine has shut down, by running it once more. */
export class Examiner implements Disposable {
  readonly #what: RunToRepeat;
  #known: { readonly of: string; readonly result: PostmortemResult } | undefined;
  #run: RepeatedRun | undefined;

  /** That of one machine. */
  constructor(what: RunToRepeat) {
    this.#what = what;
  }

  /**
   * Runs the guest once more up to its latest exit, a SHUTDOWN: on a machine of its own, which lives until the next, or
   * until this one is disposed.
   */
  examine(): PostmortemResult {
    const { log: { total }, inputs: { timesBegun } } = this.#what.original;
    const of = `${timesBegun}:${total}`;
    if (this.#known?.of === of) return this.#known.result;
    this[Symbol.dispose]();
    const result = this.#examine(total);
    this.#known = { of, result };
    return result;
  }

  #examine(exit: number): PostmortemResult {
    if (emulatorLacks("singleStep")) {
      return { obstacle: "this host's KVM executes no single steps" };
    }
    try {
      const run = this.#run = new RepeatedRun(this.#what);
      run.runTo(exit - 1);
      return found(run, stepToEnd(run), this.#what.original);
    } catch (error) {
      if (error instanceof RepeatError) return { obstacle: error.message };
      throw error;
    }
  }

  /** Ends the machine on which it was run. */
  [Symbol.dispose](): void {
    this.#run?.[Symbol.dispose]();
    this.#run = undefined;
  }
}

function found(run: RepeatedRun, steps: Steps, original: Board): Postmortem {
  if (steps.exit.reason !== "SHUTDOWN") {
    throw new RepeatError(
      `it went another way: exit ${run.exit + 1} was ${exitText(steps.exit)} instead of SHUTDOWN`,
    );
  }
  const [cpu] = run.board.cpus;
  const last = steps.moments.at(-1)!;
  // At the triple fault KVM has reset it.
  cpu.vcpu.registers.setSregs(last.special);
  cpu.vcpu.registers.setRegs(last.general);
  cpu.store.forget();
  return {
    cpu,
    incident: incidentOf(cpu, steps, original),
    stepCount: steps.count,
    doubt: doubtOf(run, original),
  };
}

function doubtOf(run: RepeatedRun, original: Board): string | undefined {
  if (run.isLate) {
    return "something came to the guest between two exits, nobody knows at which instruction";
  }
  if (original.hasViews) return "somebody holds guest memory itself (vm.memory.view)";
  return undefined;
}

function incidentOf(cpu: Cpu, { moments, interrupt }: Steps, original: Board): Incident {
  const texts = textsOf(moments);
  const last = moments.length - 1;
  const { linear, bits, bytes } = moments[last];
  const { memory } = cpu;
  const { registers, specialRegisters } = registersOf(moments[last]);
  const boot = original.cpus[0].bootRegisters;
  return {
    registers,
    specialRegisters,
    debugRegisters: kvm_debugregs.read(new DataView(cpu.store.view("debug").buffer)).db,
    instruction: { linear, bits, bytes, text: texts[last] },
    interrupt,
    read: (gpa, size) => memory.slotAt(gpa) === undefined ? undefined : memory.read(gpa, size),
    steps: moments.slice(0, -1).map((moment, index) => ({
      linear: moment.linear,
      bits: moment.bits,
      text: texts[index],
      ...registersOf(moment),
    })),
    boot: { registers: boot, specialRegisters: boot },
    features: new Set(cpu.cpuid.features),
    vendor: isAmd(cpu.cpuid.entries) ? "amd" : "intel",
  };
}

import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { ofCpu } from "../report/cpus_section.ts";
import { statePage } from "../report/state_page.ts";
import { TIMEOUT_SCALE_VARIABLE, timeoutScale } from "./time_limit.ts";

/**
 * A run took longer than its time limit. The guest may hang in a loop, wait in HLT for an interrupt that does
 * not come, or cause exits without end; the message says where it was. The machine is whole: it can be looked
 * at, and run on.
 */
export class TimeLimitError extends Error {
  /** The name that reporters print. */
  override readonly name = "TimeLimitError";
  /** The limit, in milliseconds, as scaled for this host. */
  readonly milliseconds: number;
  /** Where the guest was: its instruction pointer. */
  readonly rip: bigint;

  /**
   * The error with the state of the machine as it was stopped.
   *
   * @param milliseconds The limit, as scaled.
   */
  constructor(machine: StoppedCpu, milliseconds: number) {
    const scale = timeoutScale();
    const limit = scale === 1
      ? `${milliseconds} ms`
      : `${milliseconds} ms (${milliseconds / scale} ms × ${TIMEOUT_SCALE_VARIABLE}=${scale})`;
    super(
      `The guest did not end within ${limit}: it was stopped at rip 0x${
        machine.registers.rip.toString(16)
      }${ofCpu(machine)} after ${machine.log.total} exits.${
        waiting(machine)
      } Give it more with the \`timeout\` option, or on a slow host with ${TIMEOUT_SCALE_VARIABLE}.` +
        `\n\n${statePage(machine)}`,
    );
    this.milliseconds = milliseconds;
    this.rip = machine.registers.rip;
  }
}

/** A guest that is halted with interrupts disabled has ended: here it waits for one. */
function waiting(machine: StoppedCpu): string {
  return machine.mpState === "HALTED"
    ? ' It is halted, waiting for an interrupt: raise one by vm.interrupts, or let the run end there with { until: "halted" }.'
    : "";
}

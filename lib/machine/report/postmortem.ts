import type { Incident } from "../../x86/diagnosis/incident.ts";
import type { ExitLog } from "../exits/exit_log.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

/** What a repeated run has shown of a guest that could not go on. */
export interface Postmortem {
  /** The CPU of the repeated run, right before the instruction that failed. */
  readonly cpu: StoppedCpu;
  /** The same as plain data. */
  readonly incident: Incident;
  /** How many instructions the guest has executed since its latest exit before that. */
  readonly stepCount: number;
  /** Whether they are more: the rounds of a loop are not counted. */
  readonly isMore: boolean;
  /** Whether it was left before its last exit: where it executed zeros, or raised an exception over and over. */
  readonly hasStrayed: boolean;
  /** Why it need not be what happened in the first run; undefined where it is. */
  readonly doubt: string | undefined;
}

/** It, or why there is none. */
export type PostmortemResult = Postmortem | { readonly obstacle: string };

/** Who repeats the run of the machine that has a log. */
const EXAMINERS = new WeakMap<ExitLog, () => PostmortemResult | undefined>();

/** Says who repeats the run of the machine that has this log, once its guest could not go on. */
export function setExaminer(
  log: ExitLog,
  examine: () => PostmortemResult | undefined,
): void {
  EXAMINERS.set(log, examine);
}

/** What a repeated run shows of a guest that could not go on; undefined where nobody repeats it. */
export function postmortemOf({ log }: Pick<StoppedCpu, "log">): PostmortemResult | undefined {
  return EXAMINERS.get(log)?.();
}

import type { Exit } from "../../kvm/exits/exit.ts";
import { pendingEvents } from "../interrupts/injection.ts";
import type { CpuRunner } from "./cpu_runner.ts";
import { PendingEventError } from "./run_errors.ts";

/** The reasons of exits that a test has asked for, wherever the guest is. */
const FOR_THE_TEST: readonly unknown[] = ["DEBUG", "IRQ_WINDOW_OPEN"];

/** Whether a run that ended with this exit ended for the test's sake, and not by itself. */
export function isForTheTest(exit: Exit | undefined): boolean {
  return FOR_THE_TEST.includes(exit?.reason);
}

/**
 * Checks that CPUs whose run has ended have taken what was injected, or that it is still pending where it is to be.
 *
 * @param ofDevices What was planned of devices, and has not come about.
 * @throws {PendingEventError} When it is otherwise.
 */
export function checkPending(
  runners: readonly CpuRunner[],
  ofDevices: readonly string[],
  isToBe: boolean = false,
): void {
  for (const { parts: { cpu, inject } } of runners) {
    const pending = pendingEvents(inject);
    if (pending.length === 0) continue;
    if (isToBe) return;
    throw new PendingEventError(cpu, pending, []);
  }
  if (ofDevices.length > 0 === isToBe) return;
  throw new PendingEventError(runners[0].parts.cpu, [], ofDevices);
}

import { KVM_SYSTEM_EVENT } from "../../kvm/abi/constants.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { KvmRunPage } from "../../kvm/kvm_run_page.ts";

const TYPE_MASK = 0xff;
const INIT = 0x100;
const BY_TEST = 0x200;

/** What is asked of a machine beside its CPUs' exits: SYSTEM_EVENT's types, and INIT, for which KVM has none. */
export const SYSTEM_EVENT = {
  /** The power goes off. */
  SHUTDOWN: KVM_SYSTEM_EVENT.SHUTDOWN,
  /** RESET#: all of the machine is as at power-on, but for its memory. */
  RESET: KVM_SYSTEM_EVENT.RESET,
  /** INIT#: the CPUs begin again, and nothing else does. */
  INIT: KVM_SYSTEM_EVENT.RESET | INIT,
  /** That, asked for by the test: nobody need foresee it. */
  INIT_BY_TEST: KVM_SYSTEM_EVENT.RESET | INIT | BY_TEST,
  /** Another thread has kicked the CPUs out of their run: the exit INTR, as of `KVM_RUN` that a signal ends. */
  KICK: 0x400,
} as const;

/** SYSTEM_EVENT's data of a reset by INIT; one by RESET# has none. */
export const INIT_DATA = 1n;

/** Whether it is INIT. */
export function isInit(event: number): boolean {
  return (event & INIT) !== 0;
}

/** Makes it the latest exit. */
export function setEvent(kvmRun: KvmRunPage, event: number): void {
  if (event === SYSTEM_EVENT.KICK) kvmRun.exitReason = EXIT_REASON.INTR;
  else kvmRun.setSystemEvent(event & TYPE_MASK, isInit(event) ? INIT_DATA : undefined);
}

/** Says of the latest exit what it is, where its reason does not, and that the test has asked for it. */
export function describeEvent(
  log: { setDescription(text: string): void; setAnsweredBy(name: string): void },
  event: number,
): void {
  if (isInit(event)) log.setDescription("INIT: the CPU begins at its reset vector");
  if ((event & BY_TEST) !== 0) log.setAnsweredBy("the test");
}

import { KVM_SYSTEM_EVENT } from "../../kvm/abi/constants.ts";

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
} as const;

/** SYSTEM_EVENT's data of a reset by INIT; one by RESET# has none. */
export const INIT_DATA = 1n;

/** The type that an event has in the exit that reports it. */
export function systemEventType(event: number): number {
  return event & TYPE_MASK;
}

/** Whether it is INIT. */
export function isInit(event: number): boolean {
  return (event & INIT) !== 0;
}

/** Whether the test has asked for it. */
export function isByTest(event: number): boolean {
  return (event & BY_TEST) !== 0;
}

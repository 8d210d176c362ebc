import { KVM_MP_STATE, KVM_VCPUEVENT_VALID, KVM_X86_SHADOW_INT } from "../../kvm/abi/mod.ts";
import type { KvmVcpuEvents } from "../../kvm/abi/structs/vcpu.ts";
import { type ExceptionName, exceptionOf } from "../../x86/exceptions/exceptions.ts";
import { noneOfThatName } from "../../x86/nearest_names.ts";

/** What a stopped vCPU is about to take, and what it holds back (`struct kvm_vcpu_events`, api.rst 4.31). */
export interface VcpuEventState {
  /** The exception that it is about to take, or undefined. */
  readonly exception: undefined | {
    /** Its name: `"#PF"`. */
    readonly name: ExceptionName;
    /** Its vector. */
    readonly vector: number;
    /** Its error code, where it has one. */
    readonly errorCode: number | undefined;
    /** What CR2 (of #PF) or DR6 (of #DB) will get, where KVM has not written it yet. */
    readonly payload: bigint | undefined;
    /** Whether its delivery has begun: then nothing comes before it. */
    readonly injected: boolean;
  };
  /** The interrupt whose delivery has begun, or undefined; `soft` is one of an INT instruction. */
  readonly interrupt: { readonly vector: number; readonly soft: boolean } | undefined;
  /** What holds interrupts back for one more instruction. AMD's CPUs do not tell the two apart. */
  readonly shadow: "STI" | "MOV SS" | "STI or MOV SS" | undefined;
  /** Non-maskable interrupts: whether one waits, is being delivered, and whether they are held back. */
  readonly nmi: { readonly pending: boolean; readonly injected: boolean; readonly masked: boolean };
  /** System-management interrupts: whether one waits, and whether the CPU is in their mode. */
  readonly smi: { readonly pending: boolean; readonly inSmm: boolean };
  /** Whether a triple fault waits. */
  readonly tripleFault: boolean;
}

/** The events that KVM tells of, by name. */
export function vcpuEventState(events: KvmVcpuEvents): VcpuEventState {
  const { exception, interrupt, nmi, smi, triple_fault, flags } = events;
  const isValid = (flag: keyof typeof KVM_VCPUEVENT_VALID) =>
    (flags & KVM_VCPUEVENT_VALID[flag]) !== 0;
  return {
    exception: exception.injected === 0 && exception.pending === 0 ? undefined : {
      name: exceptionOf(exception.nr).name,
      vector: exception.nr,
      errorCode: exception.has_error_code === 0 ? undefined : exception.error_code,
      payload: events.exception_has_payload === 0 ? undefined : events.exception_payload,
      injected: exception.injected !== 0,
    },
    interrupt: interrupt.injected === 0
      ? undefined
      : { vector: interrupt.nr, soft: interrupt.soft !== 0 },
    shadow: shadowOf(interrupt.shadow),
    nmi: { pending: nmi.pending !== 0, injected: nmi.injected !== 0, masked: nmi.masked !== 0 },
    smi: { pending: smi.pending !== 0, inSmm: smi.smm !== 0 },
    tripleFault: isValid("TRIPLE_FAULT") && triple_fault.pending !== 0,
  };
}

function shadowOf(bits: number): VcpuEventState["shadow"] {
  const { STI, MOV_SS } = KVM_X86_SHADOW_INT;
  if ((bits & STI) !== 0) return (bits & MOV_SS) !== 0 ? "STI or MOV SS" : "STI";
  return (bits & MOV_SS) !== 0 ? "MOV SS" : undefined;
}

/** The multiprocessing states that a vCPU of x86 has (`KVM_GET_MP_STATE`, api.rst 4.38). */
export type MpState =
  /** It runs, when it is asked to. */
  | "RUNNABLE"
  /** It waits for an INIT: an application processor of a machine with interrupt controllers. */
  | "UNINITIALIZED"
  /** It has had an INIT, and waits for a SIPI. */
  | "INIT_RECEIVED"
  /** It has executed HLT, and waits for an interrupt. */
  | "HALTED"
  /** It has just had a SIPI. */
  | "SIPI_RECEIVED"
  /** It is held by an AP reset hold. */
  | "AP_RESET_HOLD";

const STATES: readonly MpState[] = [
  "RUNNABLE",
  "UNINITIALIZED",
  "INIT_RECEIVED",
  "HALTED",
  "SIPI_RECEIVED",
  "AP_RESET_HOLD",
];

/** A state by the number that KVM has for it. */
export function mpStateOf(number: number): MpState {
  const found = STATES.find((name) => KVM_MP_STATE[name] === number);
  if (found !== undefined) return found;
  throw new RangeError(`Cannot name the MP state ${number}: no vCPU of x86 has it`);
}

/** The number that KVM has for a state. @throws {RangeError} When there is none of that name. */
export function mpStateNumber(name: MpState): number {
  if (STATES.includes(name)) return KVM_MP_STATE[name];
  throw new RangeError(
    `Cannot set the MP state as "${name}": ${noneOfThatName(String(name), STATES)}`,
  );
}

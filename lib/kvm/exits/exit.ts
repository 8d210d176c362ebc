import type { ExitReasonName } from "../abi/exit_reasons.ts";

/** `kvm_run.flags`: what the vCPU was doing when it left the guest. */
export interface RunFlags {
  /** It was in system-management mode (KVM_RUN_X86_SMM). */
  readonly smm: boolean;
  /** It had just locked the bus (KVM_RUN_X86_BUS_LOCK). */
  readonly busLock: boolean;
  /** It was in a guest of the guest (KVM_RUN_X86_GUEST_MODE, from Linux 6.12 on). */
  readonly guestMode: boolean;
}

/** What every exit has. */
export interface ExitBase<Reason extends string> {
  /** The header's name without `KVM_EXIT_`. */
  readonly reason: Reason;
  /** `kvm_run.exit_reason`. */
  readonly number: number;
  /** `kvm_run.flags`. */
  readonly runFlags: RunFlags;
}

/** The reasons that carry nothing. */
export type PlainReason =
  | "HLT"
  | "IRQ_WINDOW_OPEN"
  | "SHUTDOWN"
  | "INTR"
  | "NMI"
  | "DIRTY_RING_FULL"
  | "AP_RESET_HOLD"
  | "X86_BUS_LOCK";

/** Exits whose reason is all there is to say; one variant for each. */
export type PlainExit = { [Reason in PlainReason]: ExitBase<Reason> }[PlainReason];

/** The hardware left the guest for a reason that KVM does not know. */
export interface UnknownExit extends ExitBase<"UNKNOWN"> {
  /** The hardware's own number. */
  readonly hardware_exit_reason: bigint;
}

/** An exception that KVM could not handle. */
export interface ExceptionExit extends ExitBase<"EXCEPTION"> {
  /** The vector. */
  readonly exception: number;
  /** The error code that it pushes. */
  readonly error_code: number;
}

/** The guest used a port. */
export interface IoExit extends ExitBase<"IO"> {
  /** Seen from the guest: `"in"` wants an answer. */
  readonly direction: "in" | "out";
  /** The port. */
  readonly port: number;
  /** Bytes of one access: 1, 2 or 4. */
  readonly size: number;
  /** How many accesses: more than 1 for a string instruction. */
  readonly count: number;
  /**
   * Of `"out"`, a copy of the `size * count` bytes, which other exits with the same bytes may share: copy it before you
   * change it. Of `"in"`, as many zeros: the answer's room.
   */
  readonly data: Uint8Array;
}

/** The guest reached for memory that no slot backs, or wrote to a read-only one. */
export interface MmioExit extends ExitBase<"MMIO"> {
  /** The guest physical address (`phys_addr`). */
  readonly gpa: number;
  /** Bytes of the access: 1 to 8. */
  readonly len: number;
  /** Whether the guest writes; a read wants an answer. */
  readonly isWrite: boolean;
  /**
   * Of a write, a copy of the `len` bytes, which other exits with the same bytes may share: copy it before you change it.
   * Of a read, as many zeros: the answer's room.
   */
  readonly data: Uint8Array;
}

/** The guest made a hypercall that the process has to answer. */
export interface HypercallExit extends ExitBase<"HYPERCALL"> {
  /** Which: KVM_HC_*. */
  readonly nr: bigint;
  /** That number's name without `KVM_HC_`, where it has one. */
  readonly nrName?: string;
  /** Six arguments. */
  readonly args: readonly bigint[];
  /** What the process answers; the guest gets it in RAX. */
  readonly ret: bigint;
  /** Whether the guest was in 64-bit mode. */
  readonly longmode: boolean;
  /** KVM_EXIT_HYPERCALL_*, from Linux 6.4 on. */
  readonly flags: bigint;
}

/** KVM_SET_GUEST_DEBUG's breakpoint, watchpoint or step. */
export interface DebugExit extends ExitBase<"DEBUG"> {
  /** 1 (#DB) or 3 (#BP). */
  readonly exception: number;
  /** The linear address of the instruction (`rip` with the base of CS). */
  readonly pc: bigint;
  /** DR6: which breakpoint it was. */
  readonly dr6: bigint;
  /** DR7. */
  readonly dr7: bigint;
}

/** The hardware refused to enter the guest: its state is not one that the manual allows. */
export interface FailEntryExit extends ExitBase<"FAIL_ENTRY"> {
  /** The hardware's own number: a VMX exit reason or an SVM exit code. */
  readonly hardware_entry_failure_reason: bigint;
  /** The host CPU it happened on. */
  readonly cpu: number;
}

/** The guest set its task priority below what it was (KVM_EXIT_SET_TPR, without an in-kernel LAPIC). */
export interface SetTprExit extends ExitBase<"SET_TPR"> {
  /** `kvm_run.cr8`: the priority now. */
  readonly cr8: bigint;
}

/** The guest used its task priority register, and KVM_TPR_ACCESS_REPORTING is on. */
export interface TprAccessExit extends ExitBase<"TPR_ACCESS"> {
  /** The instruction that did. */
  readonly rip: bigint;
  /** Whether it writes. */
  readonly isWrite: boolean;
}

/** What KVM says of an instruction that it could not emulate. */
export interface EmulationFailure {
  /** KVM_INTERNAL_ERROR_EMULATION_FLAG_*: what of it is valid. */
  readonly flags: bigint;
  /** How many of the bytes KVM had fetched; undefined where the flags do not vouch for it. */
  readonly insn_size?: number;
  /** The `insn_size` bytes at the instruction. */
  readonly insn_bytes?: Uint8Array;
}

/** KVM gave up. */
export interface InternalErrorExit extends ExitBase<"INTERNAL_ERROR"> {
  /** KVM_INTERNAL_ERROR_*. */
  readonly suberror: number;
  /** Its name without `KVM_INTERNAL_ERROR_`, where it has one. */
  readonly suberrorName?: string;
  /** How many values KVM says it left. */
  readonly ndata: number;
  /** Those values, at most 16. */
  readonly data: readonly bigint[];
  /** Of suberror EMULATION with data: the same bytes as the ABI lays them out. */
  readonly emulation_failure?: EmulationFailure;
}

/** The guest asked the whole machine for something: to shut down, to reset, … */
export interface SystemEventExit extends ExitBase<"SYSTEM_EVENT"> {
  /** KVM_SYSTEM_EVENT_*. */
  readonly type: number;
  /** Its name without `KVM_SYSTEM_EVENT_`, where it has one. */
  readonly typeName?: string;
  /** The older reading of the first value. */
  readonly flags: bigint;
  /** How many values KVM says it left. */
  readonly ndata: number;
  /** Those values, at most 16. */
  readonly data: readonly bigint[];
}

/** The guest ended a level-triggered interrupt of a user-space IOAPIC (split irqchip). */
export interface IoapicEoiExit extends ExitBase<"IOAPIC_EOI"> {
  /** The interrupt's vector. */
  readonly vector: number;
}

/** A guest wrote an MSR of Hyper-V's synthetic interrupt controller. */
export interface HypervSynic {
  /** The MSR. */
  readonly msr: number;
  /** SCONTROL. */
  readonly control: bigint;
  /** SIEFP: the page of event flags. */
  readonly evt_page: bigint;
  /** SIMP: the page of messages. */
  readonly msg_page: bigint;
}

/** A guest made a Hyper-V hypercall. */
export interface HypervHcall {
  /** The hypercall's input value. */
  readonly input: bigint;
  /** What the process answers. */
  readonly result: bigint;
  /** Two parameters. */
  readonly params: readonly bigint[];
}

/** A guest wrote an MSR of Hyper-V's synthetic debugger. */
export interface HypervSyndbg {
  /** The MSR. */
  readonly msr: number;
  /** The control MSR. */
  readonly control: bigint;
  /** The status MSR: the process's answer. */
  readonly status: bigint;
  /** The page to send from. */
  readonly send_page: bigint;
  /** The page to receive into. */
  readonly recv_page: bigint;
  /** The page that says what is pending. */
  readonly pending_page: bigint;
}

/**
 * The guest used a Hyper-V enlightenment that the process handles. One of the three is there, where
 * KVM_EXIT_HYPERV_* names it.
 */
export interface HypervExit extends ExitBase<"HYPERV"> {
  /** KVM_EXIT_HYPERV_*. */
  readonly type: number;
  /** Its name without `KVM_EXIT_HYPERV_`, where it has one. */
  readonly typeName?: string;
  /** Of SYNIC. */
  readonly synic?: HypervSynic;
  /** Of HCALL. */
  readonly hcall?: HypervHcall;
  /** Of SYNDBG. */
  readonly syndbg?: HypervSyndbg;
}

/** The guest used an MSR that user space handles (KVM_CAP_X86_USER_SPACE_MSR). */
export interface MsrExit<Reason extends "X86_RDMSR" | "X86_WRMSR"> extends ExitBase<Reason> {
  /** What the process answers: not 0 gives the guest #GP. */
  readonly error: number;
  /** KVM_MSR_EXIT_REASON_*; the header calls it `reason`. */
  readonly msrReason: number;
  /** Its name without `KVM_MSR_EXIT_REASON_`, where it has one. */
  readonly msrReasonName?: string;
  /** The MSR. */
  readonly index: number;
  /** Of a write, what the guest writes; of a read, the answer's room. */
  readonly data: bigint;
}

/** A guest made a Xen hypercall. */
export interface XenHcall {
  /** 1 where the guest was in 64-bit mode. */
  readonly longmode: number;
  /** Its privilege level. */
  readonly cpl: number;
  /** The hypercall's number. */
  readonly input: bigint;
  /** What the process answers. */
  readonly result: bigint;
  /** Six parameters. */
  readonly params: readonly bigint[];
}

/** The guest made a Xen hypercall. */
export interface XenExit extends ExitBase<"XEN"> {
  /** KVM_EXIT_XEN_*. */
  readonly type: number;
  /** Its name without `KVM_EXIT_XEN_`, where it has one. */
  readonly typeName?: string;
  /** Of HCALL. */
  readonly hcall?: XenHcall;
}

/** The guest went on too long without a window for events (KVM_CAP_X86_NOTIFY_VMEXIT). */
export interface NotifyExit extends ExitBase<"NOTIFY"> {
  /** KVM_NOTIFY_*. */
  readonly flags: number;
  /** KVM_NOTIFY_CONTEXT_INVALID: the vCPU's state is lost. */
  readonly contextInvalid: boolean;
}

/**
 * The guest touched memory that KVM cannot map. KVM_RUN fails with EFAULT or EHWPOISON, and this is valid
 * nevertheless.
 */
export interface MemoryFaultExit extends ExitBase<"MEMORY_FAULT"> {
  /** KVM_MEMORY_EXIT_FLAG_*. */
  readonly flags: bigint;
  /** KVM_MEMORY_EXIT_FLAG_PRIVATE: it was for private memory. */
  readonly isPrivate: boolean;
  /** The guest physical address of the first byte. */
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
}

/** A TDX guest's GetQuote. */
export interface TdxGetQuote {
  /** What the process answers. */
  readonly ret: bigint;
  /** The shared buffer of the request. */
  readonly gpa: bigint;
  /** Its bytes. */
  readonly size: bigint;
}

/** A TDX guest's GetTdVmCallInfo. */
export interface TdxGetTdvmcallInfo {
  /** What the process answers. */
  readonly ret: bigint;
  /** Which leaf it asks about. */
  readonly leaf: bigint;
  /** What the process answers in R11. */
  readonly r11: bigint;
  /** What the process answers in R12. */
  readonly r12: bigint;
  /** What the process answers in R13. */
  readonly r13: bigint;
  /** What the process answers in R14. */
  readonly r14: bigint;
}

/** A TDX guest's SetupEventNotifyInterrupt. */
export interface TdxSetupEventNotify {
  /** What the process answers. */
  readonly ret: bigint;
  /** The vector that the guest wants. */
  readonly vector: bigint;
}

/** Any other call of a TDX guest. */
export interface TdxUnknown {
  /** What the process answers. */
  readonly ret: bigint;
  /** Five values as they are. */
  readonly data: readonly bigint[];
}

/** A TDX guest made a call that the process handles. One of the four is there. */
export interface TdxExit extends ExitBase<"TDX"> {
  /** No flag is defined. */
  readonly flags: bigint;
  /** The leaf of TDG.VP.VMCALL (TDX Guest-Hypervisor Communication Interface). */
  readonly nr: bigint;
  /** Of GetQuote. */
  readonly get_quote?: TdxGetQuote;
  /** Of GetTdVmCallInfo. */
  readonly get_tdvmcall_info?: TdxGetTdvmcallInfo;
  /** Of SetupEventNotifyInterrupt. */
  readonly setup_event_notify?: TdxSetupEventNotify;
  /** Of any other. */
  readonly unknown?: TdxUnknown;
}

/** An SEV-SNP guest asked for its certificates. */
export interface SnpReqCertsExit extends ExitBase<"SNP_REQ_CERTS"> {
  /** Where the guest wants them. */
  readonly gpa: number;
  /** How many pages it gave for them. */
  readonly npages: bigint;
  /** What the process answers. */
  readonly ret: bigint;
}

/** The exit reasons that KVM gives on other architectures only. */
export type OtherArchitectureReason = Exclude<
  ExitReasonName,
  | PlainReason
  | "UNKNOWN"
  | "EXCEPTION"
  | "IO"
  | "MMIO"
  | "HYPERCALL"
  | "DEBUG"
  | "FAIL_ENTRY"
  | "SET_TPR"
  | "TPR_ACCESS"
  | "INTERNAL_ERROR"
  | "SYSTEM_EVENT"
  | "IOAPIC_EOI"
  | "HYPERV"
  | "X86_RDMSR"
  | "X86_WRMSR"
  | "XEN"
  | "NOTIFY"
  | "MEMORY_FAULT"
  | "TDX"
  | "SNP_REQ_CERTS"
>;

/**
 * An exit whose payload is left as it is: one that is another architecture's, or that this version of vmexit
 * does not know.
 */
export interface OpaqueExit<Reason extends string> extends ExitBase<Reason> {
  /** A copy of the 256 bytes of `kvm_run`'s union. */
  readonly payload: Uint8Array;
}

/** The exits of other architectures; one variant for each. */
export type OtherArchitectureExit = {
  [Reason in OtherArchitectureReason]: OpaqueExit<Reason>;
}[OtherArchitectureReason];

/**
 * Why a vCPU left its guest, with all that `kvm_run` says of it: one variant for each reason of
 * `<linux/kvm.h>`, told apart by `reason`, and one for numbers that are not in it
 * (Documentation/virt/kvm/api.rst, 5). Fields have the header's names; those that the header does not have
 * are in camel case. All bytes are copies.
 *
 * @example
 * ```ts
 * import type { Exit } from "@vmexit/vmexit";
 *
 * function portOf(exit: Exit): number | undefined {
 *   return exit.reason === "IO" ? exit.port : undefined;
 * }
 * ```
 */
export type Exit =
  | PlainExit
  | UnknownExit
  | ExceptionExit
  | IoExit
  | MmioExit
  | HypercallExit
  | DebugExit
  | FailEntryExit
  | SetTprExit
  | TprAccessExit
  | InternalErrorExit
  | SystemEventExit
  | IoapicEoiExit
  | HypervExit
  | MsrExit<"X86_RDMSR">
  | MsrExit<"X86_WRMSR">
  | XenExit
  | NotifyExit
  | MemoryFaultExit
  | TdxExit
  | SnpReqCertsExit
  | OtherArchitectureExit
  | OpaqueExit<"UNKNOWN_TO_VMEXIT">;

/** A value that a field of 64 bits takes. */
export type Quadword = bigint | number;

/**
 * What the process answers, by exit reason, where the guest waits for more than data on a bus: the fields of
 * `kvm_run` that the kernel reads at the next `KVM_RUN` (Documentation/virt/kvm/api.rst, 5). Fields that are
 * left out become 0.
 */
export interface ExitAnswers {
  /** The hypercall's result. */
  readonly HYPERCALL: { readonly ret: Quadword };
  /** What the guest reads; or an `error` that is not 0, which gives it #GP. */
  readonly X86_RDMSR:
    | { readonly data: Quadword; readonly error?: number }
    | { readonly data?: undefined; readonly error: number };
  /** An `error` that is not 0 gives the guest #GP. */
  readonly X86_WRMSR: { readonly error?: number };
  /** The hypercall's result. */
  readonly HYPERV: { readonly result: Quadword };
  /** The hypercall's result. */
  readonly XEN: { readonly result: Quadword };
}

/** The reasons of all exits. */
export type ExitReason = Exit["reason"];

/** The exit reasons that a handler of a machine's can have: IO and MMIO have their buses. */
export type HandledReason = Exclude<ExitReasonName, "IO" | "MMIO">;

/** The exit reasons that {@linkcode ExitAnswers} has. */
export type AnsweredReason = keyof ExitAnswers;

/** An answer to an exit of that reason; `undefined` where none is taken. */
export type ExitAnswerOf<Reason extends ExitReason> = Reason extends AnsweredReason
  ? ExitAnswers[Reason]
  : undefined;

/** The fields of all answers. */
export type AnswerFields = Readonly<Record<string, Quadword>>;

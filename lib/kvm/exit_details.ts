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

/**
 * The basic exit reasons, each at its number, in the words of the manual (Intel SDM Vol. 3D, Appendix C);
 * empty where a number has none.
 */
export const vmxExitReasonNames: readonly string[] = [
  "exception or NMI",
  "external interrupt",
  "triple fault",
  "INIT signal",
  "start-up IPI",
  "I/O SMI",
  "other SMI",
  "interrupt window",
  "NMI window",
  "task switch",
  "CPUID",
  "GETSEC",
  "HLT",
  "INVD",
  "INVLPG",
  "RDPMC",
  "RDTSC",
  "RSM",
  "VMCALL",
  "VMCLEAR",
  "VMLAUNCH",
  "VMPTRLD",
  "VMPTRST",
  "VMREAD",
  "VMRESUME",
  "VMWRITE",
  "VMXOFF",
  "VMXON",
  "control-register access",
  "MOV DR",
  "I/O instruction",
  "RDMSR",
  "WRMSR",
  "VM-entry failure due to invalid guest state",
  "VM-entry failure due to MSR loading",
  "",
  "MWAIT",
  "monitor trap flag",
  "",
  "MONITOR",
  "PAUSE",
  "VM-entry failure due to machine-check event",
  "",
  "TPR below threshold",
  "APIC access",
  "virtualized EOI",
  "access to GDTR or IDTR",
  "access to LDTR or TR",
  "EPT violation",
  "EPT misconfiguration",
  "INVEPT",
  "RDTSCP",
  "VMX-preemption timer expired",
  "INVVPID",
  "WBINVD or WBNOINVD",
  "XSETBV",
  "APIC write",
  "RDRAND",
  "INVPCID",
  "VMFUNC",
  "ENCLS",
  "RDSEED",
  "page-modification log full",
  "XSAVES",
  "XRSTORS",
  "PCONFIG",
  "SPP-related event",
  "UMWAIT",
  "TPAUSE",
  "LOADIWKEY",
  "ENCLV",
  "",
  "ENQCMD PASID translation failure",
  "ENQCMDS PASID translation failure",
  "bus lock",
  "instruction timeout",
  "SEAMCALL",
  "TDCALL",
];

/** The VMCS field `exit_reason` by its parts. */
export interface VmxExitReason {
  /** Bits 15:0: the basic exit reason. */
  basic: number;
  /** Its name, or undefined where the manual has none. */
  name: string | undefined;
  /** The exit came from an enclave. */
  enclave: boolean;
  /** A monitor-trap-flag exit was pending. */
  pendingMonitorTrap: boolean;
  /** The exit came from VMX root operation. */
  fromRoot: boolean;
  /** VM entry failed: the guest did not run. */
  entryFailure: boolean;
}

const BASIC_MASK = 0xffff;
const ENCLAVE = 27;
const PENDING_MONITOR_TRAP = 28;
const FROM_ROOT = 29;
const ENTRY_FAILURE = 31;

/**
 * Why a guest left, or could not be entered (Intel SDM Vol. 3C, 24.9.1).
 *
 * @example
 * ```ts
 * import { vmxExitReason } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(vmxExitReason(30).name, "I/O instruction");
 * const { name, entryFailure } = vmxExitReason(0x8000_0021);
 * assertEquals([name, entryFailure], ["VM-entry failure due to invalid guest state", true]);
 * ```
 */
export function vmxExitReason(value: number | bigint): VmxExitReason {
  const reason = Number(BigInt.asUintN(32, BigInt(value)));
  const basic = reason & BASIC_MASK;
  const is = (bit: number) => (reason >>> bit & 1) === 1;
  return {
    basic,
    name: vmxExitReasonNames[basic] || undefined,
    enclave: is(ENCLAVE),
    pendingMonitorTrap: is(PENDING_MONITOR_TRAP),
    fromRoot: is(FROM_ROOT),
    entryFailure: is(ENTRY_FAILURE),
  };
}

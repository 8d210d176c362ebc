import type { IoExit } from "../virtualization/ports.ts";

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

/** The VMCS field `exit_reason` by its parts (Intel SDM Vol. 3C, 24.9.1 and Appendix C). */
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
 * @param value The VMCS's field `exit_reason`, 32 bits.
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

/** An I/O instruction that left the guest, as VMX tells of it (Intel SDM Vol. 3C, table 27-5). */
export interface VmxIoExit extends IoExit {
  /** The port is the instruction's operand, and not DX. */
  immediate: boolean;
}

const SIZE_MASK = 7n;
const IN = 1n << 3n;
const STRING = 1n << 4n;
const REPEATED = 1n << 5n;
const IMMEDIATE = 1n << 6n;
const PORT_SHIFT = 16n;
const PORT_BITS = 16;

/**
 * What `exit_qualification` says of an exit at an I/O instruction (Intel SDM Vol. 3C, table 27-5).
 *
 * @param qualification The VMCS's field `exit_qualification`.
 * @example
 * ```ts
 * import { vmxIoExit } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * const { port, direction, size } = vmxIoExit(0x3f8_0008n);
 * assertEquals([port, direction, size], [0x3f8, "in", 1]);
 * ```
 */
export function vmxIoExit(qualification: bigint): VmxIoExit {
  return {
    port: Number(BigInt.asUintN(PORT_BITS, qualification >> PORT_SHIFT)),
    direction: qualification & IN ? "in" : "out",
    size: Number(qualification & SIZE_MASK) + 1,
    string: (qualification & STRING) !== 0n,
    repeated: (qualification & REPEATED) !== 0n,
    immediate: (qualification & IMMEDIATE) !== 0n,
  };
}

/** The VM-instruction errors by number, in the words of the manual (Intel SDM Vol. 3C, table 30-1). */
export const vmInstructionErrors: Readonly<Record<number, string>> = {
  1: "VMCALL executed in VMX root operation",
  2: "VMCLEAR with invalid physical address",
  3: "VMCLEAR with VMXON pointer",
  4: "VMLAUNCH with non-clear VMCS",
  5: "VMRESUME with non-launched VMCS",
  6: "VMRESUME after VMXOFF",
  7: "VM entry with invalid control field(s)",
  8: "VM entry with invalid host-state field(s)",
  9: "VMPTRLD with invalid physical address",
  10: "VMPTRLD with VMXON pointer",
  11: "VMPTRLD with incorrect VMCS revision identifier",
  12: "VMREAD/VMWRITE from/to unsupported VMCS component",
  13: "VMWRITE to read-only VMCS component",
  15: "VMXON executed in VMX root operation",
  16: "VM entry with invalid executive-VMCS pointer",
  17: "VM entry with non-launched executive VMCS",
  18: "VM entry with executive-VMCS pointer not VMXON pointer",
  19: "VMCALL with non-clear VMCS",
  20: "VMCALL with invalid VM-exit control fields",
  22: "VMCALL with incorrect MSEG revision identifier",
  23: "VMXOFF under dual-monitor treatment of SMIs and SMM",
  24: "VMCALL with invalid SMM-monitor features",
  25: "VM entry with invalid VM-execution control fields in executive VMCS",
  26: "VM entry with events blocked by MOV SS",
  28: "Invalid operand to INVEPT/INVVPID",
};

/**
 * What the VMCS field `vm_instruction_error` says, or undefined where the manual has no such number (Intel SDM Vol.
 * 3C, 30.4).
 *
 * @param number The VMCS's field, 32 bits.
 * @example
 * ```ts
 * import { vmInstructionError } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(vmInstructionError(7), "VM entry with invalid control field(s)");
 * ```
 */
export function vmInstructionError(number: number | bigint): string | undefined {
  return vmInstructionErrors[Number(number)];
}

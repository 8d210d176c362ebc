import { assertEquals } from "@std/assert";
import {
  vmInstructionError,
  vmxExitReason,
  vmxExitReasonNames,
  vmxIoExit,
} from "../../../lib/x86/vmx/exit_reasons.ts";
import { macros } from "../exit_macros.ts";

Deno.test("exit reasons and VM-instruction errors have the manual's words at the manual's numbers", () => {
  for (
    const [number, name] of [
      [0, "exception or NMI"],
      [10, "CPUID"],
      [12, "HLT"],
      [18, "VMCALL"],
      [28, "control-register access"],
      [31, "RDMSR"],
      [36, "MWAIT"],
      [39, "MONITOR"],
      [43, "TPR below threshold"],
      [49, "EPT misconfiguration"],
      [55, "XSETBV"],
      [63, "XSAVES"],
      [70, "ENCLV"],
      [74, "bus lock"],
      [77, "TDCALL"],
    ] as const
  ) {
    assertEquals(vmxExitReason(number).name, name);
  }
  assertEquals([35, 38, 42, 71, 78].map((number) => vmxExitReason(number).name), [
    ...Array(5).fill(undefined),
  ]);
  const known = vmxExitReasonNames.filter((name) => name !== "");
  assertEquals(new Set(known).size, known.length);
  assertEquals(vmxExitReason(0x3800_0030n), {
    basic: 48,
    name: "EPT violation",
    enclave: true,
    pendingMonitorTrap: true,
    fromRoot: true,
    entryFailure: false,
  });
  assertEquals(vmInstructionError(11), "VMPTRLD with incorrect VMCS revision identifier");
  assertEquals([0, 14, 21, 27, 29].map(vmInstructionError), Array(5).fill(undefined));
});

Deno.test("the exit qualification of an I/O instruction has the manual's bits", () => {
  assertEquals(vmxIoExit(0xffff_0073n), {
    port: 0xffff,
    direction: "out",
    size: 4,
    string: true,
    repeated: true,
    immediate: true,
  });
  assertEquals(vmxIoExit(0x60_0009n), {
    port: 0x60,
    direction: "in",
    size: 2,
    string: false,
    repeated: false,
    immediate: false,
  });
});

/** Exit reasons that `<asm/vmx.h>` calls otherwise than the manual does. */
const VMX_NAMES: Readonly<Record<string, string>> = {
  EXCEPTION_NMI: "exception or NMI",
  SIPI_SIGNAL: "start-up IPI",
  VMOFF: "VMXOFF",
  VMON: "VMXON",
  CR_ACCESS: "control-register access",
  DR_ACCESS: "MOV DR",
  MSR_READ: "RDMSR",
  MSR_WRITE: "WRMSR",
  INVALID_STATE: "VM-entry failure due to invalid guest state",
  MSR_LOAD_FAIL: "VM-entry failure due to MSR loading",
  MWAIT_INSTRUCTION: "MWAIT",
  MONITOR_INSTRUCTION: "MONITOR",
  PAUSE_INSTRUCTION: "PAUSE",
  MCE_DURING_VMENTRY: "VM-entry failure due to machine-check event",
  EOI_INDUCED: "virtualized EOI",
  GDTR_IDTR: "access to GDTR or IDTR",
  LDTR_TR: "access to LDTR or TR",
  EPT_MISCONFIG: "EPT misconfiguration",
  PREEMPTION_TIMER: "VMX-preemption timer expired",
  WBINVD: "WBINVD or WBNOINVD",
  PML_FULL: "page-modification log full",
  NOTIFY: "instruction timeout",
};

Deno.test("every exit reason of <asm/vmx.h> has the manual's words at the same number", async () => {
  const reasons = await macros("asm/vmx.h", "EXIT_REASON_");
  assertEquals(reasons.length > 60, true);
  const plain = (text: string) =>
    text.replace("I/O", "IO").toUpperCase().replace(/[^A-Z0-9]+/g, "_");
  for (const [kernel, value] of reasons) {
    const words = vmxExitReason(value).name;
    if (words !== undefined && plain(words) === kernel) continue;
    assertEquals([kernel, value, words], [kernel, value, VMX_NAMES[kernel] ?? "not in VMX_NAMES"]);
  }
});

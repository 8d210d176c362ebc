import { assertEquals } from "@std/assert";
import { svmExitCode, svmExitName } from "../../lib/x86/svm/exit_codes.ts";
import { vmxExitReason } from "../../lib/x86/vmx/exit_reasons.ts";
import { preprocess } from "../kvm/oracle/c_compiler.ts";

/** Exit codes that `<asm/svm.h>` calls otherwise than the manual does. */
const SVM_NAMES: Readonly<Record<string, string>> = {
  EXCP_BASE: "EXCP0",
  LAST_EXCP: "EXCP31",
  MWAIT_COND: "MWAIT_CONDITIONAL",
  AVIC_UNACCELERATED_ACCESS: "AVIC_NOACCEL",
  ERR: "INVALID",
};
/** No exit code of the manual's: one for software, and the table of all. */
const NO_SVM_EXIT: ReadonlySet<string> = new Set(["SW", "REASONS"]);

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

/** What a header defines with a prefix: names without it, and values. */
async function macros(header: string, prefix: string): Promise<[name: string, value: number][]> {
  const text = await preprocess(`#include <${header}>\n`, ["-dM"]);
  const pattern = new RegExp(`^#define ${prefix}(\\w+) +(-?(?:0x)?[0-9a-f]+)$`, "gm");
  return Array.from(text.matchAll(pattern), ([, name, value]) => [name, Number(value)]);
}

Deno.test("every exit code of <asm/svm.h> has the manual's name at the same number", async () => {
  const codes = (await macros("asm/svm.h", "SVM_EXIT_")).filter(([name]) => !NO_SVM_EXIT.has(name));
  assertEquals(codes.length > 90, true);
  for (const [kernel, value] of codes) {
    const turned = kernel.replace(/^(READ|WRITE)_([CD]R\d+)$/, "$2_$1");
    const name = `VMEXIT_${SVM_NAMES[kernel] ?? turned}`;
    assertEquals([kernel, svmExitName(value)], [kernel, name]);
    assertEquals(svmExitCode(name), BigInt.asUintN(32, BigInt(value)));
  }
});

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

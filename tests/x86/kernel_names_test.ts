import {
  type CpuidFeature,
  cpuidFeatureNames,
  cpuidFeaturePlace,
  type Msr,
  MSR_ALIASES,
  msrNumber,
  MSRS,
} from "@vmexit/vmexit/x86";
import { assert, assertEquals } from "@std/assert";
import { kernelHeaders } from "./kernel_headers.ts";

/** The kernel whose headers have every name; newer ones have moved and renamed some. */
const RECORDED = /linux-headers-6\.1\./;

/** `#define NAME 0x1234` in a header, by name; none where there is no such header. */
async function definitions(path: string, pattern: RegExp): Promise<Map<string, number>> {
  const text = await Deno.readTextFile(`${await kernelHeaders()}/${path}`).catch(() => "");
  return new Map([...text.matchAll(pattern)].map(([, name, value]) => [name, Number(value)]));
}

/** What the headers have otherwise, and what they do not have. */
async function compare(
  pairs: readonly (readonly [name: string, ours: unknown, header: unknown])[],
): Promise<void> {
  const isThere = (value: unknown) => value !== undefined && !Number.isNaN(value);
  const missing = pairs.filter(([, , header]) => !isThere(header)).map(([name]) => name);
  const wrong = pairs.filter(([, ours, header]) => isThere(header) && ours !== header);
  assertEquals(wrong, [], "name, vmexit's, the header's");
  const headers = await kernelHeaders();
  console.log(`compared ${pairs.length - missing.length} of ${pairs.length} with ${headers}`);
  if (RECORDED.test(headers)) assertEquals(missing, []);
  else console.log(`not there: ${missing.join(", ") || "none"}`);
}

/** The header's name where it is not `MSR_` and ours, nor one of our aliases with `MSR_`. */
const OTHERWISE: Readonly<Record<string, string>> = {
  TSC_RATIO: "AMD64_TSC_RATIO",
  EBL_CR_POWERON: "IA32_EBL_CR_POWERON",
  IA32_BIOS_UPDT_TRIG: "IA32_UCODE_WRITE",
  IA32_CORE_CAPABILITIES: "IA32_CORE_CAPS",
  BBL_CR_CTL3: "IA32_BBL_CR_CTL3",
  IA32_CLOCK_MODULATION: "IA32_THERM_CONTROL",
  TEMPERATURE_TARGET: "IA32_TEMPERATURE_TARGET",
  POWER_CTL: "IA32_POWER_CTL",
  IA32_PM_ENABLE: "PM_ENABLE",
  IA32_HWP_CAPABILITIES: "HWP_CAPABILITIES",
  IA32_HWP_REQUEST: "HWP_REQUEST",
  IA32_HWP_STATUS: "HWP_STATUS",
  IA32_MTRR_FIX64K_00000: "MTRRfix64K_00000",
  IA32_MTRR_FIX16K_80000: "MTRRfix16K_80000",
  IA32_MTRR_FIX16K_A0000: "MTRRfix16K_A0000",
  IA32_MTRR_FIX4K_C0000: "MTRRfix4K_C0000",
  IA32_MTRR_FIX4K_C8000: "MTRRfix4K_C8000",
  IA32_MTRR_FIX4K_D0000: "MTRRfix4K_D0000",
  IA32_MTRR_FIX4K_D8000: "MTRRfix4K_D8000",
  IA32_MTRR_FIX4K_E0000: "MTRRfix4K_E0000",
  IA32_MTRR_FIX4K_E8000: "MTRRfix4K_E8000",
  IA32_MTRR_FIX4K_F0000: "MTRRfix4K_F0000",
  IA32_MTRR_FIX4K_F8000: "MTRRfix4K_F8000",
  IA32_INTERRUPT_SSP_TABLE_ADDR: "IA32_INT_SSP_TAB",
  LASTBRANCHFROMIP: "IA32_LASTBRANCHFROMIP",
  LASTBRANCHTOIP: "IA32_LASTBRANCHTOIP",
  LASTINTFROMIP: "IA32_LASTINTFROMIP",
  LASTINTTOIP: "IA32_LASTINTTOIP",
  IA32_LBR_CTL: "ARCH_LBR_CTL",
  IA32_LBR_DEPTH: "ARCH_LBR_DEPTH",
  IA32_FIXED_CTR_CTRL: "CORE_PERF_FIXED_CTR_CTRL",
  IA32_PERF_GLOBAL_STATUS: "CORE_PERF_GLOBAL_STATUS",
  IA32_PERF_GLOBAL_CTRL: "CORE_PERF_GLOBAL_CTRL",
  IA32_PERF_GLOBAL_OVF_CTRL: "CORE_PERF_GLOBAL_OVF_CTRL",
  PEBS_LD_LAT: "PEBS_LD_LAT_THRESHOLD",
  IA32_RTIT_OUTPUT_MASK_PTRS: "IA32_RTIT_OUTPUT_MASK",
  IGNNE: "VM_IGNNE",
  SVM_AVIC_DOORBELL: "AMD64_SVM_AVIC_DOORBELL",
  VM_PAGE_FLUSH: "AMD64_VM_PAGE_FLUSH",
  VIRT_SPEC_CTRL: "AMD64_VIRT_SPEC_CTRL",
  GHCB: "AMD64_SEV_ES_GHCB",
  SEV_STATUS: "AMD64_SEV",
  SYSCFG: "AMD64_SYSCFG",
  TOP_MEM: "K8_TOP_MEM1",
  CLK_CTL: "K7_CLK_CTL",
  TOP_MEM2: "K8_TOP_MEM2",
  NB_CFG: "AMD64_NB_CFG",
  PATCH_LOADER: "AMD64_PATCH_LOADER",
  FID_VID_CTL: "K7_FID_VID_CTL",
  FID_VID_STATUS: "K7_FID_VID_STATUS",
  INT_PENDING_MSG: "K8_INT_PENDING_MSG",
  MMIO_CONF_BASE: "FAM10H_MMIO_CONF_BASE",
  PSTATE_CTL: "AMD_PERF_CTL",
  PSTATE_STATUS: "AMD_PERF_STATUS",
  SMM_ADDR: "K8_TSEG_ADDR",
  SMM_MASK: "K8_TSEG_MASK",
  OSVW_ID_LENGTH: "AMD64_OSVW_ID_LENGTH",
  OSVW_STATUS: "AMD64_OSVW_STATUS",
  DBG_EXTN_CFG: "AMD_DBG_EXTN_CFG",
  PERF_CNTR_GLOBAL_STATUS: "AMD64_PERF_CNTR_GLOBAL_STATUS",
  PERF_CNTR_GLOBAL_CTL: "AMD64_PERF_CNTR_GLOBAL_CTL",
  PERF_CNTR_GLOBAL_STATUS_CLR: "AMD64_PERF_CNTR_GLOBAL_STATUS_CLR",
  PTSC: "F15H_PTSC",
  CPPC_CAPABILITY_1: "AMD_CPPC_CAP1",
  CPPC_ENABLE: "AMD_CPPC_ENABLE",
  CPPC_REQUEST: "AMD_CPPC_REQ",
  CPUID_FN_1: "AMD64_CPUID_FN_1",
  NODE_ID: "FAM10H_NODE_ID",
  LS_CFG: "AMD64_LS_CFG",
  IC_CFG: "F15H_IC_CFG",
  DC_CFG: "AMD64_DC_CFG",
  TW_CFG: "AMD64_TW_CFG",
  FP_CFG: "AMD64_FP_CFG",
  DE_CFG: "AMD64_DE_CFG",
  BU_CFG2: "AMD64_BU_CFG2",
  IBS_FETCH_CTL: "AMD64_IBSFETCHCTL",
  IBS_OP_CTL: "AMD64_IBSOPCTL",
  IBS_CTL: "AMD64_IBSCTL",
};

/** What no header of the kernel's packages has: their numbers are from the manuals alone. */
const NOT_IN_HEADERS: ReadonlySet<string> = new Set([
  "IORR_BASE0",
  "IORR_MASK0",
  "IORR_BASE1",
  "IORR_MASK1",
  "SMM_BASE",
  "HV_X64_MSR_SYNDBG_CONTROL",
  "HV_X64_MSR_SYNDBG_STATUS",
  "HV_X64_MSR_SYNDBG_SEND_BUFFER",
  "HV_X64_MSR_SYNDBG_RECV_BUFFER",
  "HV_X64_MSR_SYNDBG_PENDING_BUFFER",
  "HV_X64_MSR_SYNDBG_OPTIONS",
]);

const X2APIC = 0x800;
/** Registers of the xAPIC are 16 bytes apart (`apicdef.h`), and those of the x2APIC one number. */
const APIC_NAMES: Readonly<Record<string, string>> = {
  APICID: "ID",
  VERSION: "LVR",
  TPR: "TASKPRI",
  PPR: "PROCPRI",
  SIVR: "SPIV",
  LVT_CMCI: "LVTCMCI",
  LVT_TIMER: "LVTT",
  LVT_THERMAL: "LVTTHMR",
  LVT_PMI: "LVTPC",
  LVT_LINT0: "LVT0",
  LVT_LINT1: "LVT1",
  LVT_ERROR: "LVTERR",
  INIT_COUNT: "TMICT",
  CUR_COUNT: "TMCCT",
  DIV_CONF: "TDCR",
  SELF_IPI: "SELF_IPI",
};

Deno.test("every MSR's number is that of the kernel's headers", async () => {
  const index = await definitions(
    "arch/x86/include/asm/msr-index.h",
    /^#define\s+MSR_(\w+)\s+\(?(0x[0-9a-fA-F]+)\b/gm,
  );
  const others = new Map([
    ...await definitions(
      "arch/x86/include/uapi/asm/kvm_para.h",
      /^#define\s+MSR_(KVM_\w+)\s+(0x[0-9a-fA-F]+)\b/gm,
    ),
    ...await definitions(
      "arch/x86/include/asm/hyperv-tlfs.h",
      /^#define\s+(HV_\w+)\s+(0x[0-9a-fA-F]+)\b/gm,
    ),
  ]);
  const apic = await definitions(
    "arch/x86/include/asm/apicdef.h",
    /^#define\s+APIC_(\w+)\s+(0x[0-9A-Fa-f]+)\b/gm,
  );
  const x2apic = (name: string) => X2APIC + (apic.get(name) ?? NaN) / 0x10;
  const headerNames = (name: string) => [
    name,
    ...Object.entries(MSR_ALIASES).filter(([, of]) => of === name).map(([alias]) => alias),
    OTHERWISE[name],
  ];
  const found = (name: string) => {
    const [, register] = /^IA32_X2APIC_(\w+)$/.exec(name) ?? [];
    if (register !== undefined) return x2apic(APIC_NAMES[register] ?? register);
    if (name.startsWith("HV_")) {
      return others.get(name) ?? others.get(name.replace("HV_X64_MSR_", "HV_REGISTER_"));
    }
    return others.get(name) ??
      headerNames(name).map((each) => index.get(each)).find((each) => each !== undefined);
  };
  const single = Object.entries(MSRS).filter(([name]) => !NOT_IN_HEADERS.has(name));
  for (const name of NOT_IN_HEADERS) assert(!index.has(name), `${name} is in the header by now`);
  // The rows: those of them that the header has by a register of their own.
  const firsts: [Msr, number | undefined][] = [
    ["IA32_MC0_CTL", index.get("IA32_MC0_CTL")],
    ["IA32_MC0_STATUS", index.get("IA32_MC0_STATUS")],
    ["IA32_MC0_ADDR", index.get("IA32_MC0_ADDR")],
    ["IA32_MC0_MISC", index.get("IA32_MC0_MISC")],
    ["IA32_MC0_CTL2", index.get("IA32_MC0_CTL2")],
    ["IA32_PMC0", index.get("IA32_PERFCTR0")],
    ["IA32_PMC1", index.get("IA32_PERFCTR1")],
    ["IA32_A_PMC0", index.get("IA32_PMC0")],
    ["IA32_PERFEVTSEL0", index.get("P6_EVNTSEL0")],
    ["IA32_PERFEVTSEL1", index.get("P6_EVNTSEL1")],
    ["IA32_FIXED_CTR0", index.get("CORE_PERF_FIXED_CTR0")],
    ["IA32_FIXED_CTR3", index.get("CORE_PERF_FIXED_CTR3")],
    ["IA32_RTIT_ADDR0_A", index.get("IA32_RTIT_ADDR0_A")],
    ["IA32_RTIT_ADDR3_B", index.get("IA32_RTIT_ADDR3_B")],
    ["PERF_LEGACY_CTL0", index.get("K7_EVNTSEL0")],
    ["PERF_LEGACY_CTL3", index.get("K7_EVNTSEL3")],
    ["PERF_LEGACY_CTR0", index.get("K7_PERFCTR0")],
    ["PERF_LEGACY_CTR3", index.get("K7_PERFCTR3")],
    ["PSTATE0", index.get("AMD_PSTATE_DEF_BASE")],
    ["PERF_CTL0", index.get("F15H_PERF_CTL")],
    ["PERF_CTR0", index.get("F15H_PERF_CTR")],
    ["NB_PERF_CTL0", index.get("F15H_NB_PERF_CTL")],
    ["NB_PERF_CTR0", index.get("F15H_NB_PERF_CTR")],
    ["HV_X64_MSR_SINT0", others.get("HV_REGISTER_SINT0")],
    ["HV_X64_MSR_SINT15", others.get("HV_REGISTER_SINT15")],
    ["HV_X64_MSR_STIMER3_CONFIG", others.get("HV_REGISTER_STIMER3_CONFIG")],
    ["HV_X64_MSR_STIMER3_COUNT", others.get("HV_REGISTER_STIMER3_COUNT")],
    ["HV_X64_MSR_CRASH_P4", others.get("HV_REGISTER_CRASH_P4")],
    ["IA32_X2APIC_ISR0", x2apic("ISR")],
    ["IA32_X2APIC_TMR0", x2apic("TMR")],
    ["IA32_X2APIC_IRR0", x2apic("IRR")],
  ];
  await compare([
    ...single.map(([name, number]) => [name, number, found(name)] as const),
    ...firsts.map(([name, number]) => [String(name), msrNumber(name), number] as const),
  ]);
});

/** The words of the kernel's feature bits that are registers of CPUID (its `cpuid_leafs`). */
const WORDS: Readonly<Record<number, string>> = {
  0: "0x1.0.edx",
  1: "0x80000001.0.edx",
  4: "0x1.0.ecx",
  6: "0x80000001.0.ecx",
  9: "0x7.0.ebx",
  10: "0xd.1.eax",
  12: "0x7.1.eax",
  13: "0x80000008.0.ebx",
  14: "0x6.0.eax",
  15: "0x8000000a.0.edx",
  16: "0x7.0.ecx",
  17: "0x80000007.0.ebx",
  18: "0x7.0.edx",
  19: "0x8000001f.0.eax",
};

/** Features that the kernel keeps elsewhere than where CPUID tells of them. */
const SCATTERED: ReadonlySet<CpuidFeature> = new Set<CpuidFeature>([
  "aperfmperf",
  "epb",
  "nonstop_tsc",
]);

Deno.test("every CPUID feature has the kernel's name and its bit", async () => {
  const headers = await kernelHeaders();
  const features = await Deno.readTextFile(`${headers}/arch/x86/include/asm/cpufeatures.h`);
  const named = [...features.matchAll(
    /^#define X86_FEATURE_(\w+)\s+\(\s*(\d+)\*32\s*\+\s*(\d+)\)[ \t]*(?:\/\* ?(?:"([^"]*)")?)?/gm,
  )].flatMap(([, macro, word, bit, name]): [string, string][] =>
    WORDS[Number(word)] === undefined
      ? []
      : [[name || macro.toLowerCase(), `${WORDS[Number(word)]}.${bit}`]]
  );
  const own = [...(await Deno.readTextFile(`${headers}/arch/x86/include/uapi/asm/kvm_para.h`))
    .matchAll(/^#define KVM_FEATURE_(\w+)\s+(\d+)\s*$/gm)]
    .map(([, macro, bit]): [string, string] => [
      `kvm_${macro.toLowerCase()}`,
      `0x40000001.0.eax.${bit}`,
    ]);
  const header = new Map([...named, ...own]);
  const ours = cpuidFeatureNames().filter((name) => !SCATTERED.has(name));
  await compare(ours.map((name) => {
    const { leaf, subleaf, register, bit } = cpuidFeaturePlace(name);
    return [
      name,
      `0x${leaf.toString(16)}.${subleaf}.${register}.${bit}`,
      header.get(name),
    ] as const;
  }));
  const missing = [...header.keys()].filter((name) => !ours.includes(name as CpuidFeature));
  console.log(`features that a newer kernel names: ${missing.join(", ") || "none"}`);
});

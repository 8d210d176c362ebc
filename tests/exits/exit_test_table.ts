import type { ExitReasonName } from "@vmexit/vmexit/abi";

/** The test that decodes every exit from recorded bytes, seen from the folder `tests`. */
export const DECODED_BY = "kvm/exits/exit_table_test.ts";

/** How an exit is tested. */
export interface ExitTest {
  /** The file in whose test a guest produces it, seen from the folder `tests`; absent where none does. */
  readonly test?: string;
  /** The beginning of that test's name. */
  readonly name?: string;
  /**
   * Why no guest produces it in the nested machine of QEMU, where that is so. It is decoded from recorded bytes
   * ({@linkcode DECODED_BY}); a test that is named all the same runs on other machines.
   */
  readonly notProduced?: string;
}

const IO = "exits/io_test.ts";
const END = "exits/end_test.ts";
const KERNEL = "exits/kernel_test.ts";
const MSR_HANDLERS = "machine/msrs/msr_handlers_test.ts";

const OF_ANOTHER_ARCHITECTURE = { notProduced: "of another architecture" };

/** How each exit reason of the header is tested. */
export const EXIT_TESTS: Readonly<Record<ExitReasonName, ExitTest>> = {
  UNKNOWN: { notProduced: "KVM on x86 gives it for SGX alone, which is Intel's" },
  EXCEPTION: { notProduced: "VMX alone has it" },
  IO: { test: IO, name: "IO: out of 1, 2 and 4 bytes" },
  HYPERCALL: { test: KERNEL, name: "HYPERCALL: MAP_GPA_RANGE is answered by the transcript" },
  DEBUG: { test: "exits/debug_test.ts", name: "DEBUG: a step, through the transcript" },
  HLT: { test: END, name: "HLT: in $name mode" },
  MMIO: { test: IO, name: "MMIO: writes of 1, 2, 4 and 8 bytes" },
  IRQ_WINDOW_OPEN: {
    test: "exits/injection_test.ts",
    name: "IRQ_WINDOW_OPEN: inject.window ends the run",
  },
  SHUTDOWN: { test: END, name: "SHUTDOWN: a triple fault in $name mode" },
  FAIL_ENTRY: { test: END, name: "FAIL_ENTRY: a code segment that is both 64 and 32 bits wide" },
  INTR: { test: END, name: "INTR: a signal ends KVM_RUN with EINTR" },
  SET_TPR: { test: KERNEL, name: "SET_TPR: a task priority that is lowered" },
  TPR_ACCESS: {
    test: KERNEL,
    name: "TPR_ACCESS: reads and writes of the local APIC's task priority",
  },
  S390_SIEIC: OF_ANOTHER_ARCHITECTURE,
  S390_RESET: OF_ANOTHER_ARCHITECTURE,
  DCR: OF_ANOTHER_ARCHITECTURE,
  NMI: { notProduced: "KVM on x86 does not give it" },
  INTERNAL_ERROR: { test: END, name: "INTERNAL_ERROR: an instruction that KVM does not emulate" },
  OSI: OF_ANOTHER_ARCHITECTURE,
  PAPR_HCALL: OF_ANOTHER_ARCHITECTURE,
  S390_UCONTROL: OF_ANOTHER_ARCHITECTURE,
  WATCHDOG: OF_ANOTHER_ARCHITECTURE,
  S390_TSCH: OF_ANOTHER_ARCHITECTURE,
  EPR: OF_ANOTHER_ARCHITECTURE,
  SYSTEM_EVENT: { test: KERNEL, name: "SYSTEM_EVENT: a guest of Hyper-V crashes, or resets" },
  S390_STSI: OF_ANOTHER_ARCHITECTURE,
  IOAPIC_EOI: { test: KERNEL, name: "IOAPIC_EOI: the end of a level-triggered interrupt" },
  HYPERV: { test: KERNEL, name: "HYPERV: SYNIC when the guest sets up its interrupts" },
  ARM_NISV: OF_ANOTHER_ARCHITECTURE,
  X86_RDMSR: { test: MSR_HANDLERS, name: "a transcript foresees intercepted MSRs" },
  X86_WRMSR: { test: MSR_HANDLERS, name: "a transcript foresees intercepted MSRs" },
  DIRTY_RING_FULL: { test: KERNEL, name: "DIRTY_RING_FULL: the guest wrote more pages" },
  AP_RESET_HOLD: { notProduced: "KVM gives it to guests of SEV-ES, which QEMU does not emulate" },
  X86_BUS_LOCK: { notProduced: "Linux 6.1 has it for VMX alone" },
  XEN: {
    test: KERNEL,
    name: "XEN: a hypercall is answered by the transcript",
    notProduced: "Debian builds its kernel without CONFIG_KVM_XEN",
  },
  RISCV_SBI: OF_ANOTHER_ARCHITECTURE,
  RISCV_CSR: OF_ANOTHER_ARCHITECTURE,
  NOTIFY: { notProduced: "VMX alone has it" },
  LOONGARCH_IOCSR: OF_ANOTHER_ARCHITECTURE,
  MEMORY_FAULT: { notProduced: "Linux 6.8 or newer" },
  TDX: { notProduced: "it takes a guest of Intel's TDX, and Linux 6.16 or newer" },
  ARM_SEA: OF_ANOTHER_ARCHITECTURE,
  ARM_LDST64B: OF_ANOTHER_ARCHITECTURE,
  SNP_REQ_CERTS: { notProduced: "it takes a guest of AMD's SEV-SNP, and Linux 7.0 or newer" },
};

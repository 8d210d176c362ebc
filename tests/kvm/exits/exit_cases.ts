import type { Writable } from "../../../lib/ffi/struct.ts";
import type { KvmRun } from "../../../lib/kvm/abi/structs/run.ts";

/** A `kvm_run`, what it decodes to beside `reason`, `number` and `runFlags`, and its line. */
export interface ExitCase {
  readonly reason: string;
  readonly run: Writable<KvmRun>;
  readonly payload: Record<string, unknown>;
  readonly line: string;
}

const bytes = (...values: number[]) => new Uint8Array(values);

/** Reasons that carry nothing. */
const PLAIN = [
  "HLT",
  "IRQ_WINDOW_OPEN",
  "SHUTDOWN",
  "INTR",
  "NMI",
  "DIRTY_RING_FULL",
  "AP_RESET_HOLD",
  "X86_BUS_LOCK",
];

/** Reasons of other architectures, whose payload is left as it is. */
const OTHER_ARCHITECTURES = [
  "S390_SIEIC",
  "S390_RESET",
  "DCR",
  "OSI",
  "PAPR_HCALL",
  "S390_UCONTROL",
  "WATCHDOG",
  "S390_TSCH",
  "EPR",
  "S390_STSI",
  "ARM_NISV",
  "RISCV_SBI",
  "RISCV_CSR",
  "LOONGARCH_IOCSR",
  "ARM_SEA",
  "ARM_LDST64B",
];

const padding = Uint8Array.from({ length: 256 }, (_, i) => 255 - i);

const PAYLOADS: ExitCase[] = [
  {
    reason: "UNKNOWN",
    run: { hw: { hardware_exit_reason: 0x30 } },
    payload: { hardware_exit_reason: 0x30n },
    line: "UNKNOWN hardware exit reason 0x30",
  },
  {
    reason: "EXCEPTION",
    run: { ex: { exception: 14, error_code: 6 } },
    payload: { exception: 14, error_code: 6 },
    line: "EXCEPTION vector 14, error code 0x6",
  },
  {
    reason: "MMIO",
    run: { mmio: { phys_addr: 0x8000, data: [0xaa, 0xbb, 0xcc, 0xdd], len: 2, is_write: 1 } },
    payload: { gpa: 0x8000, len: 2, isWrite: true, data: bytes(0xaa, 0xbb) },
    line: "MMIO write 0x8000 2 bytes 0xbbaa",
  },
  {
    reason: "MMIO",
    run: { mmio: { phys_addr: 0xf_ffff_ffff_f000n, data: [1], len: 1, is_write: 0 } },
    payload: { gpa: 0xf_ffff_ffff_f000, len: 1, isWrite: false, data: bytes(0) },
    line: "MMIO read 0xffffffffff000 1 byte",
  },
  {
    reason: "MMIO",
    run: {
      mmio: { phys_addr: 0xb8000, data: [1, 2, 3, 4, 5, 6, 7, 0x88], len: 8, is_write: 1 },
    },
    payload: { gpa: 0xb8000, len: 8, isWrite: true, data: bytes(1, 2, 3, 4, 5, 6, 7, 0x88) },
    line: "MMIO write 0xb8000 8 bytes 0x8807060504030201",
  },
  {
    reason: "HYPERCALL",
    run: { hypercall: { nr: 12, args: [0x1000, 4, 0x10], ret: 1, longmode: 1 } },
    payload: {
      nr: 12n,
      nrName: "MAP_GPA_RANGE",
      args: [0x1000n, 4n, 0x10n, 0n, 0n, 0n],
      ret: 1n,
      longmode: true,
      flags: 1n,
    },
    line: "HYPERCALL MAP_GPA_RANGE(0x1000, 0x4, 0x10, 0x0, 0x0, 0x0) from 64-bit mode",
  },
  {
    reason: "DEBUG",
    run: { debug: { arch: { exception: 1, pc: 0x10003, dr6: 0xffff4ff0, dr7: 0x400 } } },
    payload: { exception: 1, pc: 0x10003n, dr6: 0xffff4ff0n, dr7: 0x400n },
    line: "DEBUG exception 1 at 0x10003, dr6 0xffff4ff0, dr7 0x400",
  },
  {
    reason: "FAIL_ENTRY",
    run: { fail_entry: { hardware_entry_failure_reason: 0x80000021, cpu: 3 } },
    payload: { hardware_entry_failure_reason: 0x80000021n, cpu: 3 },
    line: "FAIL_ENTRY hardware reason 0x80000021 on CPU 3",
  },
  { reason: "SET_TPR", run: { cr8: 7 }, payload: { cr8: 7n }, line: "SET_TPR cr8 0x7" },
  {
    reason: "TPR_ACCESS",
    run: { tpr_access: { rip: 0xfff0, is_write: 1 } },
    payload: { rip: 0xfff0n, isWrite: true },
    line: "TPR_ACCESS write at 0xfff0",
  },
  {
    reason: "INTERNAL_ERROR",
    run: {
      emulation_failure: {
        suberror: 1,
        ndata: 3,
        flags: 1,
        insn_size: 2,
        insn_bytes: [15, 255, 9],
      },
    },
    payload: {
      suberror: 1,
      suberrorName: "EMULATION",
      ndata: 3,
      data: [1n, 0x09ff0f02n, 0n],
      emulation_failure: { flags: 1n, insn_size: 2, insn_bytes: bytes(15, 255) },
    },
    line: "INTERNAL_ERROR EMULATION: 0f ff",
  },
  {
    reason: "INTERNAL_ERROR",
    run: { emulation_failure: { suberror: 1, ndata: 1, flags: 0, insn_size: 2 } },
    payload: {
      suberror: 1,
      suberrorName: "EMULATION",
      ndata: 1,
      data: [0n],
      emulation_failure: { flags: 0n },
    },
    line: "INTERNAL_ERROR EMULATION data 0x0",
  },
  {
    reason: "INTERNAL_ERROR",
    run: { internal: { suberror: 1 } },
    payload: { suberror: 1, suberrorName: "EMULATION", ndata: 0, data: [] },
    line: "INTERNAL_ERROR EMULATION",
  },
  {
    reason: "INTERNAL_ERROR",
    run: { internal: { suberror: 3, ndata: 2, data: [0x80000b0e, 0x30, 99] } },
    payload: { suberror: 3, suberrorName: "DELIVERY_EV", ndata: 2, data: [0x80000b0en, 0x30n] },
    line: "INTERNAL_ERROR DELIVERY_EV data 0x80000b0e 0x30",
  },
  {
    reason: "INTERNAL_ERROR",
    run: { internal: { suberror: 77 } },
    payload: { suberror: 77, suberrorName: undefined, ndata: 0, data: [] },
    line: "INTERNAL_ERROR 77",
  },
  {
    reason: "SYSTEM_EVENT",
    run: { system_event: { type: 6, ndata: 2, data: [0x100, 2] } },
    payload: { type: 6, typeName: "SEV_TERM", ndata: 2, flags: 0x100n, data: [0x100n, 2n] },
    line: "SYSTEM_EVENT SEV_TERM data 0x100 0x2",
  },
  {
    reason: "IOAPIC_EOI",
    run: { eoi: { vector: 0x31 } },
    payload: { vector: 0x31 },
    line: "IOAPIC_EOI vector 0x31",
  },
  {
    reason: "HYPERV",
    run: {
      hyperv: { type: 1, u: { synic: { msr: 0x40000080, control: 1, evt_page: 2, msg_page: 3 } } },
    },
    payload: {
      type: 1,
      typeName: "SYNIC",
      synic: { msr: 0x40000080, control: 1n, evt_page: 2n, msg_page: 3n },
    },
    line: "HYPERV SYNIC MSR 0x40000080",
  },
  {
    reason: "HYPERV",
    run: { hyperv: { type: 2, u: { hcall: { input: 0x5c, result: 0, params: [1, 2] } } } },
    payload: { type: 2, typeName: "HCALL", hcall: { input: 0x5cn, result: 0n, params: [1n, 2n] } },
    line: "HYPERV HCALL 0x5c(0x1, 0x2)",
  },
  {
    reason: "HYPERV",
    run: {
      hyperv: {
        type: 3,
        u: {
          syndbg: {
            msr: 0x400000f1,
            control: 1,
            status: 2,
            send_page: 3,
            recv_page: 4,
            pending_page: 5,
          },
        },
      },
    },
    payload: {
      type: 3,
      typeName: "SYNDBG",
      syndbg: {
        msr: 0x400000f1,
        control: 1n,
        status: 2n,
        send_page: 3n,
        recv_page: 4n,
        pending_page: 5n,
      },
    },
    line: "HYPERV SYNDBG MSR 0x400000f1",
  },
  {
    reason: "HYPERV",
    run: { hyperv: { type: 9 } },
    payload: { type: 9, typeName: undefined },
    line: "HYPERV 9",
  },
  {
    reason: "X86_RDMSR",
    run: { msr: { reason: 4, index: 0x174 } },
    payload: { error: 0, msrReason: 4, msrReasonName: "FILTER", index: 0x174, data: 0n },
    line: "X86_RDMSR 0x174 (FILTER)",
  },
  {
    reason: "X86_WRMSR",
    run: { msr: { reason: 2, index: 0xdead, data: 0xbeef } },
    payload: { error: 0, msrReason: 2, msrReasonName: "UNKNOWN", index: 0xdead, data: 0xbeefn },
    line: "X86_WRMSR 0xdead 0xbeef (UNKNOWN)",
  },
  {
    reason: "XEN",
    run: {
      xen: { type: 1, u: { hcall: { longmode: 1, cpl: 3, input: 17, result: 0, params: [1] } } },
    },
    payload: {
      type: 1,
      typeName: "HCALL",
      hcall: { longmode: 1, cpl: 3, input: 17n, result: 0n, params: [1n, 0n, 0n, 0n, 0n, 0n] },
    },
    line: "XEN HCALL 0x11(0x1, 0x0, 0x0, 0x0, 0x0, 0x0) from CPL 3",
  },
  {
    reason: "NOTIFY",
    run: { notify: { flags: 1 } },
    payload: { flags: 1, contextInvalid: true },
    line: "NOTIFY context invalid",
  },
  {
    reason: "MEMORY_FAULT",
    run: { memory_fault: { flags: 8, gpa: 0x10_0000, size: 4096 } },
    payload: { flags: 8n, isPrivate: true, gpa: 0x10_0000, size: 4096 },
    line: "MEMORY_FAULT private 0x100000 4096 bytes",
  },
  {
    reason: "TDX",
    run: { tdx: { nr: 0x10002, get_quote: { ret: 1, gpa: 0x2000, size: 0x1000 } } },
    payload: { flags: 0n, nr: 0x10002n, get_quote: { ret: 1n, gpa: 0x2000n, size: 0x1000n } },
    line: "TDX GetQuote 0x2000",
  },
  {
    reason: "TDX",
    run: {
      tdx: { nr: 0x10000, get_tdvmcall_info: { ret: 0, leaf: 1, r11: 2, r12: 3, r13: 4, r14: 5 } },
    },
    payload: {
      flags: 0n,
      nr: 0x10000n,
      get_tdvmcall_info: { ret: 0n, leaf: 1n, r11: 2n, r12: 3n, r13: 4n, r14: 5n },
    },
    line: "TDX GetTdVmCallInfo leaf 0x1",
  },
  {
    reason: "TDX",
    run: { tdx: { nr: 0x10004, setup_event_notify: { ret: 0, vector: 0x40 } } },
    payload: { flags: 0n, nr: 0x10004n, setup_event_notify: { ret: 0n, vector: 0x40n } },
    line: "TDX SetupEventNotifyInterrupt vector 0x40",
  },
  {
    reason: "TDX",
    run: { tdx: { nr: 0x10005, unknown: { ret: 1, data: [2, 3] } } },
    payload: { flags: 0n, nr: 0x10005n, unknown: { ret: 1n, data: [2n, 3n, 0n, 0n, 0n] } },
    line: "TDX call 0x10005",
  },
  {
    reason: "SNP_REQ_CERTS",
    run: { snp_req_certs: { gpa: 0x3000, npages: 2, ret: 0 } },
    payload: { gpa: 0x3000, npages: 2n, ret: 0n },
    line: "SNP_REQ_CERTS 0x3000 2 pages",
  },
];

/** One case or more for every exit reason but IO, whose data lies elsewhere. */
export const EXIT_CASES: readonly ExitCase[] = [
  ...PLAIN.map((reason) => ({ reason, run: { padding }, payload: {}, line: reason })),
  ...OTHER_ARCHITECTURES.map((reason) => ({
    reason,
    run: { padding },
    payload: { payload: padding },
    line: reason,
  })),
  ...PAYLOADS,
];

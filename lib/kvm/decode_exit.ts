import { constantName } from "./abi/constant_name.ts";
import {
  KVM_EXIT_HYPERV,
  KVM_EXIT_IO,
  KVM_EXIT_XEN,
  KVM_HC,
  KVM_INTERNAL_ERROR,
  KVM_INTERNAL_ERROR_EMULATION_FLAG,
  KVM_MEMORY_EXIT_FLAG,
  KVM_MSR_EXIT_REASON,
  KVM_NOTIFY,
  KVM_RUN_X86,
  KVM_SYSTEM_EVENT,
} from "./abi/constants.ts";
import { EXIT_REASON, type ExitReasonName } from "./abi/exit_reasons.ts";
import { kvm_run } from "./abi/structs/run.ts";
import { run_exits } from "./abi/structs/run_exits.ts";
import type { Exit, ExitBase } from "./exit.ts";

const REASON = kvm_run.offsetOf("exit_reason");
const FLAGS = kvm_run.offsetOf("flags");
const CR8 = kvm_run.offsetOf("cr8");
/** Where the union of all payloads begins. */
const PAYLOAD = kvm_run.offsetOf("padding");
const PAYLOAD_SIZE = kvm_run.sizeOf("padding");

/**
 * Leaves of TDG.VP.VMCALL (TDX Guest-Hypervisor Communication Interface 1.5, 3): the header has their
 * layouts, not their numbers.
 */
const TDVMCALL = {
  GET_TD_VM_CALL_INFO: 0x10000n,
  GET_QUOTE: 0x10002n,
  SETUP_EVENT_NOTIFY: 0x10004n,
};

type WithoutBase<Variant> = Variant extends Exit ? Omit<Variant, keyof ExitBase<string>> : never;
type PayloadOf<Reason> = WithoutBase<Extract<Exit, { reason: Reason }>>;
type Decoders = { readonly [Reason in ExitReasonName]: (view: DataView) => PayloadOf<Reason> };

const plain = () => ({});

function opaque(view: DataView): { payload: Uint8Array } {
  return { payload: bytesAt(view, PAYLOAD, PAYLOAD_SIZE) };
}

function msr(view: DataView): PayloadOf<"X86_RDMSR"> {
  const { error, reason, index, data } = run_exits.msr.read(view, PAYLOAD);
  return {
    error,
    msrReason: reason,
    msrReasonName: constantName(KVM_MSR_EXIT_REASON, reason),
    index,
    data,
  };
}

/**
 * Copies bytes of the mapping, as far as they are in it: what is handed out must not lie over memory that the
 * kernel writes.
 */
function bytesAt(view: DataView, offset: number, length: number): Uint8Array {
  const start = Math.min(offset, view.byteLength);
  const end = Math.min(start + length, view.byteLength);
  return new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice();
}

const DECODERS: Decoders = {
  UNKNOWN: (view) => run_exits.hw.read(view, PAYLOAD),
  EXCEPTION: (view) => run_exits.ex.read(view, PAYLOAD),
  IO(view) {
    const { direction, size, port, count, data_offset } = run_exits.io.read(view, PAYLOAD);
    const isOut = direction === KVM_EXIT_IO.OUT;
    const data = bytesAt(view, Number(data_offset), size * count);
    return {
      direction: isOut ? "out" : "in",
      port,
      size,
      count,
      data: isOut ? data : data.fill(0),
    };
  },
  HYPERCALL(view) {
    const call = run_exits.hypercall.read(view, PAYLOAD);
    return {
      ...call,
      nrName: constantName(KVM_HC, Number(call.nr)),
      longmode: call.longmode !== 0,
    };
  },
  DEBUG(view) {
    const { exception, pc, dr6, dr7 } = run_exits.debug.read(view, PAYLOAD).arch;
    return { exception, pc, dr6, dr7 };
  },
  HLT: plain,
  MMIO(view) {
    const { phys_addr, len, is_write, data } = run_exits.mmio.read(view, PAYLOAD);
    const isWrite = is_write !== 0;
    const bytes = data.slice(0, len);
    return { gpa: Number(phys_addr), len, isWrite, data: isWrite ? bytes : bytes.fill(0) };
  },
  IRQ_WINDOW_OPEN: plain,
  SHUTDOWN: plain,
  FAIL_ENTRY: (view) => run_exits.fail_entry.read(view, PAYLOAD),
  INTR: plain,
  SET_TPR: (view) => ({ cr8: view.getBigUint64(CR8, true) }),
  TPR_ACCESS(view) {
    const { rip, is_write } = run_exits.tpr_access.read(view, PAYLOAD);
    return { rip, isWrite: is_write !== 0 };
  },
  S390_SIEIC: opaque,
  S390_RESET: opaque,
  DCR: opaque,
  NMI: plain,
  INTERNAL_ERROR(view) {
    const { suberror, ndata, data } = run_exits.internal.read(view, PAYLOAD);
    return {
      suberror,
      suberrorName: constantName(KVM_INTERNAL_ERROR, suberror),
      ndata,
      data: data.slice(0, ndata),
      ...(suberror === KVM_INTERNAL_ERROR.EMULATION && ndata > 0
        ? { emulation_failure: emulationFailure(view) }
        : {}),
    };
  },
  OSI: opaque,
  PAPR_HCALL: opaque,
  S390_UCONTROL: opaque,
  WATCHDOG: opaque,
  S390_TSCH: opaque,
  EPR: opaque,
  SYSTEM_EVENT(view) {
    const { type, ndata, flags, data } = run_exits.system_event.read(view, PAYLOAD);
    const typeName = constantName(KVM_SYSTEM_EVENT, type);
    return { type, typeName, flags, ndata, data: data.slice(0, ndata) };
  },
  S390_STSI: opaque,
  IOAPIC_EOI: (view) => run_exits.eoi.read(view, PAYLOAD),
  HYPERV(view) {
    const { type, u } = run_exits.hyperv.read(view, PAYLOAD);
    const { pad2: _synic, ...synic } = u.synic;
    const { pad2: _syndbg, ...syndbg } = u.syndbg;
    return {
      type,
      typeName: constantName(KVM_EXIT_HYPERV, type),
      ...(type === KVM_EXIT_HYPERV.SYNIC ? { synic } : {}),
      ...(type === KVM_EXIT_HYPERV.HCALL ? { hcall: u.hcall } : {}),
      ...(type === KVM_EXIT_HYPERV.SYNDBG ? { syndbg } : {}),
    };
  },
  ARM_NISV: opaque,
  X86_RDMSR: msr,
  X86_WRMSR: msr,
  DIRTY_RING_FULL: plain,
  AP_RESET_HOLD: plain,
  X86_BUS_LOCK: plain,
  XEN(view) {
    const { type, u } = run_exits.xen.read(view, PAYLOAD);
    return {
      type,
      typeName: constantName(KVM_EXIT_XEN, type),
      ...(type === KVM_EXIT_XEN.HCALL ? { hcall: u.hcall } : {}),
    };
  },
  RISCV_SBI: opaque,
  RISCV_CSR: opaque,
  NOTIFY(view) {
    const { flags } = run_exits.notify.read(view, PAYLOAD);
    return { flags, contextInvalid: (flags & KVM_NOTIFY.CONTEXT_INVALID) !== 0 };
  },
  LOONGARCH_IOCSR: opaque,
  MEMORY_FAULT(view) {
    const { flags, gpa, size } = run_exits.memory_fault.read(view, PAYLOAD);
    const isPrivate = (flags & KVM_MEMORY_EXIT_FLAG.PRIVATE) !== 0n;
    return { flags, isPrivate, gpa: Number(gpa), size: Number(size) };
  },
  TDX(view) {
    const { flags, nr, ...calls } = run_exits.tdx.read(view, PAYLOAD);
    switch (nr) {
      case TDVMCALL.GET_QUOTE:
        return { flags, nr, get_quote: calls.get_quote };
      case TDVMCALL.GET_TD_VM_CALL_INFO:
        return { flags, nr, get_tdvmcall_info: calls.get_tdvmcall_info };
      case TDVMCALL.SETUP_EVENT_NOTIFY:
        return { flags, nr, setup_event_notify: calls.setup_event_notify };
      default:
        return { flags, nr, unknown: calls.unknown };
    }
  },
  ARM_SEA: opaque,
  ARM_LDST64B: opaque,
  SNP_REQ_CERTS(view) {
    const { gpa, npages, ret } = run_exits.snp_req_certs.read(view, PAYLOAD);
    return { gpa: Number(gpa), npages, ret };
  },
};

function emulationFailure(view: DataView) {
  const { flags, insn_size, insn_bytes } = run_exits.emulation_failure.read(view, PAYLOAD);
  const vouched = (flags & KVM_INTERNAL_ERROR_EMULATION_FLAG.INSTRUCTION_BYTES) !== 0n;
  return vouched ? { flags, insn_size, insn_bytes: insn_bytes.slice(0, insn_size) } : { flags };
}

const REASON_NAMES: ReadonlyMap<number, ExitReasonName> = new Map(
  Object.entries(EXIT_REASON).map(([name, number]) => [number, name as ExitReasonName]),
);

/**
 * Decodes the exit that `kvm_run` holds, whole, into an object of its own: nothing of it lies over the
 * mapping.
 *
 * Of an IO exit whose data would reach past the mapping, `data` is the part that does not.
 *
 * @param view Over the vCPU's mapping, from its first byte.
 * @throws {RangeError} When the view is smaller than `kvm_run`. No content makes it throw.
 *
 * @example
 * ```ts
 * import { decodeExit } from "./decode_exit.ts";
 * import { EXIT_REASON } from "./abi/exit_reasons.ts";
 * import { kvm_run } from "./abi/structs/run.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const view = new DataView(new ArrayBuffer(4096));
 * kvm_run.write(view, 0, { exit_reason: EXIT_REASON.HLT });
 * assertEquals(decodeExit(view).reason, "HLT");
 * ```
 */
export function decodeExit(view: DataView): Exit {
  if (view.byteLength < kvm_run.size) {
    throw new RangeError(
      `Cannot decode an exit from ${view.byteLength} bytes: struct kvm_run has ${kvm_run.size}; ` +
        "give a view over the whole mapping of the vCPU",
    );
  }
  const number = view.getUint32(REASON, true);
  const flags = view.getUint16(FLAGS, true);
  const runFlags = {
    smm: (flags & KVM_RUN_X86.SMM) !== 0,
    busLock: (flags & KVM_RUN_X86.BUS_LOCK) !== 0,
    guestMode: (flags & KVM_RUN_X86.GUEST_MODE) !== 0,
  };
  const reason = REASON_NAMES.get(number);
  if (reason === undefined) {
    return { reason: "UNKNOWN_TO_VMEXIT", number, runFlags, ...opaque(view) };
  }
  // The table's type says that each reason has its own payload; TypeScript cannot follow that through the
  // look-up.
  return { reason, number, runFlags, ...DECODERS[reason](view) } as Exit;
}

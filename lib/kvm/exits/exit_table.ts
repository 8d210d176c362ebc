import type { FieldPath } from "../../ffi/struct.ts";
import {
  constantName,
  KVM_EXIT_HYPERV,
  KVM_EXIT_IO,
  KVM_EXIT_XEN,
  KVM_HC,
  KVM_INTERNAL_ERROR,
  KVM_INTERNAL_ERROR_EMULATION_FLAG,
  KVM_MEMORY_EXIT_FLAG,
  KVM_MSR_EXIT_REASON,
  KVM_NOTIFY,
  KVM_SYSTEM_EVENT,
} from "../abi/constants.ts";
import type { ExitReasonName } from "../abi/exit_reasons.ts";
import { kvm_run, type KvmRun } from "../abi/structs/run.ts";
import { run_exits } from "../abi/structs/run_exits.ts";
import type { AnsweredReason, EmulationFailure, Exit, ExitAnswers, ExitBase } from "./exit.ts";

/** Where the payload of the commonest exits has what: they are read one by one, because most of an exit's time is this. */
const IO = {
  direction: kvm_run.offsetOf("io.direction"),
  size: kvm_run.offsetOf("io.size"),
  port: kvm_run.offsetOf("io.port"),
  count: kvm_run.offsetOf("io.count"),
  dataOffset: kvm_run.offsetOf("io.data_offset"),
};

const MMIO = {
  address: kvm_run.offsetOf("mmio.phys_addr"),
  data: kvm_run.offsetOf("mmio.data"),
  length: kvm_run.offsetOf("mmio.len"),
  isWrite: kvm_run.offsetOf("mmio.is_write"),
};
const MMIO_SIZE = kvm_run.sizeOf("mmio.data");

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

/** The names of the accesses that `in` and `out` make, by their bytes. */
const PORT_ACCESS: Readonly<Record<number, string>> = { 1: "byte", 2: "word", 4: "dword" };

/** So many are copied one by one. */
const FEW_BYTES = 16;

/** How many values a byte has. */
const BYTE_VALUES = 0x100;

/** The most bytes that one line shows. */
const MOST_BYTES = 48;

const PRINTABLE = /^[\x20-\x7e\n\r\t]+$/;

/** Names for what an exit has as a number only. */
export interface ExitNames {
  /** The name of an MSR, where it has one. */
  readonly msrName?: (index: number) => string | undefined;
}

/** The fields that every exit has. */
const BASE_FIELDS: readonly (keyof ExitBase<string>)[] = ["reason", "number", "runFlags"];

type VariantOf<Reason> = Extract<Exit, { reason: Reason }>;
type WithoutBase<Variant> = Variant extends Exit ? Omit<Variant, keyof ExitBase<string>> : never;
type PayloadOf<Reason> = WithoutBase<VariantOf<Reason>>;

/** What the exits of one reason are. */
type ExitKind<Reason extends ExitReasonName> =
  & {
    /** Reads its payload from a vCPU's mapping, as copies. */
    decode(view: DataView): PayloadOf<Reason>;
    /** What its line says behind the reason's name. */
    details?(exit: VariantOf<Reason>, names: ExitNames): string;
    /** The fields that say where an access is, and of which kind. */
    readonly place?: readonly (keyof PayloadOf<Reason>)[];
    /** It comes in the middle of the guest's work, which goes on at the next `KVM_RUN`. */
    readonly goesOn?: true;
    /** The fields that only some of these exits have. */
    readonly optional?: readonly (keyof PayloadOf<Reason>)[];
    /** Nobody has to answer it: it ends a run, because the guest has ended or the test has asked for it. */
    readonly endsRun?: true;
  }
  & (Reason extends AnsweredReason ? {
      /** Where each field of its answer lies in `kvm_run`. */
      readonly answer: {
        readonly [Field in keyof ExitAnswers[Reason]]-?: FieldPath<KvmRun>;
      };
    }
    : { readonly answer?: undefined });

const plain = { decode: () => ({}) };
const opaque = { decode: opaquePayload };

/** What vmexit knows of the exits of each reason, in one place; all else of the library reads it here. */
export const EXITS: { readonly [Reason in ExitReasonName]: ExitKind<Reason> } = {
  UNKNOWN: {
    decode: (view) => run_exits.hw.read(view, PAYLOAD),
    details: (exit) => `hardware exit reason ${hex(exit.hardware_exit_reason)}`,
  },
  EXCEPTION: {
    decode: (view) => run_exits.ex.read(view, PAYLOAD),
    details: (exit) => `vector ${exit.exception}, error code ${hex(exit.error_code)}`,
  },
  IO: {
    decode(view) {
      const isOut = view.getUint8(IO.direction) === KVM_EXIT_IO.OUT;
      const size = view.getUint8(IO.size);
      const count = view.getUint32(IO.count, true);
      const offset = wordAt(view, IO.dataOffset);
      const length = size * count;
      return {
        direction: isOut ? "out" : "in",
        port: view.getUint16(IO.port, true),
        size,
        count,
        data: isOut ? writtenBytes(view, offset, length) : bytesAt(view, offset, length).fill(0),
      };
    },
    details({ direction, port, size, count, data }) {
      const access = PORT_ACCESS[size] ?? `${size} bytes`;
      const head = `${direction} ${hex(port)} ${access}${count === 1 ? "" : ` × ${count}`}`;
      if (direction === "in") return head;
      return `${head} ${count === 1 ? valueText(data) : bytesText(data)}`;
    },
    place: ["port", "direction"],
    goesOn: true,
  },
  HYPERCALL: {
    decode(view) {
      const call = run_exits.hypercall.read(view, PAYLOAD);
      return {
        ...call,
        nrName: constantName(KVM_HC, Number(call.nr)),
        longmode: call.longmode !== 0,
      };
    },
    details: ({ nr, nrName, args, longmode }) =>
      `${nrName ?? hex(nr)}(${args.map(hex).join(", ")})${longmode ? " from 64-bit mode" : ""}`,
    answer: { ret: "hypercall.ret" },
    goesOn: true,
  },
  DEBUG: {
    decode(view) {
      const { exception, pc, dr6, dr7 } = run_exits.debug.read(view, PAYLOAD).arch;
      return { exception, pc, dr6, dr7 };
    },
    details: ({ exception, pc, dr6, dr7 }) =>
      `exception ${exception} at ${hex(pc)}, dr6 ${hex(dr6)}, dr7 ${hex(dr7)}`,
    // It comes only where a test has asked for it.
    goesOn: true,
    endsRun: true,
  },
  HLT: { ...plain, endsRun: true },
  MMIO: {
    decode(view) {
      const isWrite = view.getUint8(MMIO.isWrite) !== 0;
      const len = view.getUint32(MMIO.length, true);
      const length = Math.min(len, MMIO_SIZE);
      return {
        gpa: wordAt(view, MMIO.address),
        len,
        isWrite,
        data: isWrite ? writtenBytes(view, MMIO.data, length) : new Uint8Array(length),
      };
    },
    details({ gpa, len, isWrite, data }) {
      const head = `${isWrite ? "write" : "read"} ${hex(gpa)} ${len} byte${len === 1 ? "" : "s"}`;
      return isWrite ? `${head} ${valueText(data)}` : head;
    },
    place: ["gpa", "isWrite"],
    goesOn: true,
  },
  // As DEBUG.
  IRQ_WINDOW_OPEN: { ...plain, goesOn: true, endsRun: true },
  SHUTDOWN: plain,
  FAIL_ENTRY: {
    decode: (view) => run_exits.fail_entry.read(view, PAYLOAD),
    details: (exit) =>
      `hardware reason ${hex(exit.hardware_entry_failure_reason)} on CPU ${exit.cpu}`,
  },
  INTR: plain,
  SET_TPR: {
    decode: (view) => ({ cr8: view.getBigUint64(kvm_run.offsetOf("cr8"), true) }),
    details: (exit) => `cr8 ${hex(exit.cr8)}`,
    goesOn: true,
  },
  TPR_ACCESS: {
    decode(view) {
      const { rip, is_write } = run_exits.tpr_access.read(view, PAYLOAD);
      return { rip, isWrite: is_write !== 0 };
    },
    details: (exit) => `${exit.isWrite ? "write" : "read"} at ${hex(exit.rip)}`,
    place: ["isWrite"],
    goesOn: true,
  },
  S390_SIEIC: opaque,
  S390_RESET: opaque,
  DCR: opaque,
  NMI: plain,
  INTERNAL_ERROR: {
    optional: ["emulation_failure"],
    decode(view) {
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
    details({ suberror, suberrorName, data, emulation_failure }) {
      const name = suberrorName ?? String(suberror);
      const bytes = emulation_failure?.insn_bytes;
      return bytes === undefined ? name + listText(data) : `${name}: ${hexBytes(bytes)}`;
    },
  },
  OSI: opaque,
  PAPR_HCALL: opaque,
  S390_UCONTROL: opaque,
  WATCHDOG: opaque,
  S390_TSCH: opaque,
  EPR: opaque,
  SYSTEM_EVENT: {
    decode(view) {
      const { type, ndata, flags, data } = run_exits.system_event.read(view, PAYLOAD);
      const typeName = constantName(KVM_SYSTEM_EVENT, type);
      return { type, typeName, flags, ndata, data: data.slice(0, ndata) };
    },
    details: (exit) => `${exit.typeName ?? exit.type}${listText(exit.data)}`,
  },
  S390_STSI: opaque,
  IOAPIC_EOI: {
    decode: (view) => run_exits.eoi.read(view, PAYLOAD),
    details: (exit) => `vector ${hex(exit.vector)}`,
    goesOn: true,
  },
  HYPERV: {
    optional: ["synic", "hcall", "syndbg"],
    decode(view) {
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
    details({ type, typeName, synic, hcall, syndbg }) {
      const name = typeName ?? String(type);
      if (hcall !== undefined) {
        return `${name} ${hex(hcall.input)}(${hcall.params.map(hex).join(", ")})`;
      }
      const written = synic ?? syndbg;
      return written === undefined ? name : `${name} MSR ${hex(written.msr)}`;
    },
    answer: { result: "hyperv.u.hcall.result" },
    goesOn: true,
  },
  ARM_NISV: opaque,
  X86_RDMSR: {
    decode: msrPayload,
    details: (exit, names) => `${msrText(exit, names)} ${msrReasonText(exit)}`,
    place: ["index"],
    answer: { data: "msr.data", error: "msr.error" },
    goesOn: true,
  },
  X86_WRMSR: {
    decode: msrPayload,
    details: (exit, names) => `${msrText(exit, names)} ${hex(exit.data)} ${msrReasonText(exit)}`,
    place: ["index"],
    answer: { error: "msr.error" },
    goesOn: true,
  },
  DIRTY_RING_FULL: { ...plain, goesOn: true },
  AP_RESET_HOLD: plain,
  X86_BUS_LOCK: { ...plain, goesOn: true },
  XEN: {
    optional: ["hcall"],
    decode(view) {
      const { type, u } = run_exits.xen.read(view, PAYLOAD);
      return {
        type,
        typeName: constantName(KVM_EXIT_XEN, type),
        ...(type === KVM_EXIT_XEN.HCALL ? { hcall: u.hcall } : {}),
      };
    },
    details: ({ type, typeName, hcall }) =>
      hcall === undefined
        ? typeName ?? String(type)
        : `HCALL ${hex(hcall.input)}(${hcall.params.map(hex).join(", ")}) from CPL ${hcall.cpl}`,
    answer: { result: "xen.u.hcall.result" },
    goesOn: true,
  },
  RISCV_SBI: opaque,
  RISCV_CSR: opaque,
  NOTIFY: {
    decode(view) {
      const { flags } = run_exits.notify.read(view, PAYLOAD);
      return { flags, contextInvalid: (flags & KVM_NOTIFY.CONTEXT_INVALID) !== 0 };
    },
    details: (exit) => exit.contextInvalid ? "context invalid" : "",
    goesOn: true,
  },
  LOONGARCH_IOCSR: opaque,
  MEMORY_FAULT: {
    decode(view) {
      const { flags, gpa, size } = run_exits.memory_fault.read(view, PAYLOAD);
      const isPrivate = (flags & KVM_MEMORY_EXIT_FLAG.PRIVATE) !== 0n;
      return { flags, isPrivate, gpa: Number(gpa), size: Number(size) };
    },
    details: (exit) => `${exit.isPrivate ? "private " : ""}${hex(exit.gpa)} ${exit.size} bytes`,
    place: ["gpa"],
  },
  TDX: {
    optional: ["get_quote", "get_tdvmcall_info", "setup_event_notify", "unknown"],
    decode(view) {
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
    details({ nr, get_quote, get_tdvmcall_info, setup_event_notify }) {
      if (get_quote !== undefined) return `GetQuote ${hex(get_quote.gpa)}`;
      if (get_tdvmcall_info !== undefined) {
        return `GetTdVmCallInfo leaf ${hex(get_tdvmcall_info.leaf)}`;
      }
      if (setup_event_notify === undefined) return `call ${hex(nr)}`;
      return `SetupEventNotifyInterrupt vector ${hex(setup_event_notify.vector)}`;
    },
  },
  ARM_SEA: opaque,
  ARM_LDST64B: opaque,
  SNP_REQ_CERTS: {
    decode(view) {
      const { gpa, npages, ret } = run_exits.snp_req_certs.read(view, PAYLOAD);
      return { gpa: Number(gpa), npages, ret };
    },
    details: (exit) => `${hex(exit.gpa)} ${exit.npages} pages`,
    place: ["gpa"],
  },
};

/** What the table says of an exit's reason; undefined for one that this version of vmexit does not know. */
function kindOf(reason: Exit["reason"]): ExitKind<"HLT"> | undefined {
  // Each row takes its own reason's exits; what is not about one is alike in all.
  return reason === "UNKNOWN_TO_VMEXIT" ? undefined : EXITS[reason] as ExitKind<"HLT">;
}

/**
 * Whether the guest goes on from this exit at the next `KVM_RUN`: it came in the middle of the guest's work.
 * HLT, SHUTDOWN and errors end what a guest does.
 */
export function goesOn(exit: Exit): boolean {
  return kindOf(exit.reason)?.goesOn === true;
}

/** Whether a run ends with this exit although nobody answers it. */
export function endsRun(exit: Exit): boolean {
  return kindOf(exit.reason)?.endsRun === true;
}

/** The fields that say where an exit of that reason is: a port, an address, an MSR, and which kind of access. */
export function placeOf(reason: Exit["reason"]): readonly string[] {
  return kindOf(reason)?.place ?? [];
}

/** The names of the fields that exits of that reason have. */
export function fieldsOf(reason: Exit["reason"]): readonly string[] {
  const kind = kindOf(reason);
  const view = new DataView(new ArrayBuffer(kvm_run.size));
  const payload = kind?.decode(view) ?? opaquePayload(view);
  return [...BASE_FIELDS, ...Object.keys(payload), ...kind?.optional ?? []];
}

/** The payload of an exit that is left as it is. */
export function opaquePayload(view: DataView): { payload: Uint8Array } {
  return { payload: bytesAt(view, PAYLOAD, PAYLOAD_SIZE) };
}

/**
 * Copies bytes of the mapping, as far as they are in it: what is handed out must not lie over memory that the
 * kernel writes.
 */
function bytesAt(view: DataView, offset: number, length: number): Uint8Array {
  const start = Math.min(offset, view.byteLength);
  const end = Math.min(start + length, view.byteLength);
  const bytes = new Uint8Array(end - start);
  // Another view of the buffer costs more than all else of an exit that carries a few bytes.
  if (bytes.length > FEW_BYTES) {
    bytes.set(new Uint8Array(view.buffer, view.byteOffset + start, bytes.length));
  } else for (let at = 0; at < bytes.length; at++) bytes[at] = view.getUint8(start + at);
  return bytes;
}

/** A number of 64 bits, as near as a number comes. */
function wordAt(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

/** The latest copies of few bytes that were written: of one byte by what it is, of more by how many they are. */
const COPIES: (Uint8Array | undefined)[] = [];

/**
 * The same of what the guest writes. Making an array costs more than all else of an exit, so that exits with the same bytes
 * have the same, as long as nobody has changed it.
 */
function writtenBytes(view: DataView, offset: number, length: number): Uint8Array {
  if (length > FEW_BYTES || length === 0 || offset + length > view.byteLength) {
    return bytesAt(view, offset, length);
  }
  const key = length === 1 ? view.getUint8(offset) : BYTE_VALUES + length;
  const copy = COPIES[key];
  if (copy !== undefined && isCopy(copy, view, offset, length)) return copy;
  return COPIES[key] = bytesAt(view, offset, length);
}

function isCopy(copy: Uint8Array, view: DataView, offset: number, length: number): boolean {
  if (copy.length !== length) return false;
  for (let at = 0; at < length; at++) if (copy[at] !== view.getUint8(offset + at)) return false;
  return true;
}

function msrPayload(view: DataView): PayloadOf<"X86_RDMSR"> {
  const { error, reason, index, data } = run_exits.msr.read(view, PAYLOAD);
  const msrReasonName = constantName(KVM_MSR_EXIT_REASON, reason);
  return { error, msrReason: reason, msrReasonName, index, data };
}

function msrText({ index }: { index: number }, { msrName }: ExitNames): string {
  const name = msrName?.(index);
  return name === undefined ? hex(index) : `${hex(index)} ${name}`;
}

function msrReasonText(exit: { msrReason: number; msrReasonName?: string }): string {
  return `(${exit.msrReasonName ?? `reason ${hex(exit.msrReason)}`})`;
}

function emulationFailure(view: DataView): EmulationFailure {
  const { flags, insn_size, insn_bytes } = run_exits.emulation_failure.read(view, PAYLOAD);
  const vouched = (flags & KVM_INTERNAL_ERROR_EMULATION_FLAG.INSTRUCTION_BYTES) !== 0n;
  return vouched ? { flags, insn_size, insn_bytes: insn_bytes.slice(0, insn_size) } : { flags };
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

function listText(values: readonly bigint[]): string {
  return values.length === 0 ? "" : ` data ${values.map(hex).join(" ")}`;
}

/** The value of one access, with its character where it is a printable one. */
function valueText(bytes: Uint8Array): string {
  const text = hex(bytes.reduceRight((high, byte) => high << 8n | BigInt(byte), 0n));
  const [byte] = bytes;
  const isCharacter = bytes.length === 1 && byte >= 0x20 && byte <= 0x7e;
  return isCharacter ? `${text} ${JSON.stringify(String.fromCharCode(byte))}` : text;
}

function bytesText(bytes: Uint8Array): string {
  const shown = bytes.subarray(0, MOST_BYTES);
  const rest = bytes.length > shown.length ? ` … (${bytes.length} bytes)` : "";
  const text = String.fromCharCode(...shown);
  return (PRINTABLE.test(text) ? JSON.stringify(text) : hexBytes(shown)) + rest;
}

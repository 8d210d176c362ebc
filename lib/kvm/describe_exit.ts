import type { Exit, HypervExit, InternalErrorExit, IoExit, MmioExit, TdxExit } from "./exit.ts";

/** The names of the accesses that `in` and `out` make, by their bytes. */
const PORT_ACCESS: Readonly<Record<number, string>> = { 1: "byte", 2: "word", 4: "dword" };

/** The most bytes that one line shows. */
const MOST_BYTES = 48;

const PRINTABLE = /^[\x20-\x7e\n\r\t]+$/;

/** Names for what an exit has as a number only. */
export interface ExitNames {
  /** The name of an MSR, where it has one. */
  readonly msrName?: (index: number) => string | undefined;
}

/**
 * An exit in one line for tables and failure pages: numbers in hex, constants by name.
 *
 * @param names What else has names: {@linkcode msrName} names MSRs.
 *
 * @example
 * ```ts
 * import { describeExit } from "@vmexit/vmexit";
 * import { assertEquals } from "@std/assert";
 *
 * const line = describeExit({
 *   reason: "IO",
 *   number: 2,
 *   runFlags: { smm: false, busLock: false, guestMode: false },
 *   direction: "out",
 *   port: 0x3f8,
 *   size: 1,
 *   count: 1,
 *   data: new Uint8Array([0x41]),
 * });
 * assertEquals(line, 'IO out 0x3f8 byte 0x41 "A"');
 * ```
 */
export function describeExit(exit: Exit, names: ExitNames = {}): string {
  const { smm, busLock, guestMode } = exit.runFlags;
  const during = [
    smm ? "in SMM" : "",
    busLock ? "bus locked" : "",
    guestMode ? "in a nested guest" : "",
  ].filter((part) => part !== "");
  return payload(exit, names) + (during.length === 0 ? "" : ` (${during.join(", ")})`);
}

function payload(exit: Exit, names: ExitNames): string {
  switch (exit.reason) {
    case "IO":
      return io(exit);
    case "MMIO":
      return mmio(exit);
    case "UNKNOWN":
      return `UNKNOWN hardware exit reason ${hex(exit.hardware_exit_reason)}`;
    case "EXCEPTION":
      return `EXCEPTION vector ${exit.exception}, error code ${hex(exit.error_code)}`;
    case "HYPERCALL":
      return `HYPERCALL ${exit.nrName ?? hex(exit.nr)}(${exit.args.map(hex).join(", ")})` +
        (exit.longmode ? " from 64-bit mode" : "");
    case "DEBUG":
      return `DEBUG exception ${exit.exception} at ${hex(exit.pc)}, ` +
        `dr6 ${hex(exit.dr6)}, dr7 ${hex(exit.dr7)}`;
    case "FAIL_ENTRY":
      return `FAIL_ENTRY hardware reason ${
        hex(exit.hardware_entry_failure_reason)
      } on CPU ${exit.cpu}`;
    case "SET_TPR":
      return `SET_TPR cr8 ${hex(exit.cr8)}`;
    case "TPR_ACCESS":
      return `TPR_ACCESS ${exit.isWrite ? "write" : "read"} at ${hex(exit.rip)}`;
    case "INTERNAL_ERROR":
      return internalError(exit);
    case "SYSTEM_EVENT":
      return `SYSTEM_EVENT ${exit.typeName ?? exit.type}${list(exit.data)}`;
    case "IOAPIC_EOI":
      return `IOAPIC_EOI vector ${hex(exit.vector)}`;
    case "HYPERV":
      return hyperv(exit);
    case "X86_RDMSR":
      return `X86_RDMSR ${msr(exit, names)}${msrReason(exit)}`;
    case "X86_WRMSR":
      return `X86_WRMSR ${msr(exit, names)} ${hex(exit.data)}${msrReason(exit)}`;
    case "XEN":
      return exit.hcall === undefined
        ? `XEN ${exit.typeName ?? exit.type}`
        : `XEN HCALL ${hex(exit.hcall.input)}(${exit.hcall.params.map(hex).join(", ")}) ` +
          `from CPL ${exit.hcall.cpl}`;
    case "NOTIFY":
      return `NOTIFY${exit.contextInvalid ? " context invalid" : ""}`;
    case "MEMORY_FAULT":
      return `MEMORY_FAULT ${exit.isPrivate ? "private " : ""}${hex(exit.gpa)} ${exit.size} bytes`;
    case "TDX":
      return tdx(exit);
    case "SNP_REQ_CERTS":
      return `SNP_REQ_CERTS ${hex(exit.gpa)} ${exit.npages} pages`;
    case "UNKNOWN_TO_VMEXIT":
      return `exit reason ${exit.number}, which this version of vmexit does not know`;
    default:
      return exit.reason;
  }
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

function list(values: readonly bigint[]): string {
  return values.length === 0 ? "" : ` data ${values.map(hex).join(" ")}`;
}

/** The value of one access, with its character where it is a printable one. */
function value(bytes: Uint8Array): string {
  const text = hex(bytes.reduceRight((high, byte) => high << 8n | BigInt(byte), 0n));
  const [byte] = bytes;
  const isCharacter = bytes.length === 1 && byte >= 0x20 && byte <= 0x7e;
  return isCharacter ? `${text} ${JSON.stringify(String.fromCharCode(byte))}` : text;
}

function textOrHex(bytes: Uint8Array): string {
  const shown = bytes.subarray(0, MOST_BYTES);
  const rest = bytes.length > shown.length ? ` … (${bytes.length} bytes)` : "";
  const text = String.fromCharCode(...shown);
  return (PRINTABLE.test(text) ? JSON.stringify(text) : hexBytes(shown)) + rest;
}

function io({ direction, port, size, count, data }: IoExit): string {
  const access = PORT_ACCESS[size] ?? `${size} bytes`;
  const head = `IO ${direction} ${hex(port)} ${access}${count === 1 ? "" : ` × ${count}`}`;
  if (direction === "in") return head;
  return `${head} ${count === 1 ? value(data) : textOrHex(data)}`;
}

function mmio({ gpa, len, isWrite, data }: MmioExit): string {
  const head = `MMIO ${isWrite ? "write" : "read"} ${hex(gpa)} ${len} byte${len === 1 ? "" : "s"}`;
  return isWrite ? `${head} ${value(data)}` : head;
}

function internalError(exit: InternalErrorExit): string {
  const head = `INTERNAL_ERROR ${exit.suberrorName ?? exit.suberror}`;
  const bytes = exit.emulation_failure?.insn_bytes;
  if (bytes !== undefined) return `${head}: ${hexBytes(bytes)}`;
  return head + list(exit.data);
}

function hyperv({ type, typeName, synic, hcall, syndbg }: HypervExit): string {
  const head = `HYPERV ${typeName ?? type}`;
  if (hcall !== undefined) {
    return `${head} ${hex(hcall.input)}(${hcall.params.map(hex).join(", ")})`;
  }
  const written = synic ?? syndbg;
  return written === undefined ? head : `${head} MSR ${hex(written.msr)}`;
}

function msr({ index }: { index: number }, { msrName }: ExitNames): string {
  const name = msrName?.(index);
  return name === undefined ? hex(index) : `${hex(index)} ${name}`;
}

function msrReason(exit: { msrReason: number; msrReasonName?: string }): string {
  return ` (${exit.msrReasonName ?? `reason ${hex(exit.msrReason)}`})`;
}

function tdx(exit: TdxExit): string {
  if (exit.get_quote !== undefined) return `TDX GetQuote ${hex(exit.get_quote.gpa)}`;
  if (exit.get_tdvmcall_info !== undefined) {
    return `TDX GetTdVmCallInfo leaf ${hex(exit.get_tdvmcall_info.leaf)}`;
  }
  if (exit.setup_event_notify !== undefined) {
    return `TDX SetupEventNotifyInterrupt vector ${hex(exit.setup_event_notify.vector)}`;
  }
  return `TDX call ${hex(exit.nr)}`;
}

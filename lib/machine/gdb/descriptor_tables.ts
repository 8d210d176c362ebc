import { gates, readGate } from "../../x86/diagnosis/gate.ts";
import { describeSegment, GuestView, SYSTEM_TYPES } from "../../x86/diagnosis/guest_view.ts";
import { hex } from "../../x86/hex.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { nameOf, stopOf } from "../report/what_happened.ts";

/** Bytes of a descriptor (Intel SDM Vol. 3A, 3.4.5). */
const DESCRIPTOR_SIZE = 8;

/** Digits of the selector, and of the offset, of a real-mode interrupt vector (Intel SDM Vol. 3A, 20.1.4). */
const FAR_DIGITS = 4;
const FAR_POINTER_SIZE = 4;

function viewOf(cpu: StoppedCpu): GuestView {
  return new GuestView(stopOf(cpu), (linear) => nameOf(cpu, linear));
}

/** The descriptors of a CPU's GDT that are not all zeros, one a line. */
export function gdtText(cpu: StoppedCpu): string {
  const view = viewOf(cpu);
  const { base, limit } = view.special.gdt;
  const rows: string[] = [];
  for (let selector = DESCRIPTOR_SIZE; selector < limit; selector += DESCRIPTOR_SIZE) {
    const entry = view.lookUp(selector);
    if (entry.found !== "descriptor") {
      rows.push(row(selector, "why" in entry ? entry.why : entry.found));
      break;
    }
    const { segment, bytes } = entry.descriptor;
    if (bytes.every((byte) => byte === 0)) continue;
    rows.push(row(selector, describeSegment(segment, bytes)));
    // In long mode a system descriptor takes the place of two (Intel SDM Vol. 3A, 3.5).
    if (segment.s === 0 && view.efer("lma")) selector += DESCRIPTOR_SIZE;
  }
  return table(`GDTR: base ${view.place(base)}, limit ${hex(limit, 2)}`, rows);
}

/** The gates of a CPU's IDT that are present, or in real mode its interrupt vectors, one a line. */
export function idtText(cpu: StoppedCpu): string {
  const view = viewOf(cpu);
  const { base, limit } = view.special.idt;
  const rows = view.mode === "real"
    ? realVectors(view, base, limit)
    : gates(view).map(({ descriptor: { index, bytes }, target }) => {
      const { selector, type, dpl, ist } = readGate(bytes);
      const words = [
        `${SYSTEM_TYPES[type]} to ${far(selector)}:${view.place(target)}`,
        ...dpl === 0 ? [] : [`DPL ${dpl}`],
        ...ist === 0 ? [] : [`IST ${ist}`],
      ];
      return row(index, words.join(", "));
    });
  return table(`IDTR: base ${view.place(base)}, limit ${hex(limit, 2)}`, rows);
}

function realVectors(view: GuestView, base: bigint, limit: number): string[] {
  const rows: string[] = [];
  for (let at = 0; at + FAR_POINTER_SIZE <= limit + 1; at += FAR_POINTER_SIZE) {
    const bytes = view.read(base + BigInt(at), FAR_POINTER_SIZE);
    if (bytes === undefined) break;
    if (bytes.every((byte) => byte === 0)) continue;
    const [offset, segment] = new Uint16Array(bytes.slice().buffer);
    const target = BigInt(segment) * 16n + BigInt(offset);
    rows.push(row(at / FAR_POINTER_SIZE, `${far(segment)}:${far(offset)}, ${view.place(target)}`));
  }
  return rows;
}

function row(number: number, text: string): string {
  return `  ${hex(number, 2)}  ${text}`;
}

function far(value: number): string {
  return value.toString(16).padStart(FAR_DIGITS, "0");
}

function table(head: string, rows: readonly string[]): string {
  return [head, ...rows.length === 0 ? ["  it has no entries"] : rows].join("\n");
}

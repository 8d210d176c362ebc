import type { GuestView } from "./guest_view.ts";
import { littleEndian } from "./guest_view.ts";
import type { FoundDescriptor } from "./incident.ts";

/** Bytes of a gate outside long mode (Intel SDM Vol. 3A, 6.11). */
export const GATE_SIZE = 8;
/** Bytes of a gate in long mode (Intel SDM Vol. 3A, 6.14.1). */
export const LONG_GATE_SIZE = 16;

/** Types of gates (Intel SDM Vol. 3A, table 3-2). */
export const GATE = { task: 0x5, interrupt16: 0x6, trap16: 0x7, interrupt: 0xe, trap: 0xf };

/** The gates of the IDT that are there, with the linear addresses that they lead to. */
export function gates(
  view: GuestView,
): { readonly descriptor: FoundDescriptor; readonly target: bigint }[] {
  if (view.mode === "real") return [];
  const isLong = view.efer("lma");
  const size = isLong ? LONG_GATE_SIZE : GATE_SIZE;
  const { base, limit } = view.special.idt;
  const count = Math.min(VECTORS, Math.floor((limit + 1) / size));
  const table = view.read(base, count * size);
  if (table === undefined) return [];
  return Array.from({ length: count }, (_, index) => index).flatMap((index) => {
    const bytes = table.slice(index * size, (index + 1) * size);
    const gate = readGate(bytes);
    if (!gate.present || !isGate(gate.type, gate.s, isLong) || gate.type === GATE.task) return [];
    const code = view.lookUp(gate.selector);
    const segment = code.found === "descriptor" && !isLong ? code.descriptor.segment.base : 0n;
    const descriptor: FoundDescriptor = {
      table: "IDT",
      index,
      linear: base + BigInt(index * size),
      bytes,
    };
    return [{ descriptor, target: segment + gate.offset }];
  });
}

const VECTORS = 256;

/** What a gate says. */
export interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  readonly type: number;
  readonly s: number;
  readonly dpl: number;
  readonly present: boolean;
  readonly ist: number;
}

/** A gate's fields (Intel SDM Vol. 3A, figures 6-2 and 6-8). */
export function readGate(bytes: Uint8Array): Gate {
  const low = littleEndian(bytes.subarray(0, GATE_SIZE));
  const high = bytes.length > GATE_SIZE ? littleEndian(bytes.subarray(8, 12)) : 0n;
  const flags = Number(low >> 40n & 0xffn);
  const type = flags & 0xf;
  const wide = type === GATE.interrupt || type === GATE.trap;
  return {
    selector: Number(low >> 16n & 0xffffn),
    offset: (low & 0xffffn) | (wide ? (low >> 48n) << 16n : 0n) | high << 32n,
    type,
    s: flags >> 4 & 1,
    dpl: flags >> 5 & 3,
    present: (flags & 0x80) !== 0,
    ist: Number(low >> 32n & 7n),
  };
}

/** Whether a descriptor of this type is a gate that the IDT may have. */
export function isGate(type: number, s: number, isLong: boolean): boolean {
  if (s !== 0) return false;
  if (type === GATE.interrupt || type === GATE.trap) return true;
  return !isLong && (type === GATE.task || type === GATE.interrupt16 || type === GATE.trap16);
}

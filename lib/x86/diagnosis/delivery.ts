import { type ExceptionName, exceptionOf, exceptions } from "../exceptions/exceptions.ts";
import { hex, hexBytes } from "../hex.ts";
import { isCanonical } from "../paging/canonical.ts";
import { type GuestView, SYSTEM_TYPES } from "./guest_view.ts";
import type { Finding, FoundDescriptor, InterruptSource } from "./incident.ts";
import { checkPages, linearAddressBits } from "./memory_rules.ts";
import { GATE, type Gate, GATE_SIZE, isGate, LONG_GATE_SIZE, readGate } from "./gate.ts";
import { frameWithoutMemory, handlerStack } from "./handler_stack.ts";
import { nearestLabel } from "./nearest_label.ts";
import { writersText } from "./history.ts";
import { cause, raise, type Raised } from "./raised.ts";
import { loadCodeSegment } from "./segment_loads.ts";

/** What is to be delivered. */
export interface Event {
  /** Its vector. */
  readonly vector: number;
  /** Where it comes from; absent where it is an exception. Of `int n` the gate's DPL counts. */
  readonly source?: InterruptSource;
}

/** Where a handler is. */
export interface Handler {
  /** The selector of its code segment. */
  readonly selector: number;
  /** Its offset there. */
  readonly offset: bigint;
  /** Its linear address. */
  readonly linear: bigint;
  /** The gate that names it, where there is one. */
  readonly descriptor?: FoundDescriptor;
}

/** How the delivery of an event ends. */
export type Delivery =
  /** A handler is entered. */
  | { readonly handler: Handler }
  /** Another exception comes of it. */
  | { readonly raised: Raised }
  /** What it takes lies where there is no memory: no rule says what comes of it. */
  | { readonly stuck: Stuck };

/** What a delivery reaches for where there is no memory. */
interface Stuck {
  /** What it is, and where: a clause. */
  readonly reason: string;
  /** The registers that it is found by. */
  readonly registers: readonly string[];
}

const REAL_ENTRY = 4;
const IN_IDT = 0x2;
const REAL_LIMIT = 0x3ff;

/** How an event would be delivered with the registers and the memory of an incident (Intel SDM Vol. 3A, 6.12, 6.14). */
export function deliver(view: GuestView, event: Event): Delivery {
  return view.mode === "real" ? deliverInRealMode(view, event) : deliverByGate(view, event);
}

function deliverInRealMode(view: GuestView, { vector }: Event): Delivery {
  const { base, limit } = view.special.idt;
  const offset = vector * REAL_ENTRY;
  if (offset + REAL_ENTRY - 1 > limit) {
    return {
      raised: raise(
        "#GP",
        `IDTR's limit is ${hex(limit, 2)}: vector ${hex(vector, 2)} lies outside`,
        {
          registers: ["idtr"],
        },
      ),
    };
  }
  const linear = base + BigInt(offset);
  const pointer = view.number(linear, REAL_ENTRY) ?? 0n;
  const selector = Number(pointer >> 16n);
  const target = pointer & 0xffffn;
  return { handler: { selector, offset: target, linear: BigInt(selector) * 16n + target } };
}

/** Whether IDTR is as a CPU in real mode has it. */
function isRealModeTable({ base, limit }: { base: bigint; limit: number }): boolean {
  return base === 0n && limit >= REAL_LIMIT;
}

function deliverByGate(view: GuestView, event: Event): Delivery {
  const { vector } = event;
  const isLong = view.efer("lma");
  const size = isLong ? LONG_GATE_SIZE : GATE_SIZE;
  const { base, limit } = view.special.idt;
  const errorCode = vector * 8 + IN_IDT;
  const offset = vector * size;
  const linear = base + BigInt(offset);
  const idtr = `IDTR (base ${hex(base)}, limit ${hex(limit, 2)})`;
  const stillReal = isRealModeTable(view.special.idt) ? " is still real mode's" : "";
  if (offset + size - 1 > limit) {
    const from = `entry ${vector} (bytes ${hex(offset, 2)} to ${hex(offset + size - 1, 2)})`;
    return {
      raised: raise("#GP", `${idtr}${stillReal}${stillReal ? ", and" : ":"} ${from} lies outside`, {
        errorCode,
        registers: ["idtr"],
      }),
    };
  }
  const unmapped = checkPages(view, linear, size, { implicit: true });
  if (unmapped !== undefined) {
    return {
      raised: raise("#PF", `entry ${vector} of the IDT, at ${view.place(linear)}, is not mapped`, {
        errorCode: unmapped.errorCode ?? 0,
        cr2: linear,
        causes: [...meantTable(view, vector), ...unmapped.causes],
        registers: ["idtr"],
      }),
    };
  }
  const bytes = view.read(linear, size);
  if (bytes === undefined) {
    const reason = `entry ${vector} of the IDT, at ${
      view.place(linear)
    }, lies where there is no memory`;
    return { stuck: { reason, registers: ["idtr"] } };
  }
  const gate = readGate(bytes);
  const descriptor: FoundDescriptor = { table: "IDT", index: vector, linear, bytes };
  const said = `IDT[${vector}] at ${view.place(linear)} is ${hexBytes(bytes)}`;
  const isEmpty = bytes.every((byte) => byte === 0);
  const refused = (name: ExceptionName, reason: string, hint = ""): Delivery => ({
    raised: raise(name, `${stillReal ? `${idtr}${stillReal}; ` : ""}${reason}`, {
      errorCode,
      causes: isEmpty
        ? []
        : [cause(`${said}${hint}${writersText(view, linear, size)}`, { linear, descriptor })],
      registers: ["idtr"],
    }),
  });
  if (isEmpty) {
    const { raised } = refused(
      "#GP",
      `entry ${vector} of the IDT, at ${view.place(linear)}, is all zeros`,
    ) as { readonly raised: Raised };
    return { raised: { ...raised, causes: isLong ? shortGate(view, vector) : [] } };
  }
  if (!isGate(gate.type, gate.s, isLong)) {
    const kind = gate.s ? "a segment" : SYSTEM_TYPES[gate.type] ?? `reserved type ${gate.type}`;
    return refused(
      "#GP",
      `entry ${vector} of the IDT is no ${isLong ? "64-bit " : ""}gate (${kind})`,
      gateHint(view, gate, isLong),
    );
  }
  if (event.source === "software" && gate.dpl < view.cpl) {
    return refused("#GP", `the gate's DPL, ${gate.dpl}, is below the CPL, ${view.cpl}`);
  }
  if (!gate.present) {
    return refused(
      "#NP",
      `the gate is not present (P = 0)`,
      ". With bit 47 (P) set it would be one",
    );
  }
  if (gate.type === GATE.task) {
    return { handler: { selector: gate.selector, offset: 0n, linear: 0n } };
  }
  return enterHandler(view, event, gate, { said, descriptor, isLong });
}

/** A gate of protected mode where it would lie in a table of such: long mode's have 16 bytes. */
function shortGate(view: GuestView, vector: number): Finding[] {
  const linear = view.special.idt.base + BigInt(vector * GATE_SIZE);
  const bytes = view.read(linear, GATE_SIZE);
  if (bytes === undefined) return [];
  const gate = readGate(bytes);
  if (!isGate(gate.type, gate.s, true) || !gate.present) return [];
  return [cause(
    `At ${view.place(linear)}, where entry ${vector} would lie in a table of protected mode, is ${
      hexBytes(bytes)
    }, a gate of 8 bytes: in long mode a gate has 16${writersText(view, linear, GATE_SIZE)}`,
    { linear },
  )];
}

/** What would make a gate of something that is none: a bit of its type. */
function gateHint(view: GuestView, gate: Gate, isLong: boolean): string {
  const bits = [0, 1, 2, 3, 4].filter((bit) => {
    const flags = (gate.s << 4 | gate.type) ^ 1 << bit;
    return isGate(flags & 0xf, flags >> 4, isLong) && (flags & 0xf) !== GATE.task;
  });
  const names = bits.map((bit) => {
    const isSet = (gate.s << 4 | gate.type) >> bit & 1;
    return `bit ${40 + bit} (${bit === 4 ? "S" : "type"}) ${isSet ? "clear" : "set"}`;
  });
  const looksReal = isRealModeTable(view.special.idt);
  if (names.length === 0 || looksReal) return "";
  return `. With ${names.join(" or ")} it would be a gate`;
}

/** A base of IDTR that differs from the one that is there in a single bit, and where a gate lies. */
function meantTable(view: GuestView, vector: number): Finding[] {
  const isLong = view.efer("lma");
  const size = isLong ? LONG_GATE_SIZE : GATE_SIZE;
  const { base } = view.special.idt;
  for (let bit = 0; bit < (isLong ? 64 : 32); bit++) {
    const meant = base ^ 1n << BigInt(bit);
    const bytes = view.read(meant + BigInt(vector * size), size);
    const gate = bytes === undefined ? undefined : readGate(bytes);
    if (gate === undefined || !gate.present || !isGate(gate.type, gate.s, isLong)) continue;
    return [
      cause(
        `With bit ${bit} of IDTR's base ${
          meant >> BigInt(bit) & 1n ? "set" : "clear"
        } it would be ${view.place(meant)}, where a gate of vector ${vector} lies`,
        { linear: meant },
      ),
    ];
  }
  return [];
}

function hasErrorCode({ vector, source }: Event): boolean {
  return source === undefined && exceptions[vector]?.hasErrorCode === true;
}

function enterHandler(
  view: GuestView,
  event: Event,
  gate: Gate,
  { said, descriptor, isLong }: { said: string; descriptor: FoundDescriptor; isLong: boolean },
): Delivery {
  const { vector } = event;
  const where = cause(
    `${said}: selector ${hex(gate.selector, 4)}, offset ${view.place(gate.offset)}${
      writersText(view, descriptor.linear, descriptor.bytes.length)
    }`,
    {
      linear: descriptor.linear,
      descriptor,
    },
  );
  const because = (raised: Raised, prefix = ""): Delivery => ({
    raised: { ...raised, reason: `${prefix}${raised.reason}`, causes: [where, ...raised.causes] },
  });
  const badCode = loadCodeSegment(view, gate.selector, "gate");
  if (badCode !== undefined) return because(badCode, `the gate of vector ${vector}: `);
  const lookup = view.lookUp(gate.selector);
  if (lookup.found !== "descriptor") return because(raise("#GP", "the gate's selector is null"));
  const { segment } = lookup.descriptor;
  const badStack = handlerStack(view, segment, gate, isLong, hasErrorCode(event));
  if (badStack !== undefined) return because(badStack);
  const missing = frameWithoutMemory(view, segment, gate, isLong, hasErrorCode(event));
  if (missing !== undefined) return { stuck: { reason: missing, registers: ["rsp"] } };
  const linear = isLong ? gate.offset : segment.base + gate.offset;
  const isOutside = isLong
    ? !isCanonical(gate.offset, linearAddressBits(view))
    : gate.offset > BigInt(segment.limit);
  if (isOutside) {
    return because(
      raise(
        "#GP",
        `the gate's offset ${hex(gate.offset)} lies outside its segment${
          nearestLabel(view, gate.offset)
        }`,
        {
          errorCode: 0,
        },
      ),
    );
  }
  return { handler: { selector: gate.selector, offset: gate.offset, linear, descriptor } };
}

/** Exceptions that make a double fault of another of them (Intel SDM Vol. 3A, table 6-5). */
const CONTRIBUTORY: readonly ExceptionName[] = ["#DE", "#TS", "#NP", "#SS", "#GP"];
const PAGE_FAULT = exceptionOf("#PF").vector;
/** The vector of #DF. */
export const DOUBLE_FAULT = exceptionOf("#DF").vector;

function isContributory(vector: number): boolean {
  const name = exceptions[vector]?.name;
  return name !== undefined && CONTRIBUTORY.includes(name);
}

/** Whether a second exception, raised while the first was delivered, makes a double fault. */
export function makesDoubleFault(first: number, second: number): boolean {
  if (first === PAGE_FAULT) return second === PAGE_FAULT || isContributory(second);
  return isContributory(first) && isContributory(second);
}

/** The deliveries of an event and of what comes of it, up to the triple fault or to a handler. */
export interface DeliveryChain {
  /** Each delivery that failed, with what was raised. */
  readonly failures: readonly { readonly vector: number; readonly raised: Raised }[];
  /** Where the chain ends: in a handler, where there is no memory, or, without these, in the shutdown. */
  readonly handler?: Handler;
  /** See {@linkcode DeliveryChain.handler}. */
  readonly stuck?: Stuck;
}

/** More deliveries than the rules allow in a row. */
const MOST_DELIVERIES = 8;

/** Follows an event until a handler is entered or the CPU shuts down (Intel SDM Vol. 3A, 6.15, interrupt 8). */
export function deliveryChain(view: GuestView, first: Event): DeliveryChain {
  const failures: { vector: number; raised: Raised }[] = [];
  let event = first;
  while (failures.length < MOST_DELIVERIES) {
    const delivery = deliver(view, event);
    if ("handler" in delivery) {
      return { failures, handler: delivery.handler };
    }
    if ("stuck" in delivery) return { failures, stuck: delivery.stuck };
    const { raised } = delivery;
    failures.push({ vector: event.vector, raised });
    const isException = event.source === undefined;
    if (isException && event.vector === DOUBLE_FAULT) return { failures };
    const isDouble = isException && makesDoubleFault(event.vector, raised.vector);
    event = { vector: isDouble ? DOUBLE_FAULT : raised.vector };
  }
  return { failures };
}

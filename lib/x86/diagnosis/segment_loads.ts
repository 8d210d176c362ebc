import { hex } from "../hex.ts";
import { isCanonical } from "../paging/canonical.ts";
import { DESCRIPTOR_SIZE, type Segment } from "../registers/segment.ts";
import { describeGdt, refusedDescriptor } from "./descriptors.ts";
import { type GuestView, isCode, isWritableData, littleEndian, RPL, TYPE } from "./guest_view.ts";
import type { FoundDescriptor } from "./incident.ts";
import { cause, raise, type Raised } from "./raised.ts";
import type { SegmentRegister } from "./operands.ts";

/** A selector as an error code has it: without RPL (Intel SDM Vol. 3A, 6.13). */
const codeOf = (selector: number) => selector & ~RPL;

/** What a rule asks of a descriptor. */
interface Wanted {
  /** In words: `a present data segment`. */
  readonly words: string;
  /** Whether a segment is one. */
  readonly accepts: (segment: Segment) => boolean;
}

/**
 * The exception that loading a data segment register raises (Intel SDM Vol. 2A, MOV; AMD APM Vol. 3, MOV), or
 * undefined where it is loaded.
 */
export function loadDataSegment(
  view: GuestView,
  register: SegmentRegister,
  selector: number,
): Raised | undefined {
  if (view.hasRealSegments) return undefined;
  if (register === "ss") return loadStackSegment(view, selector, view.cpl);
  const lookup = find(view, selector, register);
  if (lookup === NULL) return undefined;
  if (!("segment" in lookup)) return lookup;
  const { segment } = lookup;
  const wanted = "a present data segment";
  const readable = (each: Segment) =>
    each.s === 1 && (!isCode(each) || (each.type & TYPE.readable) !== 0);
  const isConforming = (each: Segment) => isCode(each) && (each.type & TYPE.conforming) !== 0;
  const privileged = (each: Segment) =>
    isConforming(each) || each.dpl >= Math.max(view.cpl, selector & RPL);
  const accepts = (each: Segment) => readable(each) && privileged(each) && each.present === 1;
  const causes = () => refusedDescriptor(view, lookup, wanted, accepts);
  const details = () => ({ errorCode: codeOf(selector), causes: causes(), registers: ["gdtr"] });
  const load = `${register.toUpperCase()} = ${hex(selector, 4)}`;
  if (!readable(segment)) {
    return raise("#GP", `${load} names no data and no readable code segment`, details());
  }
  if (!privileged(segment)) {
    return raise(
      "#GP",
      `${load}: DPL ${segment.dpl} is below CPL ${view.cpl} or RPL ${selector & RPL}`,
      details(),
    );
  }
  if (!segment.present) return raise("#NP", `${load}: the segment is not present`, details());
  return undefined;
}

/**
 * The exception that loading SS raises.
 *
 * @param cpl The privilege level that the stack is for.
 * @param mayBeNull Whether a null selector serves: in 64-bit mode below CPL 3.
 */
export function loadStackSegment(
  view: GuestView,
  selector: number,
  cpl: number,
  mayBeNull = view.mode === "64-bit" && cpl < 3,
): Raised | undefined {
  if (view.hasRealSegments) return undefined;
  const load = `SS = ${hex(selector, 4)}`;
  const lookup = find(view, selector, "ss");
  if (lookup === NULL) {
    if (mayBeNull && (selector & RPL) === cpl) return undefined;
    return raise("#GP", `${load}: a stack segment may not be null here`, { errorCode: 0 });
  }
  if (!("segment" in lookup)) return lookup;
  const { segment } = lookup;
  const words = `a present, writable data segment of DPL ${cpl}`;
  const accepts = (each: Segment) => isWritableData(each) && each.dpl === cpl && each.present === 1;
  const causes = () => refusedDescriptor(view, lookup, words, accepts);
  const details = () => ({ errorCode: codeOf(selector), causes: causes(), registers: ["gdtr"] });
  if ((selector & RPL) !== cpl) {
    return raise("#GP", `${load}: its RPL is not the privilege level, ${cpl}`, details());
  }
  if (!isWritableData(segment)) {
    return raise("#GP", `${load} names no writable data segment`, details());
  }
  if (segment.dpl !== cpl) {
    return raise(
      "#GP",
      `${load}: DPL ${segment.dpl} is not the privilege level, ${cpl}`,
      details(),
    );
  }
  if (!segment.present) return raise("#SS", `${load}: the segment is not present`, details());
  return undefined;
}

/** How CS is loaded, which decides on the rules. */
export type CodeLoad =
  /** A far jump or call. */
  | "jump"
  /** A far return or IRET, to the RPL's level. */
  | "return"
  /** A gate of the IDT. */
  | "gate";

/** The exception that loading CS raises (Intel SDM Vol. 2A, JMP, CALL, RET, IRET). */
export function loadCodeSegment(
  view: GuestView,
  selector: number,
  load: CodeLoad,
): Raised | undefined {
  if (view.hasRealSegments) return undefined;
  const lookup = find(view, selector, "cs");
  const title = `CS = ${hex(selector, 4)}`;
  if (lookup === NULL) {
    return raise("#GP", `${title} is null: it names no code segment`, { errorCode: 0 });
  }
  if (!("segment" in lookup)) return lookup;
  const { segment } = lookup;
  // Gates and task state segments are entered by other rules.
  if (load === "jump" && isTransferGate(segment)) return undefined;
  const wanted = codeWanted(view, selector, load);
  const causes = () => refusedDescriptor(view, lookup, wanted.words, wanted.accepts);
  const details = () => ({ errorCode: codeOf(selector), causes: causes(), registers: ["gdtr"] });
  if (!isCode(segment)) return raise("#GP", `${title} names no code segment`, details());
  if (view.efer("lma") && segment.l && segment.db) {
    return raise(
      "#GP",
      `${title}: in long mode L = 1 and D = 1 are not allowed together`,
      details(),
    );
  }
  if (load === "gate" && view.efer("lma") && !segment.l) {
    return raise("#GP", `${title}: in long mode a handler must be 64-bit code (L = 1)`, details());
  }
  if (load === "return" && (selector & RPL) < view.cpl) {
    return raise(
      "#GP",
      `${title}: a return to RPL ${selector & RPL} from CPL ${view.cpl}`,
      details(),
    );
  }
  if (!privilegeFits(view, selector, segment, load)) {
    return raise(
      "#GP",
      `${title}: DPL ${segment.dpl} does not fit ${
        load === "return" ? `RPL ${selector & RPL}` : `CPL ${view.cpl}`
      }`,
      details(),
    );
  }
  if (!segment.present) return raise("#NP", `${title}: the segment is not present`, details());
  return undefined;
}

function isTransferGate({ s, type }: Segment): boolean {
  const transfers = [0x1, 0x4, 0x5, 0x9, 0xc];
  return s === 0 && transfers.includes(type);
}

function privilegeFits(
  view: GuestView,
  selector: number,
  segment: Segment,
  load: CodeLoad,
): boolean {
  const conforming = (segment.type & TYPE.conforming) !== 0;
  const rpl = selector & RPL;
  if (load === "return") return conforming ? segment.dpl <= rpl : segment.dpl === rpl;
  if (load === "gate") return segment.dpl <= view.cpl;
  return conforming ? segment.dpl <= view.cpl : segment.dpl === view.cpl && rpl <= view.cpl;
}

function codeWanted(view: GuestView, selector: number, load: CodeLoad): Wanted {
  const long = view.efer("lma");
  return {
    words: load === "gate" && long ? "a present 64-bit code segment" : "a present code segment",
    accepts: (each) =>
      isCode(each) && each.present === 1 && privilegeFits(view, selector, each, load) &&
      !(long && each.l === 1 && each.db === 1) && !(load === "gate" && long && each.l === 0),
  };
}

/** The exception that LTR raises (Intel SDM Vol. 2A, LTR). */
export function loadTaskRegister(view: GuestView, selector: number): Raised | undefined {
  return loadSystemSegment(view, selector, "TR", {
    words: "an available TSS",
    accepts: ({ s, type, present }) =>
      s === 0 && (type === 0x9 || (type === 0x1 && !view.efer("lma"))) && present === 1,
  });
}

/** The exception that LLDT raises (Intel SDM Vol. 2A, LLDT). */
export function loadLocalTable(view: GuestView, selector: number): Raised | undefined {
  return codeOf(selector) === 0 ? undefined : loadSystemSegment(view, selector, "LDTR", {
    words: "an LDT",
    accepts: ({ s, type, present }) => s === 0 && type === 0x2 && present === 1,
  });
}

const BUSY = 0x2;
const isTss = ({ s, type }: Segment) => s === 0 && [0x1, 0x3, 0x9, 0xb].includes(type);

function loadSystemSegment(
  view: GuestView,
  selector: number,
  register: string,
  { words, accepts }: Wanted,
): Raised | undefined {
  const title = `${register} = ${hex(selector, 4)}`;
  const lookup = find(view, selector, register.toLowerCase());
  if (lookup === NULL) return raise("#GP", `${title} is null`, { errorCode: 0 });
  if (!("segment" in lookup)) return lookup;
  const { segment } = lookup;
  if (accepts(segment)) return checkUpperHalf(view, lookup, title);
  const details = {
    errorCode: codeOf(selector),
    causes: refusedDescriptor(view, lookup, words, accepts),
    registers: ["gdtr"],
  };
  if (accepts({ ...segment, present: 1 })) {
    return raise("#NP", `${title}: the segment is not present`, details);
  }
  if (register === "TR" && isTss(segment) && segment.type & BUSY) {
    return raise(
      "#GP",
      `${title}: the TSS is busy already; LTR takes an available one, and marks it busy`,
      details,
    );
  }
  return raise("#GP", `${title} does not name ${words}`, details);
}

/** In long mode the upper 8 bytes of a TSS or LDT descriptor hold the base's upper half, and no type (Vol. 3A, 7.2.3). */
function checkUpperHalf(
  view: GuestView,
  { linear, table, index, bytes }: FoundDescriptor,
  title: string,
): Raised | undefined {
  const upper = view.efer("lma")
    ? view.read(linear + BigInt(DESCRIPTOR_SIZE), DESCRIPTOR_SIZE)
    : undefined;
  if (upper === undefined || ((upper[5] & 0x1f) === 0 && isCanonicalHigh(upper))) return undefined;
  const descriptor = { table, index, linear, bytes: new Uint8Array([...bytes, ...upper]) };
  const wrong = upper[5] & 0x1f
    ? "bits 12:8 of its last 4 bytes must be 0"
    : "its base is not canonical";
  return raise("#GP", `${title}: ${wrong}`, {
    errorCode: codeOf(index * DESCRIPTOR_SIZE),
    causes: [
      cause(
        `${view.describeEntry(descriptor)}; the upper 8 bytes lie at ${view.place(linear + 8n)}`,
        {
          linear: linear + BigInt(DESCRIPTOR_SIZE),
          descriptor,
        },
      ),
    ],
    registers: ["gdtr"],
  });
}

/** Whether the upper half of a base is one of a canonical address. */
function isCanonicalHigh(upper: Uint8Array): boolean {
  return isCanonical(littleEndian(upper.subarray(0, 4)) << 32n);
}

const NULL = Symbol("null selector");

/** The descriptor of a selector; {@linkcode NULL}; or the exception that looking it up raises. */
function find(view: GuestView, selector: number, register: string) {
  const lookup = view.lookUp(selector);
  const load = `${register.toUpperCase()} = ${hex(selector, 4)}`;
  switch (lookup.found) {
    case "descriptor":
      return lookup.descriptor;
    case "null":
      return NULL;
    case "not mapped":
      return raise("#PF", `${load}: ${lookup.why}`, {
        cr2: lookup.linear,
        registers: ["gdtr", "cr3"],
      });
    default:
      return raise("#GP", `${load}: ${lookup.why}`, {
        errorCode: codeOf(selector),
        causes: [cause(describeGdt(view), { linear: view.special.gdt.base })],
        registers: ["gdtr"],
      });
  }
}

import { describePageFault } from "../exceptions/describe_fault.ts";
import { pageFaultFlags } from "../exceptions/exceptions.ts";
import { hex } from "../hex.ts";
import {
  isCanonical,
  LINEAR_ADDRESS_BITS,
  LINEAR_ADDRESS_BITS_5_LEVEL,
} from "../paging/canonical.ts";
import type { PageWalk } from "../paging/page_walk.ts";
import { flagsToValue, getFlag } from "../registers/flags.ts";
import type { Segment } from "../registers/segment.ts";
import type { Access } from "./accesses.ts";
import { oddities } from "./descriptors.ts";
import { type GuestView, isCode, kindOf, TYPE } from "./guest_view.ts";
import { pageCauses } from "./page_causes.ts";
import { raise, type Raised } from "./raised.ts";

const PAGE = 4096n;
const OFFSETS_32 = 0xffff_ffffn;
const OFFSETS_16 = 0xffffn;

/** How memory is used, which decides what page tables must allow (Intel SDM Vol. 3A, 4.6). */
export interface Use {
  /** It is an instruction fetch. */
  readonly fetch?: boolean;
  /** It writes. */
  readonly write?: boolean;
  /** It is the processor's own: descriptor tables, the TSS, which are accessed as by CPL 0. */
  readonly implicit?: boolean;
}

/** The exception that an access raises, or undefined where it succeeds. */
export function checkAccess(view: GuestView, access: Access, alignment = 1): Raised | undefined {
  return checkSegment(view, access) ?? checkAlignment(view, access, alignment) ??
    checkPages(view, view.linearOf(access.segment, access.offset), access.size, access);
}

/** Rules of segments: null, type, limit; canonical addresses in 64-bit mode (Intel SDM Vol. 3A, 5.3 and 5.5). */
export function checkSegment(view: GuestView, access: Access): Raised | undefined {
  const { segment: name, offset, size, write } = access;
  const exception = name === "ss" ? "#SS" : "#GP";
  const last = offset + BigInt(size) - 1n;
  const bytes = size === 1 ? `offset ${hex(offset)}` : `offsets ${hex(offset)} to ${hex(last)}`;
  if (view.mode === "64-bit") {
    const linear = view.linearOf(name, offset);
    if (isCanonical(linear, linearAddressBits(view))) return undefined;
    return raise(exception, `the address ${hex(linear)} is not canonical`, { errorCode: 0 });
  }
  const segment = view.special[name];
  const errorCode = view.mode === "real" ? {} : { errorCode: 0 };
  const title = `${name.toUpperCase()} = ${hex(segment.selector, 4)}`;
  const details = (exceeded = false) => ({
    ...errorCode,
    causes: oddities(view, name.toUpperCase(), segment, exceeded),
    registers: [name],
  });
  if (!view.hasRealSegments) {
    if (segment.unusable) {
      return raise(
        exception,
        `${title} holds no segment (null): nothing can be accessed by it`,
        details(),
      );
    }
    if (write && (isCode(segment) || !(segment.type & TYPE.writable))) {
      return raise(
        exception,
        `${title} is ${kindOf(segment)}: nothing can be written by it`,
        details(),
      );
    }
    if (!write && isCode(segment) && !(segment.type & TYPE.readable)) {
      return raise(
        exception,
        `${title} is execute-only code: nothing can be read by it`,
        details(),
      );
    }
  }
  if (isWithin(segment, offset, last)) return undefined;
  return raise(
    exception,
    `${title} has base ${hex(segment.base)}, limit ${hex(segment.limit, 2)}; ${bytes} ${
      size === 1 ? "lies" : "lie"
    } outside`,
    details(true),
  );
}

/** Whether offsets lie within a segment; expand-down ones begin behind their limit (Intel SDM Vol. 3A, 5.3). */
function isWithin(segment: Segment, first: bigint, last: bigint): boolean {
  const limit = BigInt(segment.limit);
  const expandsDown = segment.s === 1 && !isCode(segment) &&
    (segment.type & TYPE.expandDown) !== 0;
  if (!expandsDown) return last <= limit;
  return first > limit && last <= (segment.db ? OFFSETS_32 : OFFSETS_16);
}

/** The exception of an address that is not a multiple: of what the instruction wants, or of its size (Intel SDM Vol. 3A, 6.15). */
export function checkAlignment(
  view: GuestView,
  { segment, offset, size, isStack }: Access,
  alignment = 1,
): Raised | undefined {
  const linear = view.linearOf(segment, offset);
  if (linear % BigInt(alignment) !== 0n) {
    return raise("#GP", `the address ${hex(linear)} is not a multiple of ${alignment}`, {
      errorCode: 0,
    });
  }
  const checked = view.cr0("am") && view.rflags("ac") && view.cpl === 3 && !isStack;
  if (!checked || ![2, 4, 8].includes(size) || linear % BigInt(size) === 0n) return undefined;
  return raise(
    "#AC",
    `the address ${
      hex(linear)
    } is not a multiple of ${size}, while CR0.AM and RFLAGS.AC are set at CPL 3`,
    { errorCode: 0, registers: ["cr0"] },
  );
}

/** How many bits of a linear address are translated. */
export function linearAddressBits(view: GuestView): number {
  return view.cr4("la57") ? LINEAR_ADDRESS_BITS_5_LEVEL : LINEAR_ADDRESS_BITS;
}

/** The #PF that some bytes raise, each page on its own (Intel SDM Vol. 3A, 4.6 and 4.7). */
export function checkPages(
  view: GuestView,
  linear: bigint,
  size: number,
  use: Use,
): Raised | undefined {
  const end = linear + BigInt(Math.max(size, 1));
  for (let address = linear; address < end; address = (address / PAGE + 1n) * PAGE) {
    const walk = view.walk(address);
    if (walk === undefined) return undefined;
    const errorCode = pageFaultCode(view, walk, use);
    if (errorCode === undefined) continue;
    return raisePageFault(view, { errorCode, cr2: address }, walk);
  }
  return undefined;
}

/** A #PF with its walk in words. */
export function raisePageFault(
  view: GuestView,
  { errorCode, cr2 }: { readonly errorCode: number; readonly cr2: bigint },
  walk: PageWalk,
): Raised {
  return raise("#PF", describePageFault({ errorCode, cr2, walk }), {
    errorCode,
    cr2,
    causes: pageCauses(view, walk, errorCode),
    registers: ["cr3", ...isOfWriteProtection(view, errorCode, walk) ? ["cr0"] : []],
  });
}

/** Whether only CR0.WP makes it one: the supervisor's write to a page that may be read (Intel SDM Vol. 3A, 4.6). */
function isOfWriteProtection(view: GuestView, errorCode: number, walk: PageWalk): boolean {
  const has = (flag: string) => getFlag(pageFaultFlags, flag, BigInt(errorCode)) === true;
  return "physical" in walk.result && !walk.result.writable && has("wr") && !has("us") &&
    view.cr0("wp");
}

function pageFaultCode(view: GuestView, walk: PageWalk, use: Use): number | undefined {
  const user = view.cpl === 3 && !use.implicit;
  const base = {
    wr: use.write === true,
    us: user,
    id: use.fetch === true && (view.efer("nxe") || view.cr4("smep")),
  };
  const code = (flags: { p?: boolean; rsvd?: boolean }) =>
    Number(flagsToValue(pageFaultFlags, { ...base, ...flags }));
  if (!("physical" in walk.result)) {
    return code({
      p: walk.result.fault === "reserved-bit",
      rsvd: walk.result.fault === "reserved-bit",
    });
  }
  const { writable, user: isUser, executable } = walk.result;
  const refused = (user && !isUser) ||
    (use.write === true && !writable && (user || view.cr0("wp"))) ||
    (use.fetch === true && (!executable || (!user && isUser && view.cr4("smep")))) ||
    (!use.fetch && !use.implicit && !user && isUser && view.cr4("smap") && !view.rflags("ac"));
  return refused ? code({ p: true }) : undefined;
}

/** The #GP of an instruction that lies beyond its segment; in 64-bit mode there is no limit. */
export function checkCodeLimit(view: GuestView): Raised | undefined {
  const { rip } = view.incident.registers;
  const { cs } = view.special;
  if (view.mode === "64-bit" || BigInt.asUintN(32, rip) <= BigInt(cs.limit)) return undefined;
  return raise(
    "#GP",
    `the instruction's offset ${hex(rip)} lies beyond the limit of CS = ${hex(cs.selector, 4)}, ${
      hex(cs.limit)
    }`,
    {
      ...view.mode === "real" ? {} : { errorCode: 0 },
      causes: oddities(view, "CS", cs),
      registers: ["cs"],
    },
  );
}

/** The exception of fetching an instruction: CS's limit, canonical addresses, page tables. */
export function checkFetch(view: GuestView): Raised | undefined {
  const { instruction: { linear, bytes } } = view.incident;
  if (view.mode === "64-bit" && !isCanonical(linear, linearAddressBits(view))) {
    return raise("#GP", `the address ${hex(linear)} is not canonical`, { errorCode: 0 });
  }
  return checkCodeLimit(view) ??
    checkPages(view, linear, Math.max(1, view.incident.instruction.text ? bytes.length : 1), {
      fetch: true,
    });
}

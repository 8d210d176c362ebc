import { atCaller } from "../../guest/call_site.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import { MsrError } from "../../kvm/errors.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { definedEntries } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import { type Msr, msrName, msrNumber, type MsrValues } from "../../x86/msrs/msr_number.ts";
import type { RegisterStore } from "../registers/register_store.ts";
import type { MsrAccess, MsrHandler, MsrIntercepts, MsrRange } from "./msr_intercepts.ts";

const MSR_BITS = 64;

/** What became of one MSR that was to be set. */
export interface MsrOutcome {
  /** Its number. */
  readonly index: number;
  /** Its name, where it has one here. */
  readonly name: string | undefined;
  /** What it was to be set to. */
  readonly value: bigint;
  /** Why it was not set; undefined where it was. */
  readonly refused: MsrError | undefined;
}

/** What the MSRs of a machine are made of. */
interface MsrsInit {
  /** For the list of MSRs. */
  readonly kvm: Kvm;
  /** Whose MSRs they are. */
  readonly vcpu: Vcpu;
  /** Who takes the guest's accesses. */
  readonly intercepts: MsrIntercepts;
  /** Its registers: some are MSRs, too. */
  readonly store: RegisterStore;
  /** The value of a symbol of the guest. */
  readonly symbol: (name: string) => bigint;
  /** Throws where the machine is disposed. */
  readonly checkUsable: () => void;
}

/**
 * The model-specific registers of a machine's vCPU: `vm.msrs`. They go by the manuals' names
 * ({@linkcode MSRS}) or by their numbers; values are bigints.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov ecx, 0xc0000082     ; LSTAR
 *   rdmsr
 *   mov ecx, 0x12345        ; no CPU has it
 *   rdmsr
 *   hlt
 * `, { mode: "long", msrs: { LSTAR: 0x1234 } });
 * vm.msrs.on(0x12345, { read: () => 7 });
 * vm.run();
 * console.log(vm.msrs.get("LSTAR"), vm.registers.rax); // 4660n 7n
 * ```
 */
export class Msrs {
  readonly #parts: MsrsInit;

  /** Use {@linkcode Machine.msrs}. */
  constructor(parts: MsrsInit) {
    this.#parts = parts;
  }

  /**
   * What an MSR holds.
   *
   * @throws {RangeError} When there is none of that name.
   * @throws {MsrError} When this vCPU does not have it.
   */
  get(msr: Msr): bigint {
    return atCaller(this.get, () => {
      this.#parts.checkUsable();
      const index = msrNumber(msr);
      this.#parts.store.flush();
      return named(() => this.#parts.vcpu.msrs.getMsrs([index])[0].data);
    });
  }

  /**
   * Sets MSRs, in the order of the object's keys; numbers come before names.
   *
   * @throws {RangeError} When there is none of a name, or a value is wider than 64 bits. None is set then.
   * @throws {MsrError} When KVM refuses one; it says which, which are set (`done`), and which were not tried
   *   (`notTried`). {@linkcode Msrs.setEach} tries all.
   */
  set(values: MsrValues): void {
    atCaller(this.set, () => {
      this.#parts.checkUsable();
      setMsrs(this.#parts, msrEntries(values, this.#parts.symbol));
    });
  }

  /**
   * Sets MSRs one by one, and says of each what became of it.
   *
   * @throws {RangeError} When there is none of a name, or a value is wider than 64 bits. None is set then.
   */
  setEach(values: MsrValues): MsrOutcome[] {
    return atCaller(this.setEach, () => {
      this.#parts.checkUsable();
      return msrEntries(values, this.#parts.symbol).map((entry) => {
        const outcome = { index: entry.index, name: msrName(entry.index), value: entry.data };
        try {
          setMsrs(this.#parts, [entry]);
          return { ...outcome, refused: undefined };
        } catch (error) {
          if (error instanceof MsrError) return { ...outcome, refused: error };
          throw error;
        }
      });
    });
  }

  /** The MSRs that KVM keeps for a vCPU on this host, beside those that it emulates only. */
  list(): Pick<MsrOutcome, "index" | "name">[] {
    this.#parts.checkUsable();
    return this.#parts.kvm.getMsrIndexList().map((index) => ({ index, name: msrName(index) }));
  }

  /**
   * Hands the guest's accesses to an MSR, or to a range of them, to `handler`, until the returned object is
   * disposed; whether the vCPU has them makes no difference. Only the directions that it has methods for are
   * taken.
   *
   * @throws {RangeError} When there is no such MSR, another handler has it, KVM cannot filter it (x2APIC's,
   *   0x800 to 0x8ff), or they are too many (KVM takes 16 ranges of 12288).
   * @throws {TypeError} When the handler has neither `read` nor `write`.
   * @throws {CapabilityError} When the host lacks KVM_CAP_X86_MSR_FILTER or KVM_CAP_X86_USER_SPACE_MSR.
   */
  on(range: MsrRange, handler: MsrHandler): Disposable {
    return atCaller(this.on, () => {
      this.#parts.checkUsable();
      return this.#parts.intercepts.on(range, handler);
    });
  }

  /**
   * Makes exits of the guest's accesses, which a transcript foresees ({@linkcode rdmsr}, {@linkcode wrmsr}),
   * until the returned object is disposed.
   *
   * @throws As {@linkcode Msrs.on} does.
   */
  intercept(range: MsrRange, access?: MsrAccess): Disposable {
    return atCaller(this.intercept, () => {
      this.#parts.checkUsable();
      return this.#parts.intercepts.add("intercept", range, access);
    });
  }

  /**
   * Whether the guest's accesses to an MSR can be exits: by {@linkcode Msrs.on} or {@linkcode Msrs.intercept}, or, of
   * MSRs and values that KVM refuses, by {@linkcode Msrs.onUnknown}.
   *
   * @throws {RangeError} When there is no such MSR.
   */
  areExits(msr: Msr, direction: "read" | "write"): boolean {
    return atCaller(this.areExits, () => {
      this.#parts.checkUsable();
      return this.#parts.intercepts.areExits(msr, direction);
    });
  }

  /**
   * Refuses the guest MSRs: it gets #GP, from KVM itself as long as no MSR has a handler. Where rules overlap
   * the latest decides.
   *
   * @throws As {@linkcode Msrs.on} does.
   */
  deny(range: MsrRange, access?: MsrAccess): Disposable {
    return atCaller(this.deny, () => {
      this.#parts.checkUsable();
      return this.#parts.intercepts.add("deny", range, access);
    });
  }

  /** Refuses the guest all MSRs but x2APIC's, and those that have a handler or that `allow` names. */
  denyAll(): Disposable {
    return atCaller(this.denyAll, () => {
      this.#parts.checkUsable();
      return this.#parts.intercepts.denyAll();
    });
  }

  /** Lets the guest have MSRs that `denyAll`, or an earlier `deny`, refuses. */
  allow(range: MsrRange, access?: MsrAccess): Disposable {
    return atCaller(this.allow, () => {
      this.#parts.checkUsable();
      return this.#parts.intercepts.add("allow", range, access);
    });
  }

  /**
   * Takes the accesses that KVM would answer with #GP: of MSRs that it does not know, and values that it
   * refuses. Without a handler they are exits that a transcript foresees.
   *
   * @throws {CapabilityError} When the host lacks KVM_CAP_X86_USER_SPACE_MSR.
   */
  onUnknown(handler: MsrHandler = {}): Disposable {
    return atCaller(this.onUnknown, () => {
      this.#parts.checkUsable();
      return this.#parts.intercepts.onUnknown(handler);
    });
  }
}

/** An MSR by its number, with a value. */
export interface MsrEntry {
  /** Its number. */
  readonly index: number;
  /** The value. */
  readonly data: bigint;
}

/** Sets MSRs of a vCPU, some of which may be registers. @throws {MsrError} As {@linkcode Msrs.set} does. */
export function setMsrs(
  { vcpu, store }: { readonly vcpu: Vcpu; readonly store: RegisterStore },
  entries: readonly MsrEntry[],
): void {
  store.flush();
  try {
    named(() => vcpu.msrs.setMsrs(entries));
  } finally {
    store.forget();
  }
}

/**
 * MSRs by number with their values.
 *
 * @param symbol The value of a symbol of the guest.
 * @param verb What is to be done with them, for errors.
 * @throws {RangeError} When there is none of a name, or a value is no whole number of 64 bits.
 * @throws {TypeError} When a value is neither number nor bigint.
 */
export function msrEntries(
  values: MsrValues,
  symbol: (name: string) => bigint,
  verb: "set" | "expect" = "set",
): MsrEntry[] {
  return definedEntries(verb, values).map(([msr, value]) => ({
    index: msrNumber(msr as Msr),
    data: checkedValue(verb, msr, typeof value === "string" ? symbol(value) : value),
  }));
}

function checkedValue(verb: string, msr: string, value: unknown): bigint {
  const shown = /^\d/.test(msr) ? hex(Number(msr)) : msr;
  if (typeof value !== "bigint" && typeof value !== "number") {
    throw new TypeError(
      `Cannot ${verb} ${shown} as ${String(value)}: give a number, a bigint or a label`,
    );
  }
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new RangeError(
      `Cannot ${verb} ${shown} as ${value}: a number holds whole values up to 2^53 - 1 exactly; give a bigint`,
    );
  }
  const data = BigInt.asUintN(MSR_BITS, BigInt(value));
  if (data === BigInt(value)) return data;
  throw new RangeError(
    `Cannot ${verb} ${shown} as ${hex(value)}: it is not a whole number of ${MSR_BITS} bits` +
      (value < 0 ? `; its two's complement is ${hex(data)}` : ""),
  );
}

/** Names the MSR in KVM's refusal of it. */
function named<Result>(body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof MsrError)) throw error;
    const { ioctl, done, index, notTried, position, data } = error;
    throw new MsrError(ioctl, [...done, index, ...notTried], position, data, msrName(index));
  }
}

import { handlerError } from "../exits/handler_error.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { KVM_MSR_EXIT_REASON } from "../../kvm/abi/constants.ts";
import {
  asyncError,
  checkStateful,
  checkWritten,
  isPromise,
  type PlacedHandler,
  type StatefulHandler,
} from "../../devices/handlers.ts";
import type { KvmRunPage } from "../../kvm/kvm_run_page.ts";
import type { Vm } from "../../kvm/vm.ts";
import { type Msr, msrNumber, msrText } from "../../x86/msrs/msr_number.ts";
import type { ExitHandlers, RawExitHandler } from "../exits/exit_handlers.ts";
import { msrFilter, type MsrRule, X2APIC_MSRS } from "./msr_filter.ts";
import { hex } from "../../x86/hex.ts";

/** An MSR, or the first and the last of a range, both included. */
export type MsrRange = Msr | readonly [first: Msr, last: Msr];

/** Which accesses a rule about MSRs is for. Both by default. */
export interface MsrAccess {
  /** Whether it is for RDMSR. */
  readonly read?: boolean;
  /** Whether it is for WRMSR. */
  readonly write?: boolean;
}

const ACCESS: NamesOf<MsrAccess> = { read: "flag", write: "flag" };

/** What becomes of the guest's accesses to a range of MSRs. */
export type MsrRuleKind = "handle" | "intercept" | "deny" | "allow";

interface Rule extends MsrRule {
  readonly kind: MsrRuleKind;
  readonly handler?: MsrHandler;
}

/**
 * Which accesses to MSRs leave the guest, and who takes them: rules, and the filter of the VM that follows
 * them (`KVM_X86_SET_MSR_FILTER`, api.rst 4.97; `KVM_CAP_X86_USER_SPACE_MSR`, api.rst 7.21).
 */
export class MsrIntercepts {
  readonly #vm: Vm;
  readonly #handlers: ExitHandlers;
  readonly #isDisposed: () => boolean;
  #rules: readonly Rule[] = [];
  #deniesAll = false;
  #unknown: MsrHandler | undefined;
  #reasons = 0;
  #taken: DisposableStack | undefined;
  /** Who took the latest exit. */
  #by: string | undefined;

  /**
   * No rules, over a VM.
   *
   * @param handlers Those of its machine.
   * @param isDisposed Whether the VM is gone: what was returned to be disposed may outlive it.
   */
  constructor(vm: Vm, handlers: ExitHandlers, isDisposed: () => boolean) {
    this.#vm = vm;
    this.#handlers = handlers;
    this.#isDisposed = isDisposed;
  }

  /** What there are rules for, and the handlers among them. */
  get placed(): readonly PlacedHandler[] {
    const rules = this.#rules.map(({ kind, first, last, read, write, handler }) => {
      const access = read === undefined ? ", write" : write === undefined ? ", read" : "";
      const to = first === last ? "" : ` to ${msrText(last)}`;
      return { place: `a rule (${kind}${access}) of MSR ${msrText(first)}${to}`, handler };
    });
    return [
      ...rules,
      ...this.#deniesAll ? [{ place: "a rule (deny) of all MSRs" }] : [],
      ...this.#unknown === undefined
        ? []
        : [{ place: "a handler of unknown MSRs", handler: this.#unknown }],
    ];
  }

  /** See {@linkcode Msrs.on}. */
  on(range: MsrRange, handler: MsrHandler): Disposable {
    const { first, last } = boundsOf(range);
    if (typeof handler !== "object" || handler === null) {
      throw new TypeError(
        `Cannot handle MSR ${msrText(first)} by ${
          String(handler)
        }: give { read, write }, or one of them`,
      );
    }
    const read = handler.read === undefined ? undefined : false;
    const write = handler.write === undefined ? undefined : false;
    if (read === undefined && write === undefined) {
      throw new TypeError(
        `Cannot handle MSR ${
          msrText(first)
        }: the handler has neither read nor write. Use vm.msrs.intercept() ` +
          "for exits that a transcript takes.",
      );
    }
    const other = this.#rules.find((rule) =>
      rule.handler !== undefined && rule.first <= last && first <= rule.last &&
      ((read !== undefined && rule.read !== undefined) ||
        (write !== undefined && rule.write !== undefined))
    );
    if (other !== undefined) {
      throw new RangeError(
        `Cannot handle MSR ${msrText(first)}: ${other.handler?.name ?? "another handler"} has ${
          msrText(other.first)
        }${other.first === other.last ? "" : ` to ${msrText(other.last)}`} already. ` +
          "Dispose what its on() returned first, or choose another range.",
      );
    }
    checkStateful(handler, `handle MSR ${msrText(first)}`);
    return this.#add({ kind: "handle", first, last, read, write, handler });
  }

  /** See {@linkcode Msrs.intercept}, {@linkcode Msrs.deny} and {@linkcode Msrs.allow}. */
  add(
    kind: Exclude<MsrRuleKind, "handle">,
    range: MsrRange,
    access: MsrAccess = {},
  ): Disposable {
    checkOptions(`${kind} MSRs`, access, ACCESS);
    const { read = true, write = true } = access;
    const passes = kind === "allow";
    const decided = (isMeant: boolean) => isMeant ? passes : undefined;
    return this.#add({ kind, ...boundsOf(range), read: decided(read), write: decided(write) });
  }

  /** See {@linkcode Msrs.denyAll}. */
  denyAll(): Disposable {
    this.#replace(this.#rules, true, this.#unknown);
    return this.#undo(() => this.#replace(this.#rules, false, this.#unknown));
  }

  /** See {@linkcode Msrs.onUnknown}. */
  onUnknown(handler: MsrHandler): Disposable {
    if (this.#unknown !== undefined) {
      throw new RangeError(
        `Cannot handle unknown MSRs: ${
          this.#unknown.name ?? "another handler"
        } does already. Dispose what its onUnknown() returned first.`,
      );
    }
    checkStateful(handler, "handle unknown MSRs");
    this.#replace(this.#rules, this.#deniesAll, handler);
    return this.#undo(() => this.#replace(this.#rules, this.#deniesAll, undefined));
  }

  /** See {@linkcode Msrs.areExits}. */
  areExits(msr: Msr, direction: "read" | "write"): boolean {
    if (this.#unknown !== undefined) return true;
    if ((this.#reasons & KVM_MSR_EXIT_REASON.FILTER) === 0) return false;
    const rule = this.#ruleOf(msrNumber(msr), direction);
    return rule === undefined ? this.#deniesAll : rule.kind !== "allow";
  }

  #add(rule: Rule): Disposable {
    this.#replace([...this.#rules, rule], this.#deniesAll, this.#unknown);
    return this.#undo(() =>
      this.#replace(this.#rules.filter((each) => each !== rule), this.#deniesAll, this.#unknown)
    );
  }

  /** Something to dispose, once. */
  #undo(undo: () => void): Disposable {
    let isDone = false;
    return {
      [Symbol.dispose]: () => {
        if (isDone || this.#isDisposed()) return;
        undo();
        isDone = true;
      },
    };
  }

  /** Tells the kernel first: what it refuses leaves everything as it was. */
  #replace(rules: readonly Rule[], deniesAll: boolean, unknown: MsrHandler | undefined): void {
    if (rules !== this.#rules || deniesAll !== this.#deniesAll) {
      const { flags, ranges } = msrFilter(rules, !deniesAll);
      this.#vm.filters.x86SetMsrFilter(flags, ranges);
    }
    const exits = rules.some(({ kind }) => kind === "handle" || kind === "intercept");
    const reasons = (exits ? KVM_MSR_EXIT_REASON.FILTER : 0) |
      (unknown === undefined ? 0 : KVM_MSR_EXIT_REASON.UNKNOWN | KVM_MSR_EXIT_REASON.INVAL);
    if (reasons !== this.#reasons) this.#vm.enableCap("KVM_CAP_X86_USER_SPACE_MSR", reasons);
    this.#reasons = reasons;
    this.#rules = rules;
    this.#deniesAll = deniesAll;
    this.#unknown = unknown;
    // With nothing but intercepts, whoever runs the machine takes the exits: vm.on("X86_RDMSR", …), too.
    const takes = reasons !== 0 &&
      (deniesAll || unknown?.read !== undefined || unknown?.write !== undefined ||
        rules.some(({ kind }) => kind === "handle" || kind === "deny"));
    if (takes) this.#take();
    else this.#release();
  }

  #take(): void {
    if (this.#taken !== undefined) return;
    using taking = new DisposableStack();
    taking.use(this.#handlers.onRaw("X86_RDMSR", this.#handlerOf("read", answerRead)));
    taking.use(this.#handlers.onRaw("X86_WRMSR", this.#handlerOf("write", answerWrite)));
    this.#taken = taking.move();
  }

  #release(): void {
    this.#taken?.dispose();
    this.#taken = undefined;
  }

  #handlerOf(
    direction: "read" | "write",
    answer: (kvmRun: KvmRunPage, handler: MsrHandler) => true,
  ): RawExitHandler {
    const name = () => this.#by;
    return {
      get name() {
        return name();
      },
      answer: (kvmRun) => {
        this.#by = undefined;
        if (kvmRun.msrReason !== KVM_MSR_EXIT_REASON.FILTER) {
          const unknown = this.#unknown;
          if (unknown?.[direction] === undefined) return false;
          this.#by = unknown.name;
          return answer(kvmRun, unknown);
        }
        const rule = this.#ruleOf(kvmRun.msrIndex, direction);
        if (rule?.kind === "intercept") return false;
        this.#by = rule?.handler?.name;
        if (rule?.handler !== undefined) return answer(kvmRun, rule.handler);
        this.#by = "msrs.deny";
        return refuse(kvmRun);
      },
    };
  }

  /** The latest rule that decides about an access. */
  #ruleOf(msr: number, direction: "read" | "write"): Rule | undefined {
    const rules = this.#rules;
    for (let index = rules.length - 1; index >= 0; index--) {
      const rule = rules[index];
      if (rule[direction] !== undefined && rule.first <= msr && msr <= rule.last) return rule;
    }
    return undefined;
  }
}

function boundsOf(range: MsrRange): { first: number; last: number } {
  const [from, to] = typeof range === "object" ? range : [range, range];
  const first = msrNumber(from);
  const last = msrNumber(to);
  if (last < first) {
    throw new RangeError(
      `Cannot filter MSRs ${msrText(first)} to ${msrText(last)}: the last is below the first`,
    );
  }
  const [firstX2apic, lastX2apic] = X2APIC_MSRS;
  if (first <= lastX2apic && firstX2apic <= last) {
    throw new RangeError(
      `Cannot filter MSRs ${msrText(first)} to ${
        msrText(last)
      }: KVM never filters those of the x2APIC, ${msrText(firstX2apic)} to ${
        msrText(lastX2apic)
      }. Name the ranges below and above them.`,
    );
  }
  return { first, last };
}

/** What a handler of an MSR returns to give the guest #GP, as an MSR does that the CPU lacks. */
export const generalProtection: unique symbol = Symbol("#GP");

/** Answers a guest's accesses to MSRs. Those that it has no method for go to the vCPU as ever. */
export interface MsrHandler extends StatefulHandler {
  /** What to call it in tables of exits and in failure pages. */
  readonly name?: string;
  /** Answers RDMSR: with the value, or with {@linkcode generalProtection}. */
  read?(msr: number): number | bigint | typeof generalProtection;
  /**
   * Takes the value of a WRMSR, which does not reach the vCPU's own MSR; {@linkcode generalProtection}
   * refuses it.
   */
  write?(msr: number, value: bigint): void | typeof generalProtection;
}

const MSR_BITS = 64;

/**
 * Hands an X86_RDMSR to its handler, and writes the answer into `kvm_run`.
 *
 * @throws {RangeError} When the handler returns what no MSR can hold. The exit still waits then.
 */
function answerRead(kvmRun: KvmRunPage, handler: MsrHandler): true {
  const msr = kvmRun.msrIndex;
  const value = handler.read!(msr);
  if (isPromise(value)) throw asyncError(value, `answer a read by ${handler.name ?? "handler"}`);
  if (value === generalProtection) return refuse(kvmRun);
  const isWhole = typeof value === "bigint"
    ? BigInt.asUintN(MSR_BITS, value) === value
    : Number.isSafeInteger(value) && value >= 0;
  if (!isWhole) {
    const shown = typeof value === "bigint" || typeof value === "number"
      ? hex(value)
      : String(value);
    throw handlerError(
      new RangeError(
        `Cannot answer a read of MSR ${msrText(msr)} as ${shown}: what ${
          handler.name ?? "handler"
        } returned is not a whole number of ${MSR_BITS} bits. Return one (above 2^53 - 1 a bigint), or ` +
          "generalProtection; the read still waits: the machine can be run on once its handler does.",
      ),
    );
  }
  kvmRun.msrData = BigInt(value);
  kvmRun.msrError = 0;
  return true;
}

/** Hands an X86_WRMSR to its handler, and writes the answer into `kvm_run`. */
function answerWrite(kvmRun: KvmRunPage, handler: MsrHandler): true {
  const answer = handler.write!(kvmRun.msrIndex, kvmRun.msrData);
  checkWritten(answer, handler);
  if (answer === generalProtection) return refuse(kvmRun);
  kvmRun.msrError = 0;
  return true;
}

/** Answers the exit with #GP. */
function refuse(kvmRun: KvmRunPage): true {
  kvmRun.msrError = 1;
  return true;
}

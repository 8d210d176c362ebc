import { atCaller } from "../../guest/call_site.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { type Exception, exceptionOf } from "../../x86/exceptions/exceptions.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import type { InterruptQueue, InterruptQueueState } from "./interrupt_queue.ts";
import type { Registers } from "../registers/registers.ts";
import { vcpuEventState } from "./vcpu_events.ts";

const LAST_VECTOR = 0xff;

/** Why an event is pending that nothing holds back. */
const NOT_RUN = "the CPU has not run since";
const LAST_ERROR_CODE = 0xffff_ffff;

/** The vectors that instructions raise, and nothing else does. */
const OF_INSTRUCTIONS: Readonly<Record<string, string>> = { "#BP": "int3", "#OF": "into" };

/** What an exception brings with it: {@linkcode Injection.exception}. */
export interface ExceptionOptions {
  /** The error code, for exceptions that push one; 32 bits. */
  readonly errorCode?: number;
  /** Of #PF: the address in CR2. Left out, CR2 stays what it is. */
  readonly cr2?: bigint | number;
}

const EXCEPTION_OPTIONS: NamesOf<ExceptionOptions> = { errorCode: "value", cr2: "value" };

/** What injection needs of its machine. */
export interface InjectionInit {
  /** What the events are injected into. */
  readonly vcpu: Vcpu;
  /** Its registers. */
  readonly registers: () => Registers;
  /** External interrupts that wait. */
  readonly queue: InterruptQueue;
  /** Whether the guest has a handler of system-management interrupts. */
  readonly hasSmm: boolean;
  /** Whether the kernel has the interrupt controllers, or the local APIC. */
  readonly hasIrqchip: boolean;
  /** Whether it is the CPU that starts at the reset vector. */
  readonly isFirst: boolean;
  /** Has INIT# asserted before the guest goes on. */
  readonly askForInit: () => void;
  /** Throws where the machine is disposed. */
  readonly checkUsable: (what: string) => void;
  /** Throws where it runs, or waits for an answer. */
  readonly checkStopped: (what: string) => void;
}

/** An event that was injected and that its CPU has not taken. */
export interface PendingEvent {
  /** What it is: `"interrupt 0x40"`, `"NMI"`. */
  readonly text: string;
  /** Why the CPU does not take it. */
  readonly why: string;
}

/** The events that were injected and that the CPU has not taken. For run control alone. */
export let pendingEvents: (injection: Injection) => readonly PendingEvent[];

/** What was injected and may not have been taken, at some time. */
export interface InjectionState {
  /** The kinds of it. */
  readonly kinds: readonly ("exception" | "interrupt" | "NMI" | "SMI")[];
  /** The interrupts that wait. */
  readonly queue: InterruptQueueState;
}

/** What was injected and may not have been taken. For snapshots alone. */
export let saveInjection: (injection: Injection) => InjectionState;

/** Makes that what it was then; what the kernel has of it is set already. For snapshots alone. */
export let restoreInjection: (injection: Injection, state: InjectionState) => void;

/**
 * Events from outside, for a machine's guest: `vm.inject`. The guest takes them when it runs on. A run that ends by
 * itself before that, or a transcript or a call that is done, throws {@linkcode PendingEventError}, unless it was given
 * {@linkcode RunOptions.pending}. Nobody is told of what is injected behind the last run: inject, and then run.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(
 *   asm`
 *     bits 64
 *     jmp $
 *   handler:
 *     pop rax
 *     hlt
 *   `,
 *   { mode: "long", gates: { 13: "handler" } },
 * );
 * vm.inject.exception("#GP", { errorCode: 0x10 });
 * vm.run();
 * console.log(vm.registers.rax); // 16n
 * ```
 */
export class Injection {
  readonly #parts: InjectionInit;
  /** What the CPU may not have taken yet: others than the test's are not asked about. */
  readonly #injected: Set<"exception" | "interrupt" | "NMI" | "SMI"> = new Set();

  static {
    pendingEvents = (injection) => injection.#pending();
    saveInjection = (injection) => ({
      kinds: [...injection.#injected],
      queue: injection.#parts.queue.save(),
    });
    restoreInjection = (injection, state) => {
      injection.#injected.clear();
      for (const kind of state.kinds) injection.#injected.add(kind);
      injection.#parts.queue.restore(state.queue);
    };
  }

  /** Use {@linkcode Machine.inject}. */
  constructor(parts: InjectionInit) {
    this.#parts = parts;
  }

  /**
   * Injects an exception: the guest enters its handler as if its next instruction had raised it
   * (`KVM_SET_VCPU_EVENTS`). One that has been injected and not been taken yet is replaced.
   *
   * @param what Its name (`"#GP"`) or its vector.
   * @throws {RangeError} When there is no such exception, its error code is missing, one is given that it does not
   *   push (in real mode none does), or either value is too wide.
   * @throws {TypeError} When it is one that only instructions raise, or the NMI; while the machine runs; at an
   *   exit that waits for its answer.
   */
  exception(what: string | number, options: ExceptionOptions = {}): void {
    atCaller(this.exception, () => this.#inject(what, options));
  }

  #inject(what: string | number, options: ExceptionOptions): void {
    const { vcpu: { events }, checkStopped } = this.#parts;
    checkOptions("inject an exception", options, EXCEPTION_OPTIONS);
    checkStopped("inject an exception");
    const { errorCode, cr2 } = options;
    const exception = exceptionOf(what);
    this.#checkException(exception, errorCode);
    if (cr2 !== undefined) {
      if (exception.name !== "#PF") {
        throw new RangeError(`Cannot inject ${exception.name} with cr2: only #PF has it`);
      }
      this.#parts.registers().cr2 = cr2;
    }
    // Only what is given is set: the flags say which optional parts count, and none is to.
    events.setVcpuEvents({
      ...events.getVcpuEvents(),
      flags: 0,
      exception: {
        injected: 1,
        nr: exception.vector,
        has_error_code: errorCode === undefined ? 0 : 1,
        error_code: errorCode ?? 0,
      },
    });
    this.#injected.add("exception");
  }

  /**
   * Queues an external interrupt (`KVM_INTERRUPT`). The guest takes it as soon as RFLAGS.IF and the interrupt
   * shadow let it, and not before; several are taken in order. A guest that waits in HLT for it goes on: that HLT
   * is no exit.
   *
   * A handler may call it while the guest runs, as a device does.
   *
   * @throws {RangeError} When it is no vector from 0 to 255.
   * @throws {TypeError} When the kernel has the interrupt controllers (the option `irqchip`).
   */
  interrupt(vector: number): void {
    atCaller(this.interrupt, () => {
      this.#checkExternal("inject an interrupt");
      if (Number.isInteger(vector) && vector >= 0 && vector <= LAST_VECTOR) return;
      throw new RangeError(
        `Cannot inject interrupt ${String(vector)}: it is not a vector from 0 to ${LAST_VECTOR}`,
      );
    });
    this.#parts.queue.add(vector);
    this.#injected.add("interrupt");
  }

  /** The interrupts that the guest has not taken yet, the next first. */
  get waiting(): readonly number[] {
    return this.#parts.queue.waiting;
  }

  /**
   * Ends the run with IRQ_WINDOW_OPEN as soon as the guest takes external interrupts, once.
   *
   * @throws {TypeError} When the kernel has the interrupt controllers.
   */
  window(): void {
    this.#checkExternal("wait for the interrupt window");
    this.#parts.queue.askForWindow();
  }

  /** Queues a non-maskable interrupt (`KVM_NMI`). It waits while an earlier one is handled, until IRET. */
  nmi(): void {
    this.#parts.checkUsable("inject an NMI");
    this.#parts.vcpu.events.nmi();
    this.#injected.add("NMI");
  }

  /**
   * Queues a system-management interrupt (`KVM_SMI`): the guest enters its handler at SMBASE + 0x8000, from any
   * mode, and `RSM` brings it back.
   *
   * @throws {TypeError} When the machine was booted without the option `smm`, which gives it a handler.
   */
  smi(): void {
    this.#parts.checkUsable("inject an SMI");
    if (!this.#parts.hasSmm) {
      throw new TypeError(
        "Cannot inject an SMI: the machine was booted without the option `smm`, so that its guest has neither a " +
          "handler nor memory in system-management mode",
      );
    }
    this.#parts.vcpu.events.smi();
    this.#injected.add("SMI");
  }

  /**
   * Asserts INIT#: before its next instruction the CPU begins again at its reset vector, F000:FFF0 with a base of
   * 0xffff0000 (Intel SDM Vol. 3A, table 10-1). Memory, devices, caches, FPU and MSRs stay as they are; other CPUs wait for
   * a SIPI. It is an exit, which a transcript can expect: `init()`.
   *
   * @throws {TypeError} When it is another CPU than the first, or, as the guest goes on, it is in system-management mode.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot, expect, hlt, init } from "@vmexit/vmexit";
   *
   * const content = new Uint8Array(0x1000);
   * content[0xff0] = 0xf4; // hlt
   * using vm = boot(asm`hlt`, { slots: [{ gpa: 0xffff_f000, size: 0x1000, readonly: true, content }] });
   * vm.run();
   * vm.inject.init();
   * expect(vm).toExit([init(), hlt()]);
   * expect(vm).toHaveRegisters({ cs: 0xf000, rip: 0xfff1 });
   * ```
   */
  init(): void {
    this.#parts.checkUsable("inject INIT");
    if (!this.#parts.isFirst) {
      throw new TypeError(
        "Cannot inject INIT into another CPU than the first: those get it from a local APIC, by an IPI. Set their " +
          '`mpState` as "INIT_RECEIVED", or inject it into vm.cpus[0].',
      );
    }
    this.#parts.askForInit();
  }

  #pending(): readonly PendingEvent[] {
    if (this.#injected.size === 0) return [];
    const { queue, registers, vcpu } = this.#parts;
    const { exception, interrupt, shadow, nmi, smi } = vcpuEventState(vcpu.events.getVcpuEvents());
    const waiting = queue.waiting.map((vector) => `interrupt ${hex(vector)}`);
    const held = interrupt?.soft === false ? [`interrupt ${hex(interrupt.vector)}`] : [];
    const inShadow = shadow && `it stands in the shadow of ${shadow}`;
    const ofInterrupts = registers().rflags.if ? inShadow : "RFLAGS.IF is clear";
    const found = {
      exception: exception?.injected ? [{ text: exception.name, why: NOT_RUN }] : [],
      interrupt: [
        ...held.map((text) => ({ text, why: NOT_RUN })),
        ...waiting.map((text) => ({ text, why: ofInterrupts ?? NOT_RUN })),
      ],
      NMI: nmi.pending
        ? [{ text: "NMI", why: nmi.masked ? "NMIs are blocked until IRET" : inShadow ?? NOT_RUN }]
        : [],
      SMI: smi.pending
        ? [{
          text: "SMI",
          why: smi.inSmm ? "it is in system-management mode" : inShadow ?? NOT_RUN,
        }]
        : [],
    };
    return [...this.#injected].flatMap((kind) => {
      if (found[kind].length === 0) this.#injected.delete(kind);
      return found[kind];
    });
  }

  #checkException({ name, hasErrorCode, vector }: Exception, errorCode: number | undefined): void {
    const instruction = OF_INSTRUCTIONS[name];
    if (instruction !== undefined) {
      throw new TypeError(
        `Cannot inject ${name}: the instruction ${instruction} raises it, and nothing else. Let the guest execute one.`,
      );
    }
    if (name === "NMI") {
      throw new TypeError("Cannot inject vector 2 as an exception: use vm.inject.nmi()");
    }
    const pushesOne = hasErrorCode && this.#parts.registers().cr0.pe;
    if (errorCode === undefined && pushesOne) {
      throw new RangeError(
        `Cannot inject ${name} (vector ${vector}) without an error code: it pushes one. Give { errorCode: 0 }.`,
      );
    }
    if (errorCode === undefined) return;
    if (!pushesOne) {
      throw new RangeError(
        `Cannot inject ${name} with the error code ${hex(errorCode)}: ${
          hasErrorCode ? "in real mode exceptions push" : "it pushes"
        } none. Leave it out.`,
      );
    }
    if (!Number.isInteger(errorCode) || errorCode < 0 || errorCode > LAST_ERROR_CODE) {
      throw new RangeError(
        `Cannot inject ${name} with the error code ${
          String(errorCode)
        }: it is not a whole number of 32 bits`,
      );
    }
  }

  #checkExternal(what: string): void {
    this.#parts.checkUsable(what);
    if (!this.#parts.hasIrqchip) return;
    throw new TypeError(
      `Cannot ${what}: the kernel has this machine's interrupt controllers (the option \`irqchip\`). Use ` +
        "vm.interrupts, or boot without it.",
    );
  }
}

import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import type { StatsFd } from "../../kvm/stats_fd.ts";
import type { LongOptions } from "../../machine/boot/boot_options.ts";
import { boot } from "../../machine/boot/boot.ts";
import type { Machine } from "../../machine/machine.ts";

/** Where the guest says that it has done what it was told, and waits for more. */
const REPORT_PORT = 0x500;

/** A batch that takes this long is stuck. */
const TIMEOUT_MILLISECONDS = 60_000;

/** What the host and the guest tell each other: quadwords at the label `results`. */
const WORD = { operations: 0, loop: 8, empty: 16, elapsed: 24, taken: 32, witness: 40 } as const;
const RESULTS_SIZE = 48;

/**
 * A guest that does one operation over and over. The parts may use all registers but R13 to R15 and RSP; R12 is 0 when a
 * batch begins, and the host sees what it is at the end. `finish` does not find RAX, RCX and RDX as the operation left them.
 */
export interface MeasuredGuest {
  /** What is done once. */
  readonly setup?: AsmSource;
  /** What is done before each batch. */
  readonly prepare?: AsmSource;
  /** What loads the registers that the operation uses: between the first reading of the TSC and the loop. */
  readonly load?: AsmSource;
  /** The operation. */
  readonly operation: AsmSource;
  /** What is done after each batch. */
  readonly finish?: AsmSource;
  /** Interrupt handlers, other CPUs' code, data. They count interrupts in `[taken]`. */
  readonly routines?: AsmSource;
  /** Whether the operation adds the cycles to `[elapsed]` itself, since only a part of it is meant. */
  readonly measuresItself?: boolean;
  /** The machine. */
  readonly options?: LongOptions;
}

/** What a batch of a {@linkcode MeasuredGuest} came to. */
export interface GuestBatch {
  /** Cycles of the guest's TSC, without those of the empty loop. */
  readonly cycles: number;
  /** How many interrupts its handlers have counted. */
  readonly taken: number;
  /** R12 as the guest left it. */
  readonly witness: bigint;
  /** How many exits reached user space, without that of the report. */
  readonly userExits: number;
  /** By how much a statistic of the vCPU has grown: `"exits"`. */
  counted(statistic: string): number;
}

/**
 * The frame around the parts. Each batch is announced by the host in `operations`; the guest measures as many turns of an
 * empty loop, then the operations, and reports. The readings are serialized (Intel SDM Vol. 2B, RDTSC and RDTSCP).
 */
function frame(guest: MeasuredGuest): AsmSource {
  const nothing = asm``;
  const {
    setup = nothing,
    prepare = nothing,
    load = nothing,
    finish = nothing,
    routines = nothing,
  } = guest;
  return asm`
      bits 64
    %macro begin_reading 0
      lfence
      rdtsc
      shl rdx, 32
      lea r13, [rax + rdx]
    %endmacro
    %macro end_reading 1
      rdtscp
      lfence
      shl rdx, 32
      add rax, rdx
      sub rax, r13
      mov [%1], rax
    %endmacro

    frame_start:
      ${setup}
    frame_batch:
      mov edx, ${REPORT_PORT}
      out dx, al
      mov r14, [results + ${WORD.operations}]
      xor r12d, r12d
      mov [results + ${WORD.elapsed}], r12
      mov [results + ${WORD.taken}], r12
      mov r15, r14
      begin_reading
    frame_empty:
      dec r15
      jnz frame_empty
      end_reading results + ${WORD.empty}
      ${prepare}
      mov r15, r14
      begin_reading
      ${load}
    frame_operation:
      ${guest.operation}
      dec r15
      jnz frame_operation
      end_reading results + ${WORD.loop}
      ${finish}
      mov [results + ${WORD.witness}], r12
      jmp frame_batch

      ${routines}
      align 64, db 0
    results:
      times ${RESULTS_SIZE} db 0
      elapsed equ results + ${WORD.elapsed}
      taken equ results + ${WORD.taken}
  `;
}

/** A machine with a {@linkcode MeasuredGuest}, which waits for its first batch. */
export class MeasuredMachine implements Disposable {
  /** The machine. */
  readonly vm: Machine;
  /** How fast the guest's TSC counts. */
  readonly tscKhz: number;
  readonly #guest: MeasuredGuest;
  readonly #results: DataView;
  readonly #statistics: StatsFd;
  /** Of one turn, the least that was seen: what disturbs a turn only adds to it. */
  #emptyTurn = Infinity;

  /**
   * Boots it.
   *
   * @param attach Puts on the board what the guest's setup meets.
   */
  constructor(guest: MeasuredGuest, attach: (vm: Machine) => void = () => {}) {
    using cleanup = new DisposableStack();
    this.#guest = guest;
    this.vm = cleanup.use(
      boot(frame(guest), { mode: "long", timeout: TIMEOUT_MILLISECONDS, ...guest.options }),
    );
    this.vm.ports.on(REPORT_PORT, { name: "report", write: () => this.vm.stop() });
    attach(this.vm);
    this.#run();
    const { buffer, byteOffset } = this.vm.memory.view("results", RESULTS_SIZE);
    this.#results = new DataView(buffer, byteOffset, RESULTS_SIZE);
    this.tscKhz = this.vm.kvm.vcpu.clock.getTscKhz();
    this.#statistics = cleanup.use(this.vm.kvm.vcpu.getStatsFd());
    cleanup.move();
  }

  /** Does the operation so often. */
  batch(operations: number): GuestBatch {
    const { vm } = this;
    const results = this.#results;
    results.setBigUint64(WORD.operations, BigInt(operations), true);
    const before = this.#statistics.read();
    const exits = vm.log.total;
    this.#run();
    const after = this.#statistics.read();
    const word = (offset: number) => Number(results.getBigUint64(offset, true));
    this.#emptyTurn = Math.min(this.#emptyTurn, word(WORD.empty) / operations);
    return {
      cycles: this.#guest.measuresItself
        ? word(WORD.elapsed)
        : Math.max(0, word(WORD.loop) - this.#emptyTurn * operations),
      taken: word(WORD.taken),
      witness: results.getBigUint64(WORD.witness, true),
      userExits: vm.log.total - exits - 1,
      counted(statistic) {
        const [from] = before.get(statistic) ?? [];
        const [to] = after.get(statistic) ?? [];
        if (from !== undefined && to !== undefined) return Number(to - from);
        throw new RangeError(`Cannot count "${statistic}": KVM keeps no such statistic of a vCPU`);
      },
    };
  }

  #run(): void {
    const exit = this.vm.run();
    if (exit.reason === "IO" && exit.port === REPORT_PORT) return;
    throw new Error(`The guest ended with ${exit.reason} before it had done its batch`);
  }

  /** Disposes the machine. */
  [Symbol.dispose](): void {
    this.#statistics[Symbol.dispose]();
    this.vm[Symbol.dispose]();
  }
}

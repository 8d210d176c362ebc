import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import type { StatsFd } from "../../kvm/stats_fd.ts";
import type { LongOptions } from "../../machine/boot/boot_options.ts";
import { boot } from "../../machine/boot/boot.ts";
import type { Machine } from "../../machine/machine.ts";
import { AS_ON_HARDWARE } from "./as_on_hardware.ts";

/** Where the guest says that it has done what it was told, and waits for more. */
const REPORT_PORT = 0x500;

/** A run ends with one. */
const REPORT_EXITS = 1;

/** A batch that takes this long is stuck. */
const TIMEOUT_MILLISECONDS = 5000;

/** What the host and the guest tell each other: quadwords at the label `results`. */
const WORD = { operations: 0, elapsed: 8, taken: 16, witness: 24 } as const;
const RESULTS_SIZE = 32;
const QUADWORD = 8;

/** Where the guest leaves its readings of the TSC: one before the first operation, and one behind each. */
const READINGS = 0x18_0000;
const READINGS_END = 0x1f_f000;
/** As many operations as there is room for. */
export const MOST_IN_A_RUN: number = (READINGS_END - READINGS) / QUADWORD - 1;

/** The same of a loop that does nothing. */
const EMPTY_READINGS = READINGS_END;
const EMPTY_TURNS = 64;

const WORD_RANGE = 2 ** 32;

/**
 * A guest that does one operation over and over. The parts may use all registers but R13 to R15 and RSP, and the first
 * 1.5 MiB of memory. The TSC is read behind each operation, which overwrites RAX, RCX and RDX. R12 is 0 when a run begins,
 * and the host sees what it is at the end.
 */
export interface MeasuredGuest {
  /** What is done once. */
  readonly setup?: AsmSource;
  /** What is done before each run. */
  readonly prepare?: AsmSource;
  /** What loads RAX, RCX and RDX for the operation, each time: a part of it that costs next to nothing. */
  readonly load?: AsmSource;
  /** The operation. */
  readonly operation: AsmSource;
  /** What is done after each run. */
  readonly finish?: AsmSource;
  /** Interrupt handlers, other CPUs' code, data. They count interrupts in `[taken]`. */
  readonly routines?: AsmSource;
  /** Whether the operation leaves the cycles in `[elapsed]` itself, since only a part of it is meant. */
  readonly measuresItself?: boolean;
  /** The machine. */
  readonly options?: LongOptions;
}

/** What a run of a {@linkcode MeasuredGuest} came to. */
export interface GuestRun {
  /** Cycles of the guest's TSC, without those of an empty loop, of which one operation may have none; at least 1. */
  readonly cycles: number;
  /** Those of each operation. */
  readonly each: Float64Array;
  /** How many interrupts its handlers have counted. */
  readonly taken: number;
  /** R12 as the guest left it. */
  readonly witness: bigint;
  /** How many exits reached user space, without that of the report. */
  readonly userExits: number;
  /** By how much a statistic of the vCPU has grown: `"exits"`, without the report's. */
  counted(statistic: string): number;
}

/**
 * The frame around the parts. Each run is announced by the host in `operations`; the guest measures some turns of an empty
 * loop, then the operations, and reports. The readings are serialized (Intel SDM Vol. 2B, RDTSC and RDTSCP).
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
    %macro first_reading 1
      mov r14d, %1
      lfence
      rdtsc
      mov [r14], eax
      mov [r14 + 4], edx
      lfence
    %endmacro
    %macro next_reading 0
      rdtscp
      lfence
      add r14, ${QUADWORD}
      mov [r14], eax
      mov [r14 + 4], edx
    %endmacro

    frame_start:
      ${setup}
    frame_run:
      mov edx, ${REPORT_PORT}
      out dx, al
      mov r15d, ${EMPTY_TURNS}
      first_reading ${EMPTY_READINGS}
    frame_empty:
      next_reading
      dec r15
      jnz frame_empty
      xor r12d, r12d
      mov [results + ${WORD.elapsed}], r12
      mov [results + ${WORD.taken}], r12
      ${prepare}
      mov r15, [results + ${WORD.operations}]
      first_reading ${READINGS}
    frame_operation:
      ${load}
      ${guest.operation}
      ${guest.measuresItself ? ownReading() : asm`next_reading`}
      dec r15
      jnz frame_operation
      ${finish}
      mov [results + ${WORD.witness}], r12
      jmp frame_run

      ${routines}
      align 64, db 0
    results:
      times ${RESULTS_SIZE} db 0
      elapsed equ results + ${WORD.elapsed}
      taken equ results + ${WORD.taken}
  `;
}

/** What the operation has measured itself, in place of a reading. */
function ownReading(): AsmSource {
  return asm`
    mov rax, [elapsed]
    add r14, ${QUADWORD}
    mov [r14], rax
  `;
}

/** A machine with a {@linkcode MeasuredGuest}, which waits for its first run. */
export class MeasuredMachine implements Disposable {
  /** The machine. */
  readonly vm: Machine;
  /** How fast the guest's TSC counts. */
  readonly tscKhz: number;
  readonly #guest: MeasuredGuest;
  readonly #results: DataView;
  readonly #readings: Uint32Array;
  readonly #emptyReadings: Uint32Array;
  readonly #statistics: StatsFd;
  /** Cycles of an empty loop's turn: the median of a run, in the run where that was least. */
  #emptyTurn = Infinity;

  /**
   * Boots it.
   *
   * @param attach Puts on the board what the guest's setup meets.
   */
  constructor(guest: MeasuredGuest, attach: (vm: Machine) => void = () => {}) {
    using cleanup = new DisposableStack();
    this.#guest = guest;
    const vm = cleanup.use(
      boot(frame(guest), {
        ...AS_ON_HARDWARE,
        mode: "long",
        timeout: TIMEOUT_MILLISECONDS,
        reuse: false,
        ...guest.options,
      }),
    );
    this.vm = vm;
    vm.ports.on(REPORT_PORT, { name: "report", write: () => vm.stop() });
    attach(vm);
    this.#run();
    const { buffer, byteOffset } = vm.memory.view("results", RESULTS_SIZE);
    this.#results = new DataView(buffer, byteOffset, RESULTS_SIZE);
    this.#readings = words(vm, READINGS, MOST_IN_A_RUN + 1);
    this.#emptyReadings = words(vm, EMPTY_READINGS, EMPTY_TURNS + 1);
    this.tscKhz = vm.kvm.vcpu.clock.getTscKhz();
    this.#statistics = cleanup.use(vm.kvm.vcpu.getStatsFd());
    cleanup.move();
  }

  /** Does the operation so often, at most {@linkcode MOST_IN_A_RUN} times. */
  run(operations: number): GuestRun {
    const { vm } = this;
    const results = this.#results;
    results.setBigUint64(WORD.operations, BigInt(operations), true);
    const before = this.#statistics.read();
    const exits = vm.log.total;
    this.#run();
    const after = this.#statistics.read();
    const word = (offset: number) => Number(results.getBigUint64(offset, true));
    const turns = Array.from(
      { length: EMPTY_TURNS },
      (_, turn) => between(this.#emptyReadings, turn + 1),
    );
    const [median] = turns.sort((a, b) => a - b).slice(EMPTY_TURNS / 2);
    this.#emptyTurn = Math.min(this.#emptyTurn, median);
    const each = this.#cyclesOf(operations);
    return {
      cycles: Math.max(1, this.#cyclesOfAll(each)),
      each,
      taken: word(WORD.taken),
      witness: results.getBigUint64(WORD.witness, true),
      userExits: vm.log.total - exits - 1,
      counted(statistic) {
        const [from] = before.get(statistic) ?? [];
        const [to] = after.get(statistic) ?? [];
        if (from !== undefined && to !== undefined) {
          return Number(to - from) - (statistic === "exits" ? REPORT_EXITS : 0);
        }
        throw new RangeError(`Cannot count "${statistic}": KVM keeps no such statistic of a vCPU`);
      },
    };
  }

  #cyclesOf(operations: number): Float64Array {
    const readings = this.#readings;
    const isOwn = this.#guest.measuresItself;
    const each = new Float64Array(operations);
    for (let operation = 1; operation <= operations; operation++) {
      each[operation - 1] = isOwn
        ? reading(readings, operation)
        : Math.max(0, between(readings, operation) - this.#emptyTurn);
    }
    return each;
  }

  /** A single operation may seem to take less than an empty turn; all together may not gain from that. */
  #cyclesOfAll(each: Float64Array): number {
    if (this.#guest.measuresItself) return each.reduce((sum, one) => sum + one, 0);
    const count = each.length;
    const all = reading(this.#readings, count) - reading(this.#readings, 0);
    return all - count * this.#emptyTurn;
  }

  #run(): void {
    const exit = this.vm.run();
    if (exit.reason === "IO" && exit.port === REPORT_PORT) return;
    throw new Error(`The guest ended with ${exit.reason} before it had done its work`);
  }

  /** Disposes the machine. */
  [Symbol.dispose](): void {
    this.#statistics[Symbol.dispose]();
    this.vm[Symbol.dispose]();
  }
}

/** So many quadwords of the guest's memory, as pairs of words. */
function words({ memory }: Machine, gpa: number, quadwords: number): Uint32Array {
  const { buffer, byteOffset } = memory.view(gpa, quadwords * QUADWORD);
  return new Uint32Array(buffer, byteOffset, quadwords * 2);
}

function reading(readings: Uint32Array, index: number): number {
  return readings[2 * index + 1] * WORD_RANGE + readings[2 * index];
}

/** Cycles between a reading and the one before. */
function between(readings: Uint32Array, index: number): number {
  return reading(readings, index) - reading(readings, index - 1);
}

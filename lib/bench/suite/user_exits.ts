import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import { KVM_HC } from "../../kvm/abi/constants.ts";
import type { Machine } from "../../machine/machine.ts";
import { type Needs, requires } from "../../machine/host/requires.ts";
import type { Benchmark, BenchmarkRun } from "../benchmark.ts";
import {
  countsNotified,
  type GuestBenchmark,
  guestBenchmark,
  hypercall,
  type RunHooks,
  warmed,
} from "./guest_benchmark.ts";
import { type MeasuredGuest, MeasuredMachine, MOST_IN_A_RUN } from "./measured_guest.ts";

const NANOSECONDS_PER_MILLISECOND = 1e6;

const PORT = 0x1000;
/** In the identity map, and far above memory. */
const ADDRESS = 0x1000_0000;
/** No processor has it. */
const MSR = 0x5000_0000;
/** What reads are answered with. */
const VALUE = 3;
const STRING_BYTES = 1024;
const STRING = "string";

/**
 * Counts what handlers are called for, and takes the time from the end of the first operation to the end of the last: what
 * begins and ends a run is in neither.
 */
class HandlerClock {
  #calls = 0;
  #began = 0;
  #ended = 0;
  #first = 0;
  #last = 0;
  readonly #callsPerOperation: number;

  constructor(callsPerOperation: number) {
    this.#callsPerOperation = callsPerOperation;
  }

  /** So many operations are measured; there is one before them. */
  start(operations: number): void {
    this.#calls = this.#began = this.#ended = 0;
    this.#first = this.#callsPerOperation;
    this.#last = (operations + 1) * this.#callsPerOperation;
  }

  /** Called by the handler, each time. */
  readonly tick = (): void => {
    const calls = ++this.#calls;
    if (calls === this.#first) this.#began = performance.now();
    if (calls === this.#last) this.#ended = performance.now();
  };

  /** Nanoseconds between the first operation and the last. @throws {Error} When there were not as many. */
  stop(name: string): number {
    if (this.#calls !== this.#last) {
      throw new Error(`${name} came to its handler ${this.#calls} times instead of ${this.#last}`);
    }
    return (this.#ended - this.#began) * NANOSECONDS_PER_MILLISECOND;
  }
}

/** A benchmark of an exit that a handler of the host takes. */
interface UserExit {
  readonly name: string;
  readonly what: string;
  readonly needs?: Needs;
  /** How often the handler is called for an operation. Default once. */
  readonly callsPerOperation?: number;
  /** What R12 must have grown by with each operation. */
  readonly witness?: number;
  guest(): MeasuredGuest;
  attach(vm: Machine, tick: () => void): void;
}

function userExit(description: UserExit): Benchmark {
  const { name, what, needs = {} } = description;
  return {
    name,
    group: "exits to user space",
    what: `${what}, and back in the guest`,
    lacks: () => requires(needs).reason,
    start: () => start(description),
  };
}

function start(description: UserExit): BenchmarkRun {
  const { name, callsPerOperation = 1, witness } = description;
  const clock = new HandlerClock(callsPerOperation);
  clock.start(Infinity);
  const machine = new MeasuredMachine(
    description.guest(),
    (vm) => description.attach(vm, clock.tick),
  );
  return warmed({
    tscKhz: machine.tscKhz,
    batch(operations) {
      let nanoseconds = 0;
      let cycles = 0;
      for (let done = 0; done < operations; done += MOST_IN_A_RUN - 1) {
        const part = Math.min(operations - done, MOST_IN_A_RUN - 1);
        clock.start(part);
        const run = machine.run(part + 1);
        nanoseconds += clock.stop(name);
        cycles += run.cycles - run.each[0];
        if (witness !== undefined && run.witness !== BigInt(witness * (part + 1))) {
          throw new Error(
            `The guest of ${name} has ${run.witness} in R12 after ${part} operations`,
          );
        }
      }
      return { operations, nanoseconds, cycles };
    },
    [Symbol.dispose]: () => machine[Symbol.dispose](),
  });
}

const WIDTHS = [
  { bytes: 1, register: "al" },
  { bytes: 2, register: "ax" },
  { bytes: 4, register: "eax" },
] as const;

const PIO: readonly UserExit[] = WIDTHS.flatMap(({ bytes, register }) => [
  {
    name: `pio_out_${bytes * 8}`,
    what: `OUT of ${bytes} byte${bytes > 1 ? "s" : ""} to a handler`,
    guest: () => ({
      load: asm`mov edx, ${PORT}`,
      operation: asm`out dx, ${register}`,
    }),
    attach: (vm, tick) => void vm.ports.on(PORT, { write: tick }),
  },
  {
    name: `pio_in_${bytes * 8}`,
    what: `IN of ${bytes} byte${bytes > 1 ? "s" : ""} from a handler`,
    witness: VALUE,
    guest: () => ({
      load: asm`
        mov edx, ${PORT}
        xor eax, eax
      `,
      operation: asm`
        in ${register}, dx
        add r12, rax
      `,
    }),
    attach: (vm, tick) => void vm.ports.on(PORT, { read: answering(tick) }),
  },
]);

function answering(tick: () => void): () => number {
  return () => {
    tick();
    return VALUE;
  };
}

/** A string instruction over {@linkcode STRING_BYTES}. */
function stringGuest(instruction: AsmSource): MeasuredGuest {
  return {
    load: asm`mov edx, ${PORT}`,
    operation: asm`
      mov esi, ${STRING}
      mov edi, ${STRING}
      mov ecx, ${STRING_BYTES}
      ${instruction}
    `,
    routines: asm`
      align 1024, db 0
    ${STRING}: times ${STRING_BYTES} db 0
    `,
  };
}

const USER_EXITS: readonly UserExit[] = [
  ...PIO,
  {
    name: "pio_out_string",
    what: "REP OUTSB of 1 KiB to a handler, which takes each byte",
    callsPerOperation: STRING_BYTES,
    guest: () => stringGuest(asm`rep outsb`),
    attach: (vm, tick) => void vm.ports.on(PORT, { write: tick }),
  },
  {
    name: "pio_in_string",
    what: "REP INSB of 1 KiB from a handler, which gives each byte",
    callsPerOperation: STRING_BYTES,
    guest: () => stringGuest(asm`rep insb`),
    attach: (vm, tick) => void vm.ports.on(PORT, { read: answering(tick) }),
  },
  {
    name: "mmio_write",
    what: "a write of 4 bytes to a handler of an address",
    guest: () => ({ load: asm`mov ebx, ${ADDRESS}`, operation: asm`mov [rbx], eax` }),
    attach: (vm, tick) => void vm.mmio.on(ADDRESS, { write: tick }),
  },
  {
    name: "mmio_read",
    what: "a read of 4 bytes from a handler of an address",
    witness: VALUE,
    guest: () => ({
      load: asm`mov ebx, ${ADDRESS}`,
      operation: asm`
        mov eax, [rbx]
        add r12, rax
      `,
    }),
    attach: (vm, tick) => void vm.mmio.on(ADDRESS, { read: answering(tick) }),
  },
  {
    name: "hlt",
    what: "HLT that is an exit, since the kernel has no local APIC",
    guest: () => ({ operation: asm`hlt` }),
    attach: (vm, tick) => void vm.on("HLT", () => tick()),
  },
  {
    name: "rdmsr_user",
    what: "RDMSR of an MSR that a handler has",
    needs: { x86UserSpaceMsr: true, x86MsrFilter: true },
    witness: VALUE,
    guest: () => ({
      load: asm`mov ecx, ${MSR}`,
      operation: asm`
        rdmsr
        add r12, rax
      `,
    }),
    attach: (vm, tick) => void vm.msrs.on(MSR, { read: answering(tick) }),
  },
  {
    name: "wrmsr_user",
    what: "WRMSR of an MSR that a handler has",
    needs: { x86UserSpaceMsr: true, x86MsrFilter: true },
    guest: () => ({ load: asm`mov ecx, ${MSR}`, operation: asm`wrmsr` }),
    attach: (vm, tick) => void vm.msrs.on(MSR, { write: tick }),
  },
  {
    name: "hypercall_user",
    what: "a hypercall that a handler has (KVM_HC_MAP_GPA_RANGE)",
    needs: { exitHypercall: true },
    witness: VALUE,
    guest: () => ({
      operation: asm`
        mov eax, ${KVM_HC.MAP_GPA_RANGE}
        xor ebx, ebx
        mov ecx, 1
        xor edx, edx
        ${hypercall()}
        add r12, rax
      `,
      options: { capabilities: { KVM_CAP_EXIT_HYPERCALL: 1 << KVM_HC.MAP_GPA_RANGE } },
    }),
    attach: (vm, tick) =>
      void vm.on("HYPERCALL", () => {
        tick();
        return { ret: VALUE };
      }),
  },
];

/** A write, to a port or an address. */
const out = { load: () => asm`mov edx, ${PORT}`, operation: () => asm`out dx, eax` };
const store = { load: () => asm`mov ebx, ${ADDRESS}`, operation: () => asm`mov [rbx], eax` };

/** A write that finds the ring full is an exit: on Linux 6.1 one after 85, with pages of 4 KiB one after 169 at most. */
const LEAST_RING = 64;
const fullRings = (operations: number) => Math.floor(operations / LEAST_RING);

/** Counts the writes that a handler was given behind the guest's back. */
function countsCoalesced(coalesce: (write: () => void) => unknown): RunHooks {
  let writes = 0;
  coalesce(() => void writes++);
  return {
    before: () => void (writes = 0),
    after(operations) {
      if (writes === operations) return;
      throw new Error(`${writes} writes of ${operations} were delivered`);
    },
  };
}

/** What takes the place of exits to user space. Only the guest can say how long a write took. */
const BESIDE: readonly GuestBenchmark[] = [
  {
    name: "pio_out_coalesced",
    what: "OUT to a coalesced port: the host is given the writes with the next exit",
    needs: { coalescedPio: true },
    exits: 1,
    mostUserExits: fullRings,
    guest: () => ({ load: out.load(), operation: out.operation() }),
    attach: (vm) => countsCoalesced((write) => vm.ports.coalesce([PORT, PORT + 3], { write })),
  },
  {
    name: "mmio_write_coalesced",
    what: "a write to a coalesced address: the host is given the writes with the next exit",
    needs: { coalescedMmio: true },
    exits: 1,
    mostUserExits: fullRings,
    guest: () => ({ load: store.load(), operation: store.operation() }),
    attach: (vm) => countsCoalesced((write) => vm.mmio.coalesce([ADDRESS, ADDRESS + 3], { write })),
  },
  {
    name: "pio_out_ioeventfd",
    what: "OUT to a port that signals an eventfd (ioeventfd)",
    needs: { ioeventfd: true },
    exits: 1,
    guest: () => ({ load: out.load(), operation: out.operation() }),
    attach: (vm) => countsNotified(vm.ports.notify(PORT, { length: 4 })),
  },
  {
    name: "mmio_write_ioeventfd",
    what: "a write to an address that signals an eventfd (ioeventfd)",
    needs: { ioeventfd: true },
    exits: 1,
    guest: () => ({ load: store.load(), operation: store.operation() }),
    attach: (vm) => countsNotified(vm.mmio.notify(ADDRESS, { length: 4 })),
  },
];

/** Exits to handlers of the host, and what takes their place. */
export const userExits: readonly Benchmark[] = [
  ...USER_EXITS.map(userExit),
  ...BESIDE.map((description) => guestBenchmark({ ...description, group: "exits to user space" })),
];

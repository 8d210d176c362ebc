import { boot, expect, Image, portOut } from "@vmexit/vmexit";
import type { Machine } from "@vmexit/vmexit";
import { EXIT_REASON, IOCTLS } from "@vmexit/vmexit/abi";
import { Kvm, kvmLibc } from "@vmexit/vmexit/kvm";
import { bareVcpu } from "../lib/bench/suite/bare_vcpu.ts";
import { AS_ON_HARDWARE } from "../lib/bench/suite/as_on_hardware.ts";
import type { Batch, BenchmarkRun } from "../lib/bench/benchmark.ts";

export const PORT = 0x1000;
const ORIGIN = 0x500;
const KVM_RUN = IOCTLS.KVM_RUN.number;
const NANOSECONDS_PER_MILLISECOND = 1e6;

/** No batch takes this long, wherever it runs. */
const TIMEOUT_MILLISECONDS = 60_000;

/** The guests are those of the C programs, byte by byte. */
export const ENDLESS_OUT: Image = Image.fromBytes(
  new Uint8Array([
    ...[0xba, PORT & 0xff, PORT >> 8], // mov dx, PORT
    0xee, // out dx, al
    ...[0xeb, 0xfd], // jmp to the out
  ]),
  { origin: ORIGIN },
);
export const HLT: Image = Image.fromBytes(new Uint8Array([0xf4]), { origin: ORIGIN });

/** It writes to each page of 64 KiB. */
export const WRITES_16_PAGES: Image = Image.fromBytes(
  new Uint8Array([
    ...[0xb9, 0x10, 0x00], // mov cx, 16
    ...[0xbf, 0x00, 0x08], // mov di, 0x800
    ...[0x88, 0x0d], // mov [di], cl
    ...[0x81, 0xc7, 0x00, 0x10], // add di, 0x1000
    ...[0xe2, 0xf8], // loop to the mov
    0xf4, // hlt
  ]),
  { origin: ORIGIN },
);

/** How many exits are kept where all of a batch are. */
const ALL_EXITS = 4096;

/** A handler of the port that takes the time between the first exit of a batch and its last. */
function portClock(vm: Machine, onLast: () => void = () => {}) {
  let exits = 0;
  let last = 0;
  let began = 0;
  let ended = 0;
  vm.ports.on(PORT, {
    write(): void {
      if (exits === 0) began = performance.now();
      else if (exits === last) {
        ended = performance.now();
        onLast();
      }
      exits++;
    },
  });
  return {
    begin(operations: number): void {
      exits = 0;
      last = operations;
    },
    end(operations: number): Batch {
      if (exits !== operations + 1) {
        throw new Error(`The guest made ${exits} exits instead of ${operations + 1}`);
      }
      return { operations, nanoseconds: (ended - began) * NANOSECONDS_PER_MILLISECOND };
    },
  };
}

/** A machine whose guest writes to its port without end, and one way to run it for so many exits. */
function portExits(
  drive: (vm: Machine, exits: number) => void,
  { recordExits, stops = false }: { recordExits?: number; stops?: boolean } = {},
): BenchmarkRun {
  const vm = boot(ENDLESS_OUT, {
    mode: "real",
    memory: "4K",
    timeout: TIMEOUT_MILLISECONDS,
    recordExits,
  });
  const clock = portClock(vm, stops ? () => vm.stop() : undefined);
  return {
    batch(operations): Batch {
      clock.begin(operations);
      drive(vm, operations + 1);
      return clock.end(operations);
    },
    [Symbol.dispose]: () => vm[Symbol.dispose](),
  };
}

function byRun(vm: Machine): void {
  vm.run();
}

function byExits(vm: Machine, count: number): void {
  let left = count;
  for (const { exit } of vm.exits()) {
    if (exit.reason !== "IO") throw new Error(`The guest made an exit ${exit.reason}`);
    if (--left === 0) return;
  }
}

function byTranscript(vm: Machine, count: number): void {
  expect(vm).toExit([portOut(PORT).times(count)]);
}

/** A machine that has run to its HLT. */
function halted(): Machine {
  using cleanup = new DisposableStack();
  const vm = cleanup.use(
    boot(HLT, { ...AS_ON_HARDWARE, mode: "real", memory: "4K", reuse: false }),
  );
  vm.run();
  if (vm.registers.rip !== BigInt(ORIGIN + HLT.bytes.length)) {
    throw new Error("The guest did not halt");
  }
  cleanup.move();
  return vm;
}

/** @param isWhole Whether it is timed until they are disposed. */
function machines(isWhole: boolean): BenchmarkRun {
  return {
    batch(operations): Batch {
      let milliseconds = 0;
      for (let number = 0; number < operations; number++) {
        const start = performance.now();
        const vm = halted();
        if (!isWhole) milliseconds += performance.now() - start;
        vm[Symbol.dispose]();
        if (isWhole) milliseconds += performance.now() - start;
      }
      return { operations, nanoseconds: milliseconds * NANOSECONDS_PER_MILLISECOND };
    },
    [Symbol.dispose]() {},
  };
}

function reset(): BenchmarkRun {
  const vm = boot(WRITES_16_PAGES, {
    ...AS_ON_HARDWARE,
    mode: "real",
    memory: "64K",
    timeout: TIMEOUT_MILLISECONDS,
  });
  const snapshot = vm.snapshot();
  vm.run();
  return {
    batch(operations): Batch {
      const start = performance.now();
      for (let number = 0; number < operations; number++) {
        vm.restore(snapshot);
        vm.run();
      }
      const milliseconds = performance.now() - start;
      if (vm.memory.u8(0x800) !== 16 || vm.memory.u8(0xf800) !== 1) {
        throw new Error("The guest did not write to its pages");
      }
      return { operations, nanoseconds: milliseconds * NANOSECONDS_PER_MILLISECOND };
    },
    [Symbol.dispose]: () => vm[Symbol.dispose](),
  };
}

/** A loop that calls `ioctl` by Deno's FFI, and does nothing else: what no code of vmexit's takes away. */
function bareLoop(): BenchmarkRun {
  using cleanup = new DisposableStack();
  const vcpu = bareVcpu(cleanup.use(Kvm.open()), [...ENDLESS_OUT.bytes], cleanup);
  const { fd, kvmRun } = vcpu;
  const { ioctl } = kvmLibc();
  const loop = (count: number) => {
    for (let number = 0; number < count; number++) {
      if (ioctl(fd, KVM_RUN, 0) !== 0) throw new Error("KVM_RUN failed");
    }
  };
  const owned = cleanup.move();
  return {
    batch(operations): Batch {
      const start = performance.now();
      loop(operations);
      const milliseconds = performance.now() - start;
      if (kvmRun.exitReason !== EXIT_REASON.IO || kvmRun.ioPort !== PORT) {
        throw new Error("The guest did not write to its port");
      }
      return { operations, nanoseconds: milliseconds * NANOSECONDS_PER_MILLISECOND };
    },
    [Symbol.dispose]: () => owned[Symbol.dispose](),
  };
}

/** The exits of a machine that was just booted, from its run on. */
function firstExits(): BenchmarkRun {
  const vm = boot(ENDLESS_OUT, { mode: "real", memory: "4K", timeout: TIMEOUT_MILLISECONDS });
  return {
    batch(operations): Batch {
      const { total } = vm.log;
      let left = operations;
      vm.ports.on(PORT, {
        write(): void {
          if (--left === 0) vm.stop();
        },
      });
      const start = performance.now();
      vm.run();
      const milliseconds = performance.now() - start;
      if (vm.log.total - total !== operations) throw new Error("The guest made other exits");
      return { operations, nanoseconds: milliseconds * NANOSECONDS_PER_MILLISECOND };
    },
    [Symbol.dispose]: () => vm[Symbol.dispose](),
  };
}

/** vmexit's part of each comparison, by its name. */
export const RUNS: Readonly<Record<string, () => BenchmarkRun>> = {
  pio_exit_bare_loop: bareLoop,
  pio_exit: () => portExits(byRun, { stops: true }),
  pio_exit_recorded: () => portExits(byRun, { stops: true, recordExits: ALL_EXITS }),
  pio_exit_iterated: () => portExits(byExits),
  pio_exit_transcript: () => portExits(byTranscript),
  pio_exit_first: firstExits,
  life: () => machines(true),
  boot: () => machines(false),
  reset,
};

import { asm } from "../../guest/asm.ts";
import { boot } from "../../machine/boot/boot.ts";
import type { Batch, Benchmark, BenchmarkRun } from "../benchmark.ts";

const PORT = 0x1000;
const NANOSECONDS_PER_MILLISECOND = 1e6;

/** The first OUT is not counted: what begins a run lies before it, for both clocks. */
const GUEST = asm`
    bits 64
  start:
    mov edx, ${PORT}
    out dx, al
    lfence
    rdtsc
    shl rdx, 32
    or  rax, rdx
    mov r8, rax
    mov edx, ${PORT}
  next:
    out dx, al
    dec ecx
    jnz next
    lfence
    rdtsc
    shl rdx, 32
    or  rax, rdx
    mov r9, rax
    hlt
`;

function start(): BenchmarkRun {
  const vm = boot(GUEST);
  const tscKhz = vm.kvm.vcpu.clock.getTscKhz();
  const { rip } = vm.registers;
  let exits = 0;
  let last = 0;
  let began = 0;
  let ended = 0;
  vm.ports.on(PORT, {
    write(): void {
      if (exits === 0) began = performance.now();
      if (exits === last) ended = performance.now();
      exits++;
    },
  });
  return {
    tscKhz,
    batch(operations): Batch {
      exits = 0;
      last = operations;
      vm.registers.rip = rip;
      vm.registers.rcx = BigInt(operations);
      vm.run();
      if (exits !== operations + 1) {
        throw new Error(`The guest made ${exits} exits instead of ${operations + 1}`);
      }
      return {
        operations,
        nanoseconds: (ended - began) * NANOSECONDS_PER_MILLISECOND,
        cycles: Number(vm.registers.r9 - vm.registers.r8),
      };
    },
    [Symbol.dispose]: () => vm[Symbol.dispose](),
  };
}

/** Exits to a handler of a port. */
export const portExits: readonly Benchmark[] = [{
  name: "pio_out_8",
  group: "exits to user space",
  what: "OUT of a byte to a handler, and back in the guest",
  start,
}];

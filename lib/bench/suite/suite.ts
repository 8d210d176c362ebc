import type { Benchmark } from "../benchmark.ts";
import { interrupts } from "./interrupts.ts";
import { kernelExits } from "./kernel_exits.ts";
import { lifeCycle } from "./life_cycle.ts";
import { dirtyPages, memoryFaults } from "./memory_faults.ts";
import { otherCpu } from "./other_cpu.ts";
import { pciWrites } from "./pci_writes.ts";
import { snapshots } from "./snapshots.ts";
import { userExits } from "./user_exits.ts";
import { vcpuExits } from "./vcpu_exits.ts";

/** All benchmarks of `vmexit bench`, in the order in which they are shown. */
export const suite: readonly Benchmark[] = [
  ...userExits,
  ...vcpuExits,
  ...kernelExits,
  ...interrupts,
  ...otherCpu,
  ...pciWrites,
  ...memoryFaults,
  ...lifeCycle,
  ...snapshots,
  ...dirtyPages,
];

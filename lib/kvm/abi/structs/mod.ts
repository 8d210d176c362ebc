import type { StructLayout } from "../../../ffi/struct.ts";
import * as cpuid from "./cpuid.ts";
import * as device from "./device.ts";
import * as encryption from "./encryption.ts";
import * as enlightenments from "./enlightenments.ts";
import * as irq from "./irq.ts";
import * as irqchip from "./irqchip.ts";
import * as memory from "./memory.ts";
import * as msr from "./msr.ts";
import * as nested_state from "./nested_state.ts";
import * as registers from "./registers.ts";
import * as run from "./run.ts";
import * as stats from "./stats.ts";
import * as vcpu from "./vcpu.ts";

export * from "./cpuid.ts";
export * from "./device.ts";
export * from "./encryption.ts";
export * from "./enlightenments.ts";
export * from "./irq.ts";
export * from "./irqchip.ts";
export * from "./memory.ts";
export * from "./msr.ts";
export * from "./nested_state.ts";
export * from "./registers.ts";
export * from "./run.ts";
export * from "./stats.ts";
export * from "./vcpu.ts";

const FAMILIES: readonly Record<string, StructLayout>[] = [
  cpuid,
  device,
  encryption,
  enlightenments,
  irq,
  irqchip,
  memory,
  msr,
  nested_state,
  registers,
  run,
  stats,
  vcpu,
];

/** Every structure of the ABI that vmexit declares, by the header's name. Tests and documentation walk it. */
export const STRUCTS: ReadonlyMap<string, StructLayout> = new Map(
  FAMILIES.flatMap((family) =>
    Object.values(family).map((layout): [string, StructLayout] => [layout.name, layout])
  ),
);

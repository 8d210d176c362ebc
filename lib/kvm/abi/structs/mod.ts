import type { StructLayout } from "../../../ffi/struct.ts";
import * as clock from "./clock.ts";
import * as coalesced_mmio from "./coalesced_mmio.ts";
import * as cpuid from "./cpuid.ts";
import * as debug from "./debug.ts";
import * as device from "./device.ts";
import * as encryption from "./encryption.ts";
import * as events from "./events.ts";
import * as fpu from "./fpu.ts";
import * as hyperv from "./hyperv.ts";
import * as irq from "./irq.ts";
import * as irq_routing from "./irq_routing.ts";
import * as irqchip from "./irqchip.ts";
import * as memory from "./memory.ts";
import * as msr from "./msr.ts";
import * as nested_state from "./nested_state.ts";
import * as pit from "./pit.ts";
import * as pmu from "./pmu.ts";
import * as regs from "./regs.ts";
import * as run from "./run.ts";
import * as sregs from "./sregs.ts";
import * as stats from "./stats.ts";
import * as vcpu from "./vcpu.ts";
import * as xen from "./xen.ts";

export * from "./clock.ts";
export * from "./coalesced_mmio.ts";
export * from "./cpuid.ts";
export * from "./debug.ts";
export * from "./device.ts";
export * from "./encryption.ts";
export * from "./events.ts";
export * from "./fpu.ts";
export * from "./hyperv.ts";
export * from "./irq.ts";
export * from "./irq_routing.ts";
export * from "./irqchip.ts";
export * from "./memory.ts";
export * from "./msr.ts";
export * from "./nested_state.ts";
export * from "./pit.ts";
export * from "./pmu.ts";
export * from "./regs.ts";
export * from "./run.ts";
export * from "./sregs.ts";
export * from "./stats.ts";
export * from "./vcpu.ts";
export * from "./xen.ts";

const FAMILIES: readonly Record<string, StructLayout>[] = [
  clock,
  coalesced_mmio,
  cpuid,
  debug,
  device,
  encryption,
  events,
  fpu,
  hyperv,
  irq,
  irq_routing,
  irqchip,
  memory,
  msr,
  nested_state,
  pit,
  pmu,
  regs,
  run,
  sregs,
  stats,
  vcpu,
  xen,
];

/** Every structure of the ABI that vmexit declares, by the header's name. Tests and documentation walk it. */
export const STRUCTS: ReadonlyMap<string, StructLayout> = new Map(
  FAMILIES.flatMap((family) =>
    Object.values(family).map((layout): [string, StructLayout] => [layout.name, layout])
  ),
);

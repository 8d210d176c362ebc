import type { Benchmark } from "../benchmark.ts";
import { portExits } from "./port_exits.ts";

/** All benchmarks of `vmexit bench`, in the order in which they are shown. */
export const suite: readonly Benchmark[] = [...portExits];

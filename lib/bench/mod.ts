/**
 * Measures the exits of a guest: {@linkcode benchExits} runs it and gives a distribution for each kind of exit, which
 * {@linkcode resultsTable} prints. What `vmexit bench` measures of the host itself has the same form.
 *
 * A benchmark of a whole routine or boot is a plain `Deno.bench`, by `deno bench` or `vmexit bench FILE`.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * Deno.bench("a machine boots and halts", () => {
 *   using vm = boot(asm`hlt`);
 *   vm.run();
 * });
 * ```
 *
 * @module
 */
export { benchExits } from "./bench_exits.ts";
export { resultsTable, type Terminal } from "./table.ts";
export type { BenchmarkGroup } from "./benchmark.ts";
export type { Fingerprint } from "./fingerprint.ts";
export type { MachineMemory } from "./machine_memory.ts";
export type { Clock, Comparison, Measurement, Ratio, Results, Unmeasured } from "./results.ts";
export type { Outliers, Summary } from "./statistics.ts";

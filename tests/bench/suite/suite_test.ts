import { assert, assertEquals } from "@std/assert";
import { suite } from "../../../lib/bench/suite/mod.ts";

/** Enough that what begins and ends a batch would show in its mean. */
const OPERATIONS = 20;

/** Machines take longer than exits. */
const FEW = 3;

/** An operation of these is a thousand exits, or waits for a timer. */
const LONG: Readonly<Record<string, number>> = { pio_out_string: 1, pio_in_string: 2 };

Deno.test("no two benchmarks have the same name", () => {
  const names = suite.map(({ name }) => name);
  assertEquals(names, [...new Set(names)]);
});

/** Those of the suite with which figures are compared. */
const KNOWN = [
  ..."cpuid vmcall wbinvd invd mov_from_cr8 mov_to_cr8 inl_from_pmtimer inl_from_qemu".split(" "),
  ..."inl_from_kernel outl_to_kernel mov_dr tscdeadline_immed tscdeadline".split(" "),
  ...["self_ipi", "x2apic_self_ipi"].flatMap((name) =>
    ["sti_nop", "sti_hlt", "tpr", "tpr_sti_nop", "tpr_sti_hlt"].map((way) => `${name}_${way}`)
  ),
  ..."ipi ipi_halt ple_round_robin wr_kernel_gs_base wr_tsx_ctrl_msr wr_ibrs_msr".split(" "),
  ..."wr_ibpb_msr wr_tsc_adjust_msr rd_tsc_adjust_msr toggle_cr0_wp toggle_cr4_pge".split(" "),
  ..."pci-mem pci-io".split(" "),
];

Deno.test("the 36 names of the suite that others compare with are there", () => {
  assertEquals(KNOWN.length, 36);
  const names = new Set(suite.map(({ name }) => name));
  assertEquals(KNOWN.filter((name) => !names.has(name)), []);
});

for (const { name, group, lacks, start } of suite) {
  const lacking = lacks?.();
  const title = `${name} does as many operations as it is asked for, again and again`;
  const skip = { name: `${title} (skipped: ${lacking})`, ignore: true };
  Deno.test(lacking === undefined ? { name: title } : skip, () => {
    using run = start();
    const many = LONG[name] ?? (group === "life cycle" ? FEW : OPERATIONS);
    for (const operations of [1, many]) {
      const batch = run.batch(operations);
      assertEquals(batch.operations, operations);
      const { exits = Infinity, cycles, each } = batch;
      // What makes no exit may take no longer than an empty loop.
      const least = operations === many && exits >= operations ? 1 : 0;
      assert(batch.nanoseconds >= least, `${batch.nanoseconds} ns`);
      if (each !== undefined) assertEquals(each.length, operations);
      if (cycles === undefined) continue;
      assert(cycles >= least, `${cycles} cycles`);
      assert(run.tscKhz! > 0, `${run.tscKhz} kHz`);
    }
  });
}

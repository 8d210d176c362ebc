import { asm, boot, expect, interleavings } from "@vmexit/vmexit";

// Two CPUs, twenty orders of their instructions: without the lock prefix one of them loses an increment.
Deno.test("both CPUs' increments count, in whatever order they come", () => {
  const guest = asm`
    lock inc word [0x2000]
    hlt
  `;
  interleavings(20, (seed) => {
    using vm = boot(guest, { cpus: [{}, {}], interleaving: { seed } });
    vm.run();
    expect(vm).toBeHalted();
    expect(vm).toHaveMemory(0x2000, [2, 0]);
  });
});

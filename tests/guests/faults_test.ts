import {
  asm,
  boot,
  expect,
  hlt,
  Image,
  mmioWrite,
  requires,
  shutdown,
  TimeLimitError,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";

Deno.test("a guest that triple-faults shuts down", () => {
  using vm = boot(asm.file("../../guests/triple_fault.asm"));

  expect(vm).toExit([shutdown()]);

  expect(vm).toBeShutDown();
  expect(vm).not.toBeHalted();
});

Deno.test("a guest with a fault catcher has its page fault told", () => {
  const hole = { linear: 0x200000, size: 0x200000, present: false };
  using vm = boot(asm.file("../../guests/page_fault.asm"), {
    mode: "long",
    catchFaults: true,
    mappings: [hole],
  });

  expect(vm).toFault("#PF", { errorCode: 0x2, cr2: hole.linear, rip: "stray", cpl: 0 });

  assertEquals(
    vm.fault!.text,
    "#PF at 0x10007 (`mov [rax], bl`): write to 0x200000, not present at PDE",
  );
});

Deno.test("a guest that loops for ever is stopped by the time limit, and can be looked at and run on", () => {
  using vm = boot(asm.file("../../guests/endless_loop.asm"), { timeout: 20 });

  const error = assertThrows(() => vm.run(), TimeLimitError, "endless_loop.asm");

  const { start, size } = { start: vm.image.origin, size: BigInt(vm.image.size) };
  assert(error.rip >= start && error.rip < start + size, `stopped at ${error.rip}`);
  assertEquals(vm.log.total, 0);
  const { rcx } = vm.registers;
  assertGreater(rcx, 0n);

  vm.registers.rcx = 0n;
  assertThrows(() => vm.run(), TimeLimitError);
  assertGreater(vm.registers.rcx, 0n);
});

Deno.test("a guest that writes to read-only memory causes an MMIO exit, and the memory stays as it is", () => {
  using vm = boot(asm.file("../../guests/read_only_memory.asm"), {
    memory: "64K",
    slots: [{ gpa: 0x10000, size: "4K", readonly: true, content: "ROM" }],
  });

  expect(vm).toExit([mmioWrite(0x10000, 0x55, 1), hlt()]);

  expect(vm).toHaveMemory(0x10000, "ROM");
  expect(vm).toHaveRegisters({ bl: 0x52, cl: 0x52 }); // "R", before and after
});

Deno.test("a guest that executes garbage shuts down", () => {
  using vm = boot(asm.file("../../guests/garbage.asm"));

  expect(vm).toExit([shutdown()]);

  expect(vm).toBeShutDown();
});

Deno.test(
  requires(
    { interruptsTimeLimit: true },
    "whatever bytes a guest executes, its run ends in an exit or at the time limit",
  ),
  () => {
    for (let seed = 1; seed <= 12; seed++) {
      const bytes = noise(seed, 64);
      using vm = boot(Image.fromBytes(bytes, { origin: 0x10000, bits: 64 }), { timeout: 10 });

      try {
        const { reason } = vm.run();
        assertEquals(reason, "HLT");
      } catch (error) {
        assert(error instanceof UnhandledExitError || error instanceof TimeLimitError, `${error}`);
      }
    }
  },
);

/** Bytes of a linear congruential generator: the same for the same seed. */
function noise(seed: number, length: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

import { asm, boot, expect, TimeLimitError } from "@vmexit/vmexit";
import { scaledTimeout } from "../../../lib/machine/run/time_limit.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";

const VECTOR = 0x50;
const PIN = 16;
const SIGNALS = 20;
/** Long enough that only a guest that is given no time at all meets it. */
const PATIENCE = 2000;

/** Keeps every processor of the host busy, twice over, until it is disposed. */
function load(): AsyncDisposable {
  const burning = Array.from(
    { length: 2 * navigator.hardwareConcurrency },
    () => new Deno.Command("sh", { args: ["-c", "while :; do :; done"], stdin: "null" }).spawn(),
  );
  return {
    async [Symbol.asyncDispose]() {
      for (const child of burning) child.kill("SIGKILL");
      await Promise.all(burning.map(({ status }) => status));
    },
  };
}

Deno.test("on a loaded host a time limit ends what hangs, not before its time, and what was stopped runs on", async () => {
  await using _load = load();
  using vm = boot(
    asm`
      again:
        inc ecx
        out 0x10, al
        test bx, bx
        jz again
        hlt
      `,
    { timeout: 20 },
  );
  let written = 0;
  vm.ports.on(0x10, { write: () => written++ });
  for (let times = 0; times < 3; times++) {
    const begin = performance.now();
    assertThrows(() => vm.run(), TimeLimitError);
    assert(performance.now() - begin >= scaledTimeout(20));
  }
  vm.registers.bx = 1;
  assertEquals(vm.run({ timeout: PATIENCE }).reason, "HLT");
  assertEquals(written, vm.registers.ecx);
});

Deno.test("on a loaded host no guest is taken for halted that an interrupt is about to wake", async () => {
  await using _load = load();
  using vm = boot(
    asm`
        bits 32
        %include "../../../guests/interrupts/interrupts.inc"
        enable_apic
        redirect ${PIN}, ${VECTOR}
        sti
      again:
        hlt
        cmp byte [taken], ${SIGNALS}
        jb again
        cli
        hlt
      on_interrupt:
        inc byte [taken]
        end_of_interrupt
        iret
      taken: db 0
      `,
    { irqchip: true, gates: { [VECTOR]: "on_interrupt" }, timeout: PATIENCE },
  );
  using event = vm.interrupts.eventfd(PIN);
  vm.run({ until: "halted" });
  for (let signal = 1; signal <= SIGNALS; signal++) {
    // By the kernel's own thread, which comes when it comes.
    event.signal();
    assertEquals(vm.run({ until: "halted" }).reason, "HLT");
    assertEquals(vm.memory.u8("taken"), signal);
  }
  // The last HLT has interrupts disabled: that is the end, without being asked for.
  expect(vm).toBeHalted();
  assertEquals(vm.registers.rflags.if, false);
});

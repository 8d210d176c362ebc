import { boot, type BootOptions, expect, guestTests, type Image } from "@vmexit/vmexit";
import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";
import { assertEquals, assertRejects } from "@std/assert";
import { buildGuest } from "./build_guest.ts";

const C_FILES = ["main.c", "descriptors.c", "timer.c", "boot_information.c"];

function kernel(bits: 32 | 64, defines: readonly string[] = []): Image {
  return buildGuest("c_kernel", [`start${bits}.asm`, "traps.asm", ...C_FILES], {
    bits,
    script: `kernel${bits}.ld`,
    defines,
    args: bits === 64 ? ["-mcmodel=kernel"] : [],
  });
}

const KERNELS = [
  { name: "32 bits by multiboot", bits: 32, kind: "multiboot", defines: [] },
  { name: "64 bits in the upper half by multiboot", bits: 64, kind: "multiboot", defines: [] },
  { name: "32 bits by multiboot 2", bits: 32, kind: "multiboot2", defines: ["MULTIBOOT2"] },
  { name: "64 bits by multiboot 2", bits: 64, kind: "multiboot2", defines: ["MULTIBOOT2"] },
] as const;

/** A clock by which a tick of the kernel's comes after a hundred exits. */
const clock = () => new TestClock({ perExit: 10_000 });

/** Interrupt controllers and timer: those of the board, or of the kernel's. */
const BOARDS: readonly { board: string; options: () => BootOptions }[] = [
  {
    board: "devices",
    options: () => ({ devices: [new Pic(), new Pit()], clock: clock() }),
  },
  { board: "devices in real time", options: () => ({ devices: [new Pic(), new Pit()] }) },
  { board: "the kernel's controllers", options: () => ({ irqchip: true, pit: true }) },
];

for (const { name, bits, kind, defines } of KERNELS) {
  Deno.test(`a kernel's own tests in C: ${name}`, async (t) => {
    const image = kernel(bits, defines);
    assertEquals(image.kind, kind);
    for (const { board, options } of BOARDS) {
      await t.step(board, async (t) => {
        using vm = boot(image, { ...options(), kernel: { commandLine: "test=all quiet" } });
        assertEquals(await guestTests(vm, t), "5 ticks");
        expect(vm).toBeHalted();
      });
    }
  });
}

Deno.test("a kernel that forgets to end its interrupts hangs, and its steps show where", async () => {
  const image = kernel(32, ["FORGETS_END_OF_INTERRUPT"]);
  using vm = boot(image, {
    devices: [new Pic(), new Pit()],
    clock: clock(),
    kernel: { commandLine: "test=all quiet" },
  });
  const failed: string[] = [];
  const step = async ({ name, ignore, fn }: Deno.TestStepDefinition) => {
    try {
      if (ignore !== true) await fn(undefined as never);
    } catch {
      failed.push(name);
    }
    return true;
  };
  const tests = guestTests(vm, { step } as Deno.TestContext, { timeout: 20 });
  await assertRejects(() => tests, Error, "The guest did not end within");
  assertEquals(failed, ["the timer interrupts a halted CPU"]);
});

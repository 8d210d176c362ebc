import { asm, boot, expect, requires } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";
import { modes, needsOf } from "./modes.ts";

const EXIT = 0xf4;
const REQUESTED_PRIVILEGE = 0x3;
const PROTECTION_ENABLE = 0x1;

/** Modes without selectors that have a privilege level. */
const WITHOUT_SELECTORS = ["real", "unreal", "virtual8086"];

for (const { name, options, bits, cpl } of modes) {
  const width =
    `${name}: code finds its width, its privilege and CR0.PE as they are in no other width`;
  Deno.test(requires(needsOf(options), width), () => {
    // By its entry, since these are bytes of 16 bits on purpose.
    const guest = asm.file("../../guests/modes/which_mode.asm");
    using vm = boot(guest, { ...options, entry: "_start", exitPort: EXIT });
    vm.run();
    const { al, bx, cx } = vm.registers;
    assertEquals(al, bits);
    assertEquals(bx & PROTECTION_ENABLE, vm.mode.endsWith("real") ? 0 : 1);
    assertEquals(
      cx & REQUESTED_PRIVILEGE,
      WITHOUT_SELECTORS.includes(vm.mode) ? 0 : cpl,
    );
  });

  Deno.test(requires(needsOf(options), `${name}: the body that serves every mode runs`), () => {
    using vm = boot(asm.file("../../guests/modes/body.asm"), { ...options, exitPort: EXIT });
    vm.run();
    expect(vm).toHaveSerial("Hello from any mode!\n");
    assertEquals(vm.linear.u16("sum"), 55);
  });
}

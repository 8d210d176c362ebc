import { asm, boot, expect } from "@vmexit/vmexit";
import { Cmos, Hpet, pc, Pic, PostCodes, TestClock, Uart } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";

Deno.test("the devices of a PC fit on a board, with others beside them", () => {
  const names = (options?: Parameters<typeof pc>[0]) => pc(options).map(({ name }) => name);
  assertEquals(names(), [
    "PIC",
    "PIT",
    "CMOS",
    "i8042",
    "system control port",
    "reset control",
    "ACPI PM timer",
    "ACPI power",
    "POST codes",
  ]);
  assertEquals(names({ pic: false, pit: false, hpet: new Hpet() }).slice(-2), [
    "POST codes",
    "HPET",
  ]);
  const serial = (["COM2", "COM3", "COM4"] as const).map((name) => new Uart(name));
  using vm = boot(asm`hlt`, { devices: [...pc({ hpet: new Hpet() }), ...serial] });
  vm.run();
  expect(vm).toBeHalted();
});

/** Initializes the controllers, reads the year and the century, says so at port 0x80, and waits for three ticks. */
const KERNEL = asm`
  %macro put 2
    mov al, %2
    out %1, al
  %endmacro
  mov word [0x20 * 4], tick
  mov word [0x20 * 4 + 2], 0
  put 0x20, 0x11
  put 0x21, 0x20
  put 0x21, 4
  put 0x21, 1
  put 0x21, 0xfe
  put 0x43, 0x34
  put 0x40, 0x00
  put 0x40, 0x10
  put 0x70, 0x32
  in al, 0x71
  out 0x80, al
  put 0x70, 9
  in al, 0x71
  out 0x80, al
again:
  sti
  hlt
  cli
  cmp byte [0x7000], 3
  jb again
  hlt
tick:
  push ax
  inc byte [0x7000]
  put 0x20, 0x20
  pop ax
  iret
`;

Deno.test("the same guest runs on controllers of the board and of the kernel", () => {
  for (const irqchip of [false, true]) {
    const postCodes = new PostCodes();
    const cmos = new Cmos({ date: new Date("2031-05-06") });
    const own = irqchip ? { pic: false, pit: false } as const : {};
    using vm = boot(KERNEL, {
      irqchip,
      pit: irqchip,
      clock: new TestClock(),
      devices: pc({ postCodes, cmos, ...own }),
    });
    vm.run();
    expect(vm).toBeHalted();
    // The kernel's timer goes by the host's clock.
    const ticks = vm.memory.u8(0x7000);
    assert(irqchip ? ticks >= 3 : ticks === 3, String(ticks));
    assertEquals(postCodes.codes, [0x20, 0x31]);
  }
});

Deno.test("a machine that is reset begins with its devices as after power-on", () => {
  const pic = new Pic();
  const content = new Uint8Array(0x1000);
  // deno-fmt-ignore
  content.set([
    0xe4, 0x21,             // in al, 0x21
    0xe6, 0x80,             // out 0x80, al
    0xf4,                   // hlt
  ], 0xff0);
  using vm = boot(
    asm`
      mov al, 0x11
      out 0x20, al
      mov al, 0x20
      out 0x21, al
      mov al, 4
      out 0x21, al
      mov al, 1
      out 0x21, al
      mov al, 0x12
      out 0x21, al
      mov dx, 0xcf9
      mov al, 6
      out dx, al
      hlt
    `,
    {
      devices: pc({ pic }),
      reset: "restart",
      slots: [{ gpa: 0xffff_f000, size: 0x1000, readonly: true, content }],
    },
  );
  vm.run();
  expect(vm).toHaveRegisters({ al: 0xff });
  expect(vm).toBeHalted();
});

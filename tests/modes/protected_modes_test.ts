import {
  asm,
  boot,
  expect,
  hlt,
  type LongOptions,
  mmioWrite,
  type PaeOptions,
  type PagedOptions,
  type ProtectedOptions,
} from "@vmexit/vmexit";
import { assert, assertEquals } from "@std/assert";

const DEVICE = 0xf000_0000;
const TASK_SELECTOR = 0x18;

Deno.test("16-bit protected mode: selectors are those of the GDT, and gates are of 16 bits", () => {
  using vm = boot(asm.file("../../guests/modes/protected16.asm"), {
    mode: "protected16",
    gates: { 13: "general_protection" },
  });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveMemory(0x9000, [0x34, 0x12]);
  expect(vm).toHaveRegisters({
    bp: 8,
    cx: 0x80,
    dx: "_start.faulting",
    bx: TASK_SELECTOR,
  });
});

Deno.test("protected mode: flat segments from the GDT, 4 GiB of addresses, no paging", () => {
  using vm = boot(asm.file("../../guests/modes/protected.asm"), { mode: "protected" });
  expect(vm).toExit([mmioWrite(DEVICE, 0x1234_5678, 4), hlt()]);
  expect(vm).toHaveMemory(0x18_0000, [0x78, 0x56, 0x34, 0x12]);
  expect(vm).toHaveRegisters({
    eax: 0x1234_5678,
    ebx: 0x31,
    cx: TASK_SELECTOR,
    edx: "_start.push",
    cs: 0x08,
    "cs.db": 1,
    efer: 0,
  });
});

Deno.test("a guest that says bits 32 starts in protected mode", () => {
  using vm = boot(asm`
    bits 32
    mov eax, cr0
    hlt
  `);
  assertEquals(vm.mode, "protected");
  vm.run();
  expect(vm).toHaveRegisters({ eax: 0x31 });
});

Deno.test("virtual-8086 mode: real mode's segments under a monitor that enters at CPL 0 and returns", () => {
  using vm = boot(asm.file("../../guests/modes/virtual8086.asm"), {
    mode: "virtual8086",
    gates: { 0x21: "monitor" },
  });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveMemory(0x9000, [0x34, 0x12, 0, 0]);
  expect(vm).toHaveRegisters({ ax: 0, cs: 0x08, "cs.db": 1, "ss.dpl": 0, "rflags.vm": false });
  const { bx, cx, edx } = vm.registers;
  assertEquals([bx & 1, cx >> 12 & 3, edx >> 17 & 1], [1, 3, 1]);

  expect(vm).toExit([hlt()]);
  expect(vm).toHaveMemory(0x9002, [0x78, 0x56]);
});

Deno.test("virtual-8086 mode: without closed ports it may use them, with closed ports it may not", () => {
  const guest = asm`
      bits 16
      mov dx, 0x3f8
      mov al, 'V'
      out dx, al
      int 0x80
      bits 32
    refused:
      mov bl, 0x13
      hlt
  `;
  using open = boot(guest, { mode: "virtual8086", gates: { 13: "refused" } });
  open.run();
  expect(open).toHaveSerial("V");
  using closed = boot(guest, {
    mode: "virtual8086",
    gates: { 13: "refused" },
    ioPermission: false,
  });
  closed.run();
  expect(closed).toHaveSerial("");
  expect(closed).toHaveRegisters({ bl: 0x13 });
});

const user: readonly (ProtectedOptions | PagedOptions | PaeOptions | LongOptions)[] = [
  { mode: "protected", cpl: 3 },
  { mode: "paged", cpl: 3 },
  { mode: "pae", cpl: 3 },
  { mode: "long", cpl: 3 },
];

Deno.test.each(user)(
  "CPL 3 in $mode mode: CLI is refused, and int 0x80 leads to CPL 0 and back",
  (options) => {
    using vm = boot(asm.file("../../guests/modes/user.asm"), {
      ...options,
      gates: { 13: "general_protection", 0x80: "system_call" },
    });
    expect(vm).toExit([hlt()]);
    const { al, bx, cx, dx, bp } = vm.registers;
    assertEquals([al, bx & 3, cx & 3, dx & 3], [0x33, 0, 3, 3]);
    assert(bp > 0x5f00 && bp < 0x6000, `the handler's stack is at ${bp}`);
    assertEquals(vm.linear.u32("faults"), 1);
    expect(vm).toHaveRegisters({ "ss.dpl": 0 });

    expect(vm).toExit([hlt()]);
    expect(vm).toHaveRegisters({ al: 0x44 });
  },
);

Deno.test.each(user)(
  "CPL 3 in $mode mode: without a handler of its own int 0x80 executes HLT and returns",
  (options) => {
    using vm = boot(
      asm`
        mov al, 1
        int 0x80
        mov al, 2
        int 0x80
      `,
      options,
    );
    expect(vm).toExit([hlt()]);
    expect(vm).toHaveRegisters({ al: 1, "cs.dpl": 0 });
    expect(vm).toExit([hlt()]);
    expect(vm).toHaveRegisters({ al: 2 });
  },
);

import { asm, boot, type BootOptions, expect, hlt } from "@vmexit/vmexit";
import { assertEquals, assertThrows } from "@std/assert";

const guest = asm`
  int 0x21
  mov bx, ax
  hlt
dos:
  mov ax, cs
  add ax, 0x1234
  iret
divided:
  mov cx, 0xd1d
  hlt
divides:
  xor cx, cx
  div cx
`;

Deno.test.each(["real", "unreal"] as const)(
  "gates are the interrupt vector table of %s mode",
  (mode) => {
    using vm = boot(guest, { mode, gates: { 0x21: "dos", 0: "divided" } });
    expect(vm).toExit([hlt()]);
    expect(vm).toHaveRegisters({ bx: 0x1234, sp: 0x7c00 });
    vm.registers.rip = "divides";
    expect(vm).toExit([hlt()]);
    expect(vm).toHaveRegisters({ cx: 0xd1d });
    const dos = Number(vm.image.symbol("dos"));
    expect(vm).toHaveMemory(0x84, [dos & 0xff, dos >> 8, 0, 0]);
    expect(vm).toHaveMemory(0x88, [0, 0, 0, 0]);
  },
);

Deno.test("a label is an offset in the segment of the start, and its handler runs there", () => {
  using vm = boot(guest, { cs: 0x7c0, gates: { 0x21: "dos" } });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ bx: 0x7c0 + 0x1234 });
});

Deno.test("a handler beyond that segment has the segment that reaches it", () => {
  using vm = boot(guest, {
    gates: { 0x21: 0x2_3456 },
    slots: [],
    registers: { sp: 0x7000 },
  });
  expect(vm).toHaveMemory(0x84, [0x56, 0x34, 0x00, 0x20]);
  vm.memory.write(0x2_3456, [0x8c, 0xc8, 0xcf]); // mov ax, cs; iret
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ bx: 0x2000 });
});

Deno.test("with catchFaults a gate goes before the catcher, which has the other vectors", () => {
  const options: BootOptions = { catchFaults: true, gates: { 0: "divided", 0x21: "dos" } };
  using vm = boot(guest, { ...options, entry: "divides" });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ cx: 0xd1d });
  using other = boot(
    asm`
      ud2
    divided:
      hlt
    `,
    { catchFaults: true, gates: { 0: "divided" } },
  );
  expect(other).toFault("#UD");
});

const refused: [options: BootOptions, message: string][] = [
  [{ gates: { 256: 0 } }, "vectors are whole numbers from 0 to 255"],
  [{ gates: { 0x21: "nowhere" } }, "Cannot find the symbol nowhere"],
  [{ gates: { 0x21: 0x11_0000 } }, "Cannot make a gate for vector 33 to 0x110000"],
  [{ gates: { 0x21: 1.5 } }, "Cannot make a gate for vector 33 to 1.5"],
  [{ gates: { 0x21: 0x500 }, origin: 0x84 }, "it lies over the interrupt vectors at 0x84–0x87"],
];

Deno.test("gates that cannot be are refused", () => {
  for (const [options, message] of refused) {
    assertThrows(() => boot(guest, options), RangeError, message);
  }
  // Beside the vectors in use there is room.
  using vm = boot(asm`hlt`, { gates: { 0x21: 0x100 }, origin: 0x100 });
  assertEquals(vm.run().reason, "HLT");
});

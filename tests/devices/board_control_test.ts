import { asm, boot, expect, init, type Machine, portOut, reset } from "@vmexit/vmexit";
import {
  DebugConsole,
  type Device,
  I8042,
  PostCodes,
  ResetControl,
  SystemControlPort,
} from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import { PortDriver } from "./port_driver.ts";

/** The ways to reset a PC: the devices, what the guest does, and what of it is seen before. */
const WAYS: readonly {
  way: string;
  device: () => Device;
  writes: readonly (readonly [port: number, value: number])[];
}[] = [
  { way: "port 0x92", device: () => new SystemControlPort(), writes: [[0x92, 2], [0x92, 3]] },
  { way: "0xcf9", device: () => new ResetControl(), writes: [[0xcf9, 2], [0xcf9, 6]] },
  { way: "0xfe to the 8042", device: () => new I8042(), writes: [[0x64, 0xff], [0x64, 0xfe]] },
  { way: "the 8042's output port", device: () => new I8042(), writes: [[0x64, 0xd1], [0x60, 2]] },
];

for (const { way, device, writes } of WAYS) {
  Deno.test(`the machine is reset by ${way}`, () => {
    using vm = boot(
      asm`
        mov si, 0x700
      again:
        lodsw
        mov dx, ax
        lodsb
        out dx, al
        jmp again
      `,
      { devices: [device()] },
    );
    for (const [index, [port, value]] of writes.entries()) {
      vm.memory.setU16(0x700 + 3 * index, port);
      vm.memory.setU8(0x702 + 3 * index, value);
    }
    const isHard = way.endsWith("0xcf9");
    expect(vm).toExit([
      ...writes.map(([port, value]) => portOut(port, value)),
      isHard ? reset() : init(),
    ]);
    expect(vm).toHaveRegisters({ rip: 0xfff0, cs: 0xf000 });
  });
}

Deno.test("a reset bit that is set already does not reset once more", () => {
  const device = new ResetControl();
  using driver = new PortDriver([device]);
  driver.out(0xcf9, 0xff & ~4);
  assertEquals(driver.in(0xcf9), 0x0a);
  device.restore(0x06);
  driver.out(0xcf9, 0x06);
  assertEquals([driver.in(0xcf9), device.save()], [6, 6]);
  device.reset();
  assertEquals(driver.in(0xcf9), 0);
});

/** Whether 0x112345 is 0x12345: writes to one, and looks at the other, as loaders do. */
const PROBE = asm`
  bits 32
  mov dword [0x012344], 0x11111111
  mov dword [0x112344], 0x22222222
  mov eax, [0x012344]
  mov ebx, [0x112344]
  hlt
`;

function probe(vm: Machine): readonly [low: number, high: number] {
  vm.registers.set({ eip: vm.image.origin });
  vm.run();
  return [vm.registers.eax, vm.registers.ebx];
}

for (const memory of ["1M", "2M", "4M"] as const) {
  Deno.test(`with A20 closed the second megabyte is the first, in a machine of ${memory}`, () => {
    const port = new SystemControlPort({ a20: false });
    using vm = boot(PROBE, { memory, devices: [port], unclaimed: "open-bus" });
    vm.memory.write(0x9_ffff, "x");
    assertEquals(probe(vm), [0x2222_2222, 0x2222_2222]);
    port.restore({ value: 0, a20: true });
    const open = memory === "1M" ? 0xffff_ffff : 0x2222_2222;
    assertEquals(probe(vm), [0x1111_1111, open]);
    expect(vm).toHaveMemory(0x9_ffff, "x");
    port.restore({ value: 0, a20: false });
    // Slots come and go with a gate that is closed.
    const slot = vm.memory.addSlot({ gpa: 0x800000, size: 0x1000, content: "later" });
    assertEquals(probe(vm), [0x2222_2222, 0x2222_2222]);
    vm.memory.moveSlot(slot, 0x900000);
    assertEquals([probe(vm), vm.memory.read(0x900000, 5)], [
      [0x2222_2222, 0x2222_2222],
      new TextEncoder().encode("later"),
    ]);
    port.reset();
    assertEquals(probe(vm), [0x1111_1111, open]);
  });
}

Deno.test("the gate is one, by the 8042 and by port 0x92", () => {
  using driver = new PortDriver([new I8042(), new SystemControlPort({ a20: false })]);
  const a20 = () => {
    driver.out(0x64, 0xd0);
    return [driver.in(0x60) & 2, driver.in(0x92) & 2];
  };
  assertEquals(a20(), [0, 0]);
  driver.outs([0x64, 0xd1], [0x60, 0xdf]);
  assertEquals(a20(), [2, 2]);
  driver.out(0x92, 0);
  assertEquals(a20(), [0, 0]);
  driver.out(0x64, 0xdf);
  assertEquals(a20(), [2, 2]);
  driver.out(0x64, 0xdd);
  assertEquals(a20(), [0, 0]);
});

Deno.test("a loader in real mode that trusts A20 fails where it is closed", () => {
  const guest = asm`
    mov ax, 0xffff
    mov ds, ax
    mov byte [0x710], 0x5a      ; 0x100700
    hlt
  `;
  using closed = boot(guest, { memory: "2M", devices: [new SystemControlPort({ a20: false })] });
  closed.run();
  expect(closed).toHaveMemory(0x700, [0x5a]);
  expect(closed).toHaveMemory(0x100700, [0]);
  using open = boot(guest, { memory: "2M", devices: [new SystemControlPort()] });
  open.run();
  expect(open).toHaveMemory(0x700, [0]);
  expect(open).toHaveMemory(0x100700, [0x5a]);
});

/** Writes the number of each megabyte of 8 to it, from the highest on, and reads those that there are then. */
const MEGABYTES = asm`
  bits 32
  mov ecx, 8
write:
  dec ecx
  mov edi, ecx
  shl edi, 20
  mov [edi + 0x3000], ecx
  jnz write
read:
  mov edi, ecx
  shl edi, 20
  mov eax, [edi + 0x3000]
  mov [0x8000 + ecx * 4], eax
  inc ecx
  cmp ecx, 8
  jb read
  hlt
`;

/** Which megabytes the guest sees, and which pages at 0x3000 of one it has written. */
function megabytes(vm: Machine): { seen: number[]; written: number[] } {
  vm.registers.set({ eip: vm.image.origin });
  vm.run();
  const seen = Array.from({ length: 8 }, (_, index) => vm.memory.u32(0x8000 + index * 4));
  const written = Array.from(
    { length: 8 },
    (_, index) => vm.memory.u32(index * 0x10_0000 + 0x3000),
  );
  return { seen, written };
}

Deno.test("with A20 closed all odd megabytes of RAM are the even ones below, and ROM stays", () => {
  const port = new SystemControlPort({ a20: false });
  const rom = { gpa: 0xfff0_0000, size: 0x1000, readonly: true, content: "ROM" };
  const late = { gpa: 0x0a0_0000, size: 0x20_0000, content: "RAM" };
  using vm = boot(MEGABYTES, { memory: "8M", slots: [rom, late], devices: [port] });
  assertEquals(megabytes(vm), {
    seen: [0, 0, 2, 2, 4, 4, 6, 6],
    written: [0, 0, 2, 0, 4, 0, 6, 0],
  });
  const whole = [0, 1, 2, 3, 4, 5, 6, 7];
  vm.memory.setU32(0x50_3000, 0x55);
  port.restore({ value: 0, a20: true });
  assertEquals(vm.memory.u32(0x50_3000), 0x55);
  assertEquals(megabytes(vm), { seen: whole, written: whole });
  port.restore({ value: 0, a20: false });
  vm.memory.setU32(0x50_3000, 0x55);
  assertEquals(megabytes(vm), {
    seen: [0, 0, 2, 2, 4, 4, 6, 6],
    written: [0, 1, 2, 3, 4, 0x55, 6, 7],
  });
  // What the guest reads elsewhere.
  const read = (address: number) => {
    vm.memory.write(0x9000, [0x8b, 0x02, 0xf4]); // mov eax, [edx]; hlt
    vm.registers.set({ eip: 0x9000, edx: address });
    vm.run();
    return vm.registers.eax & 0xff_ffff;
  };
  const text = (three: string) =>
    three.charCodeAt(0) | three.charCodeAt(1) << 8 | three.charCodeAt(2) << 16;
  assertEquals([0xfff0_0000, 0xa0_0000, 0xb0_0000].map(read), [
    text("ROM"),
    text("RAM"),
    text("RAM"),
  ]);
});

for (const dirtyPages of ["log", "ring"] as const) {
  Deno.test(`pages that a guest writes are noted where they are, whatever A20 is (${dirtyPages})`, () => {
    const port = new SystemControlPort({ a20: false });
    using vm = boot(MEGABYTES, { memory: "8M", devices: [port], dirtyPages });
    // Since the gate has moved, what is read is noted as well: the page of the code.
    const code = 0x1_0000;
    const dirty = (keep = false) => vm.memory.dirty({ keep }).filter((page) => page !== code);
    const pages = (...numbers: number[]) => numbers.map((number) => number * 0x10_0000 + 0x3000);
    const even = [...pages(0), 0x8000, ...pages(2, 4, 6)];
    megabytes(vm);
    assertEquals(dirty(true), even);
    port.restore({ value: 0, a20: true });
    assertEquals([dirty(true), dirty(), dirty()], [even, even, []]);
    megabytes(vm);
    assertEquals(dirty(), [...pages(0), 0x8000, ...pages(1, 2, 3, 4, 5, 6, 7)]);
    port.restore({ value: 0, a20: false });
    assertEquals(dirty(), []);
    megabytes(vm);
    // A slot that goes takes its pages with it.
    const slot = vm.memory.addSlot({ gpa: 0xa0_0000, size: "4K" });
    vm.memory.write(0x9000, [0xa3, 0, 0, 0xb0, 0, 0xf4]); // mov [0xb00000], eax; hlt
    vm.registers.set({ eip: 0x9000 });
    vm.run();
    assertEquals(dirty(true).filter((page) => page >= 0xa0_0000), [0xa0_0000]);
    vm.memory.deleteSlot(slot);
    assertEquals(dirty().filter((page) => page !== 0x9000), even);
  });
}

Deno.test("codes and text of firmware are recorded", () => {
  const post = new PostCodes();
  const text = new DebugConsole();
  const seabios = new DebugConsole(0x402, 3);
  using driver = new PortDriver([post, text, seabios]);
  driver.outs([0x80, 0x12], [0x80, 0xff], [0xe9, 0x68], [0xe9, 0x69]);
  for (const byte of [1, 2, 3, 4]) driver.out(0x402, byte);
  assertEquals([post.codes, post.latest, driver.in(0x80)], [[0x12, 0xff], 0xff, 0xff]);
  assertEquals([text.text, driver.in(0xe9), driver.in(0x402)], ["hi", 0xe9, 0xe9]);
  assertEquals([[...seabios.bytes], seabios.dropped], [[1, 2, 3], 1]);
  const [codes, console] = [structuredClone(post.save()), structuredClone(text.save())];
  driver.outs([0x80, 1], [0xe9, 0x21]);
  post.reset();
  assertEquals(post.latest, 0);
  post.restore(codes);
  text.restore(console);
  assertEquals([post.codes, post.latest, text.text], [[0x12, 0xff], 0xff, "hi"]);
});

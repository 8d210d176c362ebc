import { asm, boot } from "@vmexit/vmexit";
import { openHandles } from "@vmexit/vmexit/kvm";
import { assertEquals, assertThrows } from "@std/assert";

const guest = () =>
  asm`
    mov al, '!'
    mov dx, 0x3f8
    out dx, al
    hlt
  `;

Deno.test("once disposed, whatever needs the guest throws a TypeError", () => {
  const vm = boot(guest());
  const { registers, memory, linear, ports } = vm;
  const handler = ports.on(0x10, { write() {} });
  const exits = vm.exits();
  vm.run();
  vm[Symbol.dispose]();
  const uses: Readonly<Record<string, () => unknown>> = {
    run: () => vm.run(),
    step: () => vm.step(),
    exits: () => exits.next(),
    answer: () => vm.answer(1),
    stop: () => vm.stop(),
    ports: () => vm.ports,
    mmio: () => vm.mmio,
    rax: () => registers.rax,
    al: () => registers.al,
    "rflags.zf": () => registers.rflags.zf,
    "rflags.value": () => registers.rflags.value,
    "cs.base": () => registers.cs.base,
    cr3: () => registers.cr3,
    "gdt.limit": () => registers.gdt.limit,
    "rax =": () => registers.rax = 1n,
    "rflags.zf =": () => registers.rflags.zf = true,
    "cs.base =": () => registers.cs.base = 1n,
    get: () => registers.get("al"),
    set: () => registers.set({ al: 1 }),
    u8: () => memory.u8(0),
    setU8: () => memory.setU8(0, 1),
    read: () => memory.read(0, 1),
    write: () => memory.write(0, "x"),
    view: () => memory.view(0, 1),
    string: () => memory.string(0),
    "linear.u8": () => linear.u8(0),
    "linear.write": () => linear.write(0, "x"),
    toPhysical: () => linear.toPhysical(0),
    walk: () => linear.walk(0),
  };
  for (const [name, use] of Object.entries(uses)) {
    assertThrows(use, TypeError, "is disposed", name);
  }
  handler[Symbol.dispose]();
});

Deno.test("what was recorded outlives the machine; views of its memory end with it", () => {
  let vm;
  let view;
  let slot;
  {
    using machine = boot(guest(), { exitPort: 0xf4 });
    vm = machine;
    view = vm.memory.view(0x500, 2);
    slot = vm.memory.slots[0].bytes;
    vm.run();
    assertEquals([view[0], slot[0x501]], [0xb0, 0x21]);
  }
  assertEquals(vm.log.total, 2);
  assertEquals(vm.serial.text, "!");
  assertEquals(vm.portOutput.bytes(0x3f8), new Uint8Array([0x21]));
  assertEquals([vm.exitStatus, vm.lastExit?.reason, vm.mode], [undefined, "HLT", "real"]);
  assertEquals([vm.image.origin, vm.bootRegisters.rip], [0x500n, 0x500n]);
  assertEquals([view.length, slot.length], [0, 0]);
});

Deno.test("disposing twice is disposing once", () => {
  const before = openHandles();
  const vm = boot(guest());
  vm.run();
  assertEquals(openHandles(), {
    fds: before.fds + 3,
    mappings: before.mappings + 1,
    timers: before.timers + 1,
  });
  vm[Symbol.dispose]();
  vm[Symbol.dispose]();
  assertEquals(openHandles(), before);
});

Deno.test("a machine that never ran is disposed like any other", () => {
  const before = openHandles();
  boot(guest())[Symbol.dispose]();
  assertEquals(openHandles(), before);
});

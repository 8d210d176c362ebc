import { asm, boot, CapabilityError, expect, hlt, mmioRead, mmioWrite } from "@vmexit/vmexit";
import { EXIT_REASON } from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { injected } from "../injected_libc.ts";

const PAGE = 0x1000;
const MIB = 2 ** 20;

/** Copies a byte from 0x200000 to 0x300000, each time that it is run. */
const copier = asm`
  bits 64
again:
  mov al, [0x200000]
  mov [0x300000], al
  hlt
  jmp again
`;

Deno.test("memory may have holes, which are MMIO", () => {
  using vm = boot(copier, { slots: [{ gpa: 0x300000, size: "4K" }] });
  expect(vm).toExit([mmioRead(0x200000).returns(0x5a), hlt()]);
  assertEquals(vm.memory.u8(0x300000), 0x5a);
  assertThrows(() => vm.memory.u8(0x200000), RangeError, "no memory is there");
});

Deno.test("a slot that is added under a guest is memory from then on, and MMIO again once it is deleted", () => {
  using vm = boot(copier, { slots: [{ gpa: 0x300000, size: "4K" }] });
  expect(vm).toExit([mmioRead(0x200000).returns(1), hlt()]);
  const slot = vm.memory.addSlot({ gpa: 0x200000, size: "4K", content: [2] });
  expect(vm).toExit([hlt()]);
  assertEquals(vm.memory.u8(0x300000), 2);
  vm.memory.deleteSlot(slot);
  expect(vm).toExit([mmioRead(0x200000).returns(3), hlt()]);
  assertEquals(vm.memory.slots.map(({ gpa }) => gpa), [0, 0x300000]);
  const message = "Cannot delete slot 2: this machine does not have it";
  assertThrows(() => vm.memory.deleteSlot(slot), RangeError, message);
});

Deno.test("a slot that is moved under a guest takes its content with it", () => {
  using vm = boot(copier, {
    slots: [{ gpa: 0x300000, size: "4K" }, { gpa: 0x400000, size: "8K", content: [7] }],
  });
  expect(vm).toExit([mmioRead(0x200000).returns(1), hlt()]);
  const moved = vm.memory.moveSlot(vm.memory.slotAt(0x400000)!, 0x200000);
  expect(vm).toExit([hlt()]);
  assertEquals(vm.memory.u8(0x300000), 7);
  assertEquals([moved.gpa, vm.memory.slotAt(0x400000)], [0x200000, undefined]);
});

Deno.test("a handler can change memory under the guest that it answers", () => {
  using vm = boot(
    asm`
      bits 64
      out 0x80, al
      mov al, [0x200000]
      hlt
    `,
  );
  const rom = { gpa: 0x200000, size: "4K", content: [0x77] } as const;
  vm.ports.on(0x80, { write: () => void vm.memory.addSlot(rom) });
  vm.run();
  expect(vm).toHaveRegisters({ al: 0x77 });
});

Deno.test("an alias is the same memory at another address, for the guest and for the test", () => {
  using vm = boot(
    asm`
      bits 32
      mov eax, 0xfffff000
      mov bl, [eax]
      mov byte [eax + 1], 0x22
      mov cl, [0x1ff001]
      hlt
    `,
    { slots: [{ gpa: 0xffff_f000, size: "4K", alias: 0x1f_f000 }] },
  );
  vm.memory.setU8(0x1f_f000, 0x11);
  vm.run();
  expect(vm).toHaveRegisters({ bl: 0x11, cl: 0x22 });
  assertEquals(vm.memory.u8(0xffff_f001), 0x22);
});

Deno.test("a read-only alias of RAM: the BIOS below 1 MiB can be written, its image below 4 GiB cannot", () => {
  using vm = boot(
    asm`
      bits 32
      mov byte [0xf0000], 0x33
      mov eax, 0xffff0000
      mov bl, [eax]
      mov byte [eax], 0x44
      mov cl, [0xf0000]
      hlt
    `,
    { slots: [{ gpa: 0xffff_0000, size: "64K", alias: 0xf_0000, readonly: true }] },
  );
  expect(vm).toExit([mmioWrite(0xffff_0000, [0x44]), hlt()]);
  expect(vm).toHaveRegisters({ bl: 0x33, cl: 0x33 });
});

const stores = asm`
  bits 64
  mov byte [0x100000], 1
  mov byte [0x103fff], 1
  mov byte [0x200000], 1
  mov al, [0x104000]
  hlt
  mov byte [0x105000], 1
  hlt
`;
const second = { gpa: 0x200000, size: "16K" } as const;

for (const dirtyPages of ["log", "ring"] as const) {
  Deno.test(`dirty() names the pages that the guest wrote since the last question, by ${dirtyPages}`, () => {
    using vm = boot(stores, { dirtyPages, slots: [second] });
    const ownPages = (pages: number[]) => pages.filter((gpa) => gpa >= MIB);
    assertEquals(vm.memory.dirty(), []);
    vm.memory.setU8(0x180000, 1);
    vm.run();
    assertEquals(ownPages(vm.memory.dirty({ keep: true })), [0x100000, 0x103000, 0x200000]);
    assertEquals(ownPages(vm.memory.dirty()), [0x100000, 0x103000, 0x200000]);
    assertEquals(vm.memory.dirty(), []);
    vm.run();
    assertEquals(ownPages(vm.memory.dirty()), [0x105000]);
  });
}

for (const dirtyPages of ["log", "ring"] as const) {
  Deno.test(`a slot with the number of one that was deleted begins clean, by ${dirtyPages}`, () => {
    using vm = boot(
      asm`
        bits 64
        mov byte [0x400000], 1
        mov byte [0x403000], 1
        hlt
        mov byte [0x400000], 1
        hlt
      `,
      { dirtyPages },
    );
    const own = () => vm.memory.dirty().filter((gpa) => gpa >= 0x400000);
    const first = vm.memory.addSlot({ gpa: 0x400000, size: "16K" });
    vm.run();
    vm.memory.deleteSlot(first);
    const again = vm.memory.addSlot({ gpa: 0x400000, size: "4K" });
    assertEquals(again.slot, first.slot);
    assertEquals(own(), []);
    vm.run();
    assertEquals(own(), [0x400000]);
  });
}

Deno.test("a guest that fills its dirty ring runs on, and no page is lost", () => {
  const PAGES = 1500;
  using vm = boot(
    asm`
      bits 64
      mov ecx, ${PAGES}
      mov edi, 0x200000
    next:
      mov byte [rdi], 1
      add edi, 0x1000
      loop next
      hlt
    `,
    { slots: [{ gpa: 0x200000, size: "8M" }], dirtyPages: { ring: 1024 }, recordExits: 64 },
  );
  vm.run();
  const full = vm.log.records().filter(({ reason }) => reason === EXIT_REASON.DIRTY_RING_FULL);
  assert(full.length >= 1);
  const expected = Array.from({ length: PAGES }, (_, page) => 0x200000 + page * PAGE);
  assertEquals(vm.memory.dirty().filter((gpa) => gpa >= 0x200000), expected);
});

Deno.test("slots that are added and moved are logged where they are", () => {
  using vm = boot(stores, { dirtyPages: "log" });
  const slot = vm.memory.addSlot({ gpa: 0x400000, size: "16K" });
  vm.memory.moveSlot(slot, 0x200000);
  vm.run();
  assert(vm.memory.dirty().includes(0x200000));
});

Deno.test("hugePages: KVM maps memory by pages of 2 MiB, and without it the host is not asked for them", () => {
  const writer = asm`
    bits 64
    mov byte [0x600000], 1
    hlt
  `;
  let asked = 0;
  const libc = injected((real) => ({ madvise: (...args) => (asked++, real.madvise(...args)) }));
  const bootWith = (hugePages: boolean) =>
    boot(writer, { memory: "2M", slots: [{ gpa: 0x600000, size: "4M", hugePages }], libc });
  {
    using vm = bootWith(true);
    vm.run();
    using stats = vm.kvm.vm.getStatsFd();
    assert(Number(stats.read().get("pages_2m")?.[0]) > 0);
    assertEquals(asked, 1);
  }
  bootWith(false)[Symbol.dispose]();
  assertEquals(asked, 1);
});

Deno.test("what does not fit is refused before KVM is asked", () => {
  const noIoctls = injected(() => ({
    ioctl: () => {
      throw new Error("KVM was asked");
    },
    open: () => {
      throw new Error("KVM was asked");
    },
  }));
  const refused = (
    slots: Parameters<typeof boot>[1] & object,
    message: string,
    type = RangeError,
  ) => assertThrows(() => boot(copier, { ...slots, libc: noIoctls }), type, message);
  refused(
    { slots: [{ gpa: 0x1ff000, size: "4K" }] },
    "Cannot place slots[0] at 0x1ff000–0x1fffff: it overlaps the main memory",
  );
  refused({ slots: [{ gpa: 0x200800, size: "4K" }] }, "not a physical address that is a multiple");
  refused(
    { slots: [{ gpa: 0x400000, size: "8K", alias: 0x1ff000 }] },
    "Cannot make slots[0] an alias of 8192 bytes at 0x1ff000: they do not lie in one slot",
  );
  refused(
    { slots: [{ gpa: 0x400000, size: "4K", alias: 0x800 }] },
    "it is not a multiple of 4096",
  );
  refused(
    { slots: [{ gpa: 0x400000, size: "4K", alias: 0, content: "x" }] },
    "an alias with content of its own",
    TypeError,
  );
});

Deno.test("a slot is not moved over another, nor over a device, nor added there", () => {
  using vm = boot(copier, {
    slots: [{ gpa: 0x400000, size: "8K" }, { gpa: 0x500000, size: "4K" }],
  });
  const slot = vm.memory.slotAt(0x400000)!;
  vm.mmio.on([0x600000, 0x600fff], { name: "the timer", read: () => 0 });
  const move = (gpa: number) => () => vm.memory.moveSlot(slot, gpa);
  const over = "Cannot place slot 1 at 0x4ff000–0x500fff: it overlaps slot 2 at 0x500000–0x500fff";
  assertThrows(move(0x4ff000), RangeError, over);
  assertThrows(move(0x400800), RangeError, "is not a physical address that is a multiple of 4096");
  assertThrows(move(0x5ff000), RangeError, "the timer has the physical addresses 0x600000 to");
  assertThrows(
    () => vm.memory.addSlot({ gpa: 0x600000, size: PAGE }),
    RangeError,
    "the timer has the physical addresses",
  );
  // Nothing has changed: it can be moved where it fits, and over its own old place.
  assertEquals(vm.memory.moveSlot(slot, 0x401000).gpa, 0x401000);
});

Deno.test("the slot that the vCPU executes in is deleted only by force", () => {
  using vm = boot(copier, {
    slots: [{ gpa: 0x200000, size: "4K" }, { gpa: 0x300000, size: "4K" }],
  });
  vm.run();
  const main = vm.memory.slotAt(0)!;
  const message =
    "Cannot delete slot 0: the vCPU's next instruction, at physical 0x1000f, lies in it";
  assertThrows(() => vm.memory.deleteSlot(main), RangeError, message);
  vm.run();
  vm.memory.deleteSlot(main, { force: true });
  assertEquals(vm.memory.slotAt(0), undefined);
});

Deno.test("dirty() without a log, and a log that the kernel lacks, are errors that say so", () => {
  using vm = boot(copier);
  assertThrows(() => vm.memory.dirty(), TypeError, 'Boot with the option `dirtyPages: "log"`');
  const ring = { ring: 1000 };
  assertThrows(
    () => boot(copier, { dirtyPages: ring }),
    RangeError,
    'Cannot note dirty pages by {"ring":1000}: give "log", "ring", or { ring: N } with a power of 2',
  );
  const CHECK_EXTENSION = 0xae03;
  const none = injected((real) => ({
    ioctl: (fd, request, argument) =>
      request === CHECK_EXTENSION ? 0 : real.ioctl(fd, request, argument),
  }));
  assertThrows(() => boot(copier, { dirtyPages: "log", libc: none }), CapabilityError);
});

Deno.test("a kernel without large pages is told by the error", () => {
  const EINVAL = 22;
  const none = injected((real) => ({ ...real, madvise: () => -1, errno: () => EINVAL }));
  assertThrows(
    () => boot(copier, { hugePages: true, libc: none }),
    Error,
    "madvise failed with EINVAL (22): the kernel gives processes no large pages",
  );
  assert(kvmLibc().errno() >= 0);
});

import { asm, boot, type BootOptions, type Machine } from "@vmexit/vmexit";
import { PciBus, SystemControlPort } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";
import {
  type Access,
  bootAccesses,
  out32,
  out8,
  perform,
  read8,
  write8,
} from "../../devices/accesses.ts";
import { wholeState } from "./whole_state.ts";

const ROM = 0xf_0000;
const PAM = 0x59;
const [ADDRESS, DATA] = [0xcf8, 0xcfc];

const pam = (value: number): Access[] => [
  out32(ADDRESS, 0x8000_0000 + (PAM & ~3)),
  out8(DATA + (PAM & 3), value),
];

Deno.test("RAM behind ROM, and which of the two shows, are as they were: before it was there, while and after it showed", () => {
  using vm = bootAccesses({
    memory: { size: "2M", holes: "PC" },
    slots: [
      { gpa: ROM, size: "64K", readonly: true, content: new Uint8Array(0x1_0000).fill(0xf0) },
    ],
    unclaimed: "open-bus",
    devices: [new PciBus([])],
  });
  const last = (...accesses: Access[]) => perform(vm, accesses).at(-1)! & 0xff;
  const states = [{ snapshot: vm.snapshot(), shows: last(read8(ROM)), behind: 0 }];
  const add = (behind: number, ...accesses: Access[]) => {
    const shows = last(...accesses, read8(ROM));
    states.push({ snapshot: vm.snapshot(), shows, behind });
  };
  add(2, ...pam(0x20), write8(ROM, 2)); // writes reach RAM, reads the ROM
  add(2, ...pam(0x10)); // the RAM shows, and cannot be written to
  add(5, ...pam(0x30), write8(ROM, 5));
  add(5, ...pam(0));
  assertEquals(states.map(({ shows }) => shows), [0xf0, 0xf0, 2, 5, 0xf0]);
  for (const index of [4, 0, 3, 1, 2, 0, 4, 1]) {
    const { snapshot, shows, behind } = states[index];
    vm.restore(snapshot);
    assertEquals([vm.memory.u8(ROM), last(read8(ROM))], [shows, shows], `state ${index}`);
    assertEquals(last(...pam(0x30), read8(ROM)), behind, `what is behind in state ${index}`);
    last(write8(ROM, 9), write8(ROM + 0x1000, 9));
  }
});

/** Counts through the second megabyte, with the gate closed from the start. */
const CLOSED = asm`
    mov ax, 0xffff
    mov es, ax
    inc word [es:0x510]       ; 0x100500
    hlt
    inc word [es:0x510]
    hlt
`;

Deno.test("with a closed A20 gate the pages are those that were really written", () => {
  const port = new SystemControlPort({ a20: false });
  using vm = boot(CLOSED, { memory: "2M", origin: 0x7c00, devices: [port] } as BootOptions);
  const both = () => [vm.memory.u16(0x500), vm.memory.u16(0x10_0500)];
  const start = vm.snapshot();
  vm.run();
  assertEquals(both(), [1, 0]);
  const middle = vm.snapshot();
  port.restore({ value: 2, a20: true });
  vm.run();
  assertEquals(both(), [1, 1]);
  for (let again = 0; again < 2; again++) {
    vm.restore(middle);
    assertEquals(both(), [1, 0]);
    vm.run();
    assertEquals(both(), [2, 0]);
    vm.restore(start);
    assertEquals(both(), [0, 0]);
    vm.run();
    assertEquals(both(), [1, 0]);
  }
});

const WRITER = asm`
    bits 32
    mov edi, 0x20000
    mov ecx, 20
  again:
    inc byte [edi]
    add edi, 0x1000
    loop again
    hlt
`;

for (const dirtyPages of ["log", "ring", { ring: 1024 }] as const) {
  Deno.test(`written pages are noted by ${JSON.stringify(dirtyPages)} for the test and for snapshots at once`, () => {
    using vm = boot(WRITER, { mode: "protected", dirtyPages, memory: "1M" });
    const pages = Array.from({ length: 20 }, (_, index) => 0x2_0000 + index * 0x1000);
    const start = vm.snapshot();
    const then = wholeState(vm).memory;
    for (let again = 0; again < 3; again++) {
      vm.run();
      assertEquals(pages.map((at) => vm.memory.u8(at)), pages.map(() => 1));
      const dirty = vm.memory.dirty();
      assert(pages.every((at) => dirty.includes(at)), dirty.join());
      assertEquals(vm.memory.dirty(), []);
      vm.restore(start);
      assertEquals(wholeState(vm).memory, then);
      assertEquals(vm.memory.dirty({ keep: true }), []);
    }
  });
}

Deno.test("what is written in system-management mode is undone, and a CPU that was in it is in it again", () => {
  using vm = boot(
    asm`
      bits 32
      nop
      out 0x11, al
      hlt
    `,
    {
      mode: "protected",
      memory: "4M",
      smm: { handler: asm.file("../../../guests/modes/system_management.asm") },
    },
  );
  vm.ports.on([0x11, 0x11], { write: () => {} });
  vm.ports.on([0x80, 0x81], { write: () => {} });
  const state = () => wholeState(vm);
  const inSmm = () => vm.events.smi.inSmm;
  const start = vm.snapshot();
  const atStart = state();
  vm.inject.smi();
  runToExit(vm, 2);
  assert(inSmm());
  const inside = vm.snapshot();
  const atInside = state();
  vm.run();
  const atEnd = state();
  assert(!inSmm());
  for (let again = 0; again < 2; again++) {
    vm.restore(start);
    assertEquals([inSmm(), state()], [false, atStart]);
    vm.restore(inside);
    assertEquals([inSmm(), state()], [true, atInside]);
    vm.run();
    assertEquals(state(), atEnd);
  }
});

function runToExit(vm: Machine, number: number): void {
  for (const { number: at } of vm.exits()) if (at === number) return;
}

Deno.test("CPUs that wait for their SIPI wait for it again, and are started again", () => {
  using vm = boot(asm.file("../../../guests/smp/bring_up.asm"), {
    cpus: 2,
    registers: { ebx: 1 },
    timeout: 20_000,
  });
  const states = () => vm.cpus.map(({ mpState }) => mpState);
  const start = vm.snapshot();
  vm.run();
  const [first, end] = [vm.memory.read(0x20010, 2), vm.snapshot()];
  assertEquals(first, Uint8Array.of(0, 1));
  const atEnd = states();
  for (let again = 0; again < 2; again++) {
    vm.restore(start);
    assertEquals(states(), ["RUNNABLE", "UNINITIALIZED"]);
    assertEquals(vm.memory.read(0x20010, 2), Uint8Array.of(0, 0));
    vm.run();
    assertEquals(vm.memory.read(0x20010, 2), first);
    vm.restore(end);
    assertEquals(states(), atEnd);
  }
});

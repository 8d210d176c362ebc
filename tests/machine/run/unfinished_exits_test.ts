import {
  asm,
  type AsmSource,
  boot,
  type BootOptions,
  expect,
  hlt,
  type Machine,
  portIn,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { injected, KVM_RUN } from "../injected_libc.ts";

/** A machine that counts the calls by which its guest is run. */
function counted(guest: AsmSource, options: BootOptions = {}) {
  const count = { runs: 0, timers: 0 };
  const libc = injected((real) => ({
    ioctl: (fd, request, argument) => {
      if (request === KVM_RUN) count.runs++;
      return real.ioctl(fd, request, argument);
    },
    timer_settime: (...args) => (count.timers++, real.timer_settime(...args)),
  }));
  return { vm: boot(guest, { ...options, libc }), count };
}

const ACCESSES = asm`
  mov cx, 20
again:
  in  al, 0x42
  out 0x43, al
  mov al, [0x2000]
  mov [0x2001], al
  loop again
  hlt
`;

Deno.test("exits enters the kernel once for each, and sets its time limit once", () => {
  const counting = counted(ACCESSES, { memory: "4K" });
  using vm = counting.vm;
  const { count } = counting;
  count.runs = count.timers = 0;
  let exits = 0;
  for (const { exit } of vm.exits()) {
    exits++;
    const isRead = exit.reason === "IO"
      ? exit.direction === "in"
      : exit.reason === "MMIO" && !exit.isWrite;
    if (isRead) vm.answer(exits);
  }
  assertEquals(exits, 81);
  assertEquals(count, { runs: 81, timers: 2 });
});

const READS = asm`
  mov di, 0x700
  mov dx, 0x42
  insb
  hlt
aside:
  ret
`;

/** What `insb` leaves. */
const VALUE = 0x5a;
const PLACE = 0x700;

/** Each way to look at what an exit has done. The guest stands at an `insb` that is answered. */
const LOOKS: Readonly<Record<string, (vm: Machine) => void>> = {
  "a register": (vm) => assertEquals(vm.registers.di, PLACE + 1),
  "a register by its name": (vm) => assertEquals(vm.registers.get("di"), PLACE + 1),
  "a matcher of registers": (vm) => expect(vm).toHaveRegisters({ di: PLACE + 1 }),
  "the vCPU": (vm) => assertEquals(vm.kvm.vcpu.registers.getRegs().rdi, BigInt(PLACE + 1)),
  memory: (vm) => assertEquals(vm.memory.u8(PLACE), VALUE),
  "linear memory": (vm) => assertEquals(vm.linear.u8(PLACE), VALUE),
  "a matcher of memory": (vm) => expect(vm).toHaveMemory(PLACE, [VALUE]),
  "a view": (vm) => assertEquals(vm.memory.view(PLACE, 1)[0], VALUE),
  "a slot's bytes": (vm) => assertEquals(vm.memory.slots[0].bytes[PLACE], VALUE),
  "dirty pages": (vm) => assertEquals(vm.memory.dirty(), [0]),
  "a snapshot": (vm) => {
    const snapshot = vm.snapshot();
    vm.memory.write(PLACE, [0]);
    vm.registers.di = 0;
    vm.restore(snapshot);
    assertEquals([vm.memory.u8(PLACE), vm.registers.di], [VALUE, PLACE + 1]);
  },
  "inputs": (vm) => {
    const begins: number[] = [];
    vm.forEachInput([1, 2], () => {
      begins.push(vm.registers.di);
      assertEquals(vm.run().reason, "HLT");
    });
    assertEquals(begins, [PLACE + 1, PLACE + 1]);
  },
  "a register that is set": (vm) => {
    vm.registers.di += 0x10;
    assertEquals([vm.registers.di, vm.memory.u8(PLACE)], [PLACE + 0x11, VALUE]);
  },
  "a routine": (vm) => {
    const { rip } = vm.registers;
    vm.call("aside");
    assertEquals([vm.registers.rip, vm.registers.di], [rip, PLACE + 1]);
  },
  "a step": (vm) => {
    assertEquals(vm.step().reason, "HLT");
    assertEquals(vm.memory.u8(PLACE), VALUE);
  },
  "another loop": (vm) => {
    assertEquals([...vm.exits()].map(({ exit }) => exit.reason), ["HLT"]);
    assertEquals(vm.memory.u8(PLACE), VALUE);
  },
  "a transcript": (vm) => {
    expect(vm).toExit([hlt()]);
    assertEquals(vm.memory.u8(PLACE), VALUE);
  },
};

/** A machine whose guest stands at its `insb`, in a loop over its exits. */
function atRead(): { vm: Machine; exits: ReturnType<Machine["exits"]> } {
  const vm = boot(READS, { dirtyPages: "log" });
  vm.memory.dirty();
  const exits = vm.exits();
  assertEquals(exits.next().value?.exit.reason, "IO");
  return { vm, exits };
}

for (const [what, look] of Object.entries(LOOKS)) {
  Deno.test(`an exit that is not finished yet is before it is seen: by ${what}`, () => {
    const { vm: machine } = atRead();
    using vm = machine;
    vm.answer(VALUE);
    look(vm);
  });

  Deno.test(`the same where a handler has answered, and behind a loop that is left: by ${what}`, () => {
    using vm = boot(READS, { dirtyPages: "log", ports: { 0x42: { read: () => VALUE } } });
    vm.memory.dirty();
    for (const _ of vm.exits()) break;
    look(vm);
  });
}

Deno.test("what was taken before the loop shows an exit's outcome: a view, a slot, the vCPU", () => {
  for (const kind of ["view", "slot", "vcpu"] as const) {
    using vm = boot(READS, { ports: { 0x42: { read: () => VALUE } } });
    const view = kind === "view" ? vm.memory.view(PLACE, 1) : undefined;
    const [slot] = vm.memory.slots;
    const { vcpu } = vm.kvm;
    const exits = vm.exits();
    exits.next();
    if (view !== undefined) assertEquals(view[0], VALUE);
    else if (kind === "slot") assertEquals(slot.bytes[PLACE], VALUE);
    else assertEquals(vcpu.registers.getRegs().rdi, BigInt(PLACE + 1));
  }
});

Deno.test("registers that were read, or set, before the answer are read again behind it", () => {
  const { vm: machine } = atRead();
  using vm = machine;
  assertEquals(vm.registers.di, PLACE);
  vm.answer(VALUE);
  assertEquals(vm.registers.di, PLACE + 1);
  const { vm: other } = atRead();
  using set = other;
  set.registers.bx = 7;
  set.answer(VALUE);
  set.registers.cx = 8;
  assertEquals(set.run().reason, "HLT");
  assertEquals([set.registers.di, set.registers.bx, set.registers.cx], [PLACE + 1, 7, 8]);
});

Deno.test("a view that was taken in the loop shows the exits behind it, too", () => {
  using vm = boot(
    asm`
      mov di, 0x700
      mov dx, 0x42
      insb
      insb
      hlt
    `,
    { ports: { 0x42: { read: () => VALUE } } },
  );
  const exits = vm.exits();
  exits.next();
  const view = vm.memory.view(PLACE, 2);
  exits.next();
  assertEquals([...view], [VALUE, VALUE]);
});

Deno.test("a body that throws leaves the guest behind its exit, and the machine usable", () => {
  using vm = boot(READS, { ports: { 0x42: { read: () => VALUE } } });
  const mistake = new Error("of the body");
  const thrown = assertThrows(() => {
    for (const _ of vm.exits()) throw mistake;
  });
  assert(thrown === mistake);
  assertEquals(vm.registers.di, PLACE + 1);
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("an iteration can be ended as a generator can, and has no exits then", () => {
  for (const end of ["return", "throw", "dispose"] as const) {
    const { vm: machine, exits } = atRead();
    using vm = machine;
    vm.answer(VALUE);
    if (end === "return") assertEquals(exits.return(), { done: true, value: undefined });
    else if (end === "dispose") exits[Symbol.dispose]();
    else assertThrows(() => exits.throw(new Error("given up")), Error, "given up");
    assertEquals(exits.next(), { done: true, value: undefined });
    assertEquals(vm.registers.di, PLACE + 1);
    assertEquals(vm.run().reason, "HLT");
  }
});

Deno.test("an iteration that is given up, or goes on behind its machine's end, holds nothing up", () => {
  const { vm: machine, exits } = atRead();
  {
    using vm = machine;
    vm.answer(VALUE);
    assertEquals(vm.run().reason, "HLT");
  }
  assertThrows(() => exits.next(), TypeError, "the machine is disposed");
  const { vm: other, exits: unfinished } = atRead();
  other.answer(VALUE);
  other[Symbol.dispose]();
  assertThrows(() => other.registers.di, TypeError);
  assertThrows(() => unfinished.next(), TypeError, "the machine is disposed");
});

Deno.test("a loop within a loop, and behind it the outer one goes on", () => {
  const counting = counted(ACCESSES, { memory: "4K", ports: { 0x42: { read: () => 1 } } });
  using vm = counting.vm;
  vm.mmio.on(0x2000, { read: () => 2 });
  const numbers: number[] = [];
  for (const outer of vm.exits()) {
    numbers.push(outer.number);
    if (outer.number > 70) continue;
    for (const inner of vm.exits()) {
      numbers.push(inner.number);
      if (inner.number % 3 === 0) break;
    }
  }
  assertEquals(numbers, Array.from({ length: 81 }, (_, index) => index + 1));
});

Deno.test("a step in the body is one instruction, and the loop goes on behind it", () => {
  using vm = boot(asm`
    out 0x42, al
    inc bl
    inc bl
    out 0x42, al
    hlt
  `);
  const exits = vm.exits();
  exits.next();
  assertEquals(vm.step().reason, "DEBUG");
  assertEquals(vm.registers.bl, 1);
  assertEquals(exits.next().value?.exit.reason, "IO");
  assertEquals(vm.registers.bl, 2);
});

Deno.test("what is injected in the body comes behind the exit", () => {
  using vm = boot(asm`
    mov word [2 * 4], handler
    mov word [2 * 4 + 2], 0
    in al, 0x42
    hlt
  handler:
    mov bl, al
    iret
  `);
  const exits = vm.exits();
  exits.next();
  vm.answer(VALUE);
  vm.inject.nmi();
  assertEquals(exits.next().value?.exit.reason, "HLT");
  assertEquals([vm.registers.bl, vm.registers.al], [VALUE, VALUE]);
});

Deno.test("a breakpoint that is set in the body stops the guest behind the exit", () => {
  using vm = boot(asm`
    in  al, 0x42
    inc bh
  behind:
    inc bl
    hlt
  `);
  const exits = vm.exits();
  exits.next();
  vm.answer(VALUE);
  using _ = vm.debug.breakAt("behind", { by: "step" });
  assertEquals(exits.next().value?.exit.reason, "DEBUG");
  assertEquals([vm.registers.bx, vm.registers.al], [0x100, VALUE]);
});

Deno.test("a transcript goes on from an exit of a loop that is not finished yet", () => {
  using vm = boot(asm`
    in al, 0x42
    in al, 0x42
    hlt
  `);
  vm.exits().next();
  vm.answer(1);
  expect(vm).toExit([portIn(0x42).returns(2), hlt()]);
  assertEquals(vm.registers.al, 2);
});

for (const seed of Array.from({ length: 8 }).keys()) {
  Deno.test(`a run goes on with a loop that was left: CPUs that have halted in it stay so (seed ${seed})`, () => {
    for (const exits of [1, 2, 3, 4, 5]) {
      using vm = boot(
        asm`
          out 0x80, al
          out 0x81, al
          hlt
          out 0x82, al
        second:
          out 0x83, al
          out 0x84, al
          hlt
          out 0x85, al
        `,
        { cpus: [{}, { entry: "second" }], interleaving: { seed } },
      );
      const write = () => {};
      vm.ports.on([0x80, 0x85], { write });
      let left = exits;
      for (const _ of vm.exits()) if (--left === 0) break;
      assertEquals(vm.run().reason, "HLT");
      const ports = vm.log.records().map(({ address }) => address).filter((port) => port > 0);
      assertEquals(ports.toSorted(), [0x80, 0x81, 0x83, 0x84], `left behind ${exits}`);
    }
  });
}

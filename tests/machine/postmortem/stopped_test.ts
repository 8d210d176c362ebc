import { asm, boot, type Machine, requires } from "@vmexit/vmexit";
import { assertEquals, assertMatch } from "@std/assert";

const STEPS = { singleStep: true } as const;

const guest = asm`
  mov bx, 1
  mov cx, 3
again:
  inc byte [0x900]
  out 0x80, al
  loop again
there:
  mov bx, 2
  in  al, 0x60
  add [0x900], al
  mov bx, 3
  hlt
`;

function machine() {
  const vm = boot(guest, { mode: "real" });
  vm.ports.on(0x60, { read: () => 0x40 });
  vm.ports.on(0x80, { write() {} });
  return vm;
}

/** How a test may stop a guest on its way to its end. */
const WAYS: Record<string, (vm: Machine) => void> = {
  "steps": (vm) => {
    while (vm.step().reason === "DEBUG");
  },
  "a breakpoint in a loop": (vm) => {
    using _ = vm.debug.breakAt("again");
    while (vm.run().reason === "DEBUG");
  },
  "steps from a breakpoint on": (vm) => {
    {
      using _ = vm.debug.breakAt("again");
      vm.run();
    }
    for (let steps = 0; steps < 4; steps++) vm.step();
    vm.run();
  },
  "a breakpoint by steps, behind which it runs free": (vm) => {
    {
      using _ = vm.debug.breakAt("there", { by: "step" });
      vm.run();
    }
    vm.run();
  },
  "breakpoints, one of which nothing comes to": (vm) => {
    using _ = vm.debug.breakAt("there");
    using __ = vm.debug.breakAt(0x1234);
    vm.run();
    vm.registers.bx = 9;
    vm.memory.setU8(0x902, 7);
    vm.run();
  },
};

for (const [way, drive] of Object.entries(WAYS)) {
  Deno.test(requires(STEPS, `a run that the test stopped by ${way} has a past`), () => {
    using vm = machine();
    drive(vm);
    assertEquals([vm.memory.u8(0x900), vm.registers.bx], [0x43, 3]);
    // Each stop is an exit of the log, and an earlier state of the guest.
    const places = vm.log.records().map(({ number }) => {
      using past = vm.at(number);
      return past.registers.rip;
    });
    assertEquals(places.length, vm.log.total);
    const writer = vm.lastWriter(0x900)!;
    assertEquals([writer.text, writer.before, writer.after], ["add [0x900],al", 3, 0x43]);
    const trace = vm.trace().split("\n").filter((line) => line.startsWith("  "));
    // mov, mov, 3 times 3, mov, in, add, mov, hlt
    assertEquals(trace.length, 2 + 9 + 5);
    assertMatch(trace[0], /mov bx,0x1/);
  });
}

Deno.test(requires(STEPS, "back by instructions over stops and exits, each is another one"), () => {
  using vm = machine();
  {
    using _ = vm.debug.breakAt("there");
    vm.run();
  }
  for (let steps = 0; steps < 4; steps++) vm.step();
  const places: bigint[] = [];
  let past = vm.stepBack();
  for (; past.registers.rip !== vm.image.symbol("again");) {
    places.push(past.registers.rip);
    const before = past.stepBack();
    past[Symbol.dispose]();
    past = before;
  }
  past[Symbol.dispose]();
  const there = vm.image.symbol("there");
  assertEquals(places.map((rip) => Number(rip - there)), [9, 5, 3, 0, -2, -4]);
});

Deno.test(
  requires(STEPS, "what the test wrote while the guest stood at a breakpoint came there"),
  () => {
    using vm = machine();
    {
      using _ = vm.debug.breakAt("there");
      vm.run();
    }
    vm.memory.setU8(0x900, 0x10);
    vm.run();
    assertEquals(vm.lastWriter(0x900)!.before, 0x10);
    using past = vm.at(4);
    assertEquals([past.registers.rip, past.memory.u8(0x900)], [vm.image.symbol("there"), 0x10]);
  },
);

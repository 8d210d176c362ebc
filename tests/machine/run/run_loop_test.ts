import { asm, boot, expect, portOut } from "@vmexit/vmexit";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { injected, KVM_RUN, withoutSyncRegs } from "../injected_libc.ts";
import { replayedExit } from "./replayed_exit.ts";

Deno.test("run enters the kernel once for each exit, and makes no other call for it", () => {
  const EXITS = 300;
  const calls = new Map<string | number, number>();
  const count = (call: string | number) => calls.set(call, (calls.get(call) ?? 0) + 1);
  const counting = injected((real) => ({
    ioctl: (...args) => (count(args[1]), real.ioctl(...args)),
    ioctlBuffer: (...args) => (count(args[1]), real.ioctlBuffer(...args)),
    timer_settime: (...args) => (count("timer_settime"), real.timer_settime(...args)),
  }));
  using vm = boot(
    asm`
      mov cx, ${EXITS}
    again:
      in  al, 0x10
      out 0x10, al
      loop again
      hlt
    `,
    { libc: counting, timeout: 10_000, strict: false },
  );
  vm.ports.on(0x10, { read: () => 1, write() {} });
  calls.clear();
  vm.run();
  assertEquals(vm.log.total, 2 * EXITS + 1);
  assertEquals([...calls], [["timer_settime", 2], [KVM_RUN, 2 * EXITS + 1]]);
});

Deno.test.each([
  ["by kvm_run", true],
  ["by an ioctl, where the kernel has no KVM_CAP_SYNC_REGS", false],
])(
  "registers are read once for a stop, and written only where they were changed: %s",
  (_, takes) => {
    const calls: number[] = [];
    const all = injected((real) => ({
      ioctlBuffer: (...args) => (calls.push(args[1]), real.ioctlBuffer(...args)),
    }));
    const noting = takes ? all : withoutSyncRegs(all);
    using vm = boot(
      asm`
      hlt
      add al, bl
      hlt
    `,
      { libc: noting, strict: false },
    );
    calls.length = 0;
    vm.run();
    assertEquals(calls, []);
    const { registers } = vm;
    assert(registers.al + registers.bl + registers.cs.l + registers.ds.l === 0);
    assertEquals(calls, [IOCTLS.KVM_GET_REGS.number, IOCTLS.KVM_GET_SREGS.number]);
    registers.al = 1;
    registers.bl = 2;
    vm.run();
    assertEquals(calls.slice(2), takes ? [] : [IOCTLS.KVM_SET_REGS.number]);
    assertEquals(registers.al, 3);
  },
);

/** Bytes of heap that `body` leaves behind, where no collection came between. */
function heapGrowth(body: () => void): number {
  const before = Deno.memoryUsage().heapUsed;
  body();
  return Deno.memoryUsage().heapUsed - before;
}

/** The smallest object there is has 12 bytes: a third of it is noise. */
function assertAllocatesNothing(rounds: readonly number[], exits: number): void {
  assertLess(rounds.toSorted((a, b) => a - b)[rounds.length >> 1] / exits, 4, `${rounds}`);
}

for (
  const [kind, instructions] of [
    ["port write", asm`out 0x10, al`],
    ["port read", asm`in al, 0x10`],
    ["MMIO write", asm`mov [0x2000], eax`],
    ["MMIO read", asm`mov eax, [0x2000]`],
  ] as const
) {
  // A guest's exit takes so long that few could be measured. So one is made by the guest, and then answered again and again:
  // all of the loop runs but for the kernel.
  Deno.test(`the run loop allocates nothing per ${kind}`, () => {
    // A million of them in all.
    const EXITS = 200_000;
    const ROUNDS = 5;
    using replayed = replayedExit(instructions);
    const { vm } = replayed;
    const exits = (count: number) => {
      replayed.stopAt(count);
      vm.run();
    };
    exits(3 * EXITS);
    // A collection within a round makes it shrink, not grow; compilation may add to one: so the median counts.
    const rounds = Array.from({ length: ROUNDS }, () => heapGrowth(() => exits(EXITS)));
    assertAllocatesNothing(rounds, EXITS);
    assert(vm.log.total > (ROUNDS + 3) * EXITS);
  });
}

Deno.test("a transcript allocates nothing for an exit that is as it should be", () => {
  const EXITS = 200_000;
  using replayed = replayedExit(asm`out 0x10, al`);
  const follow = () => expect(replayed.vm).toExit([portOut(0x10).times(EXITS)]);
  for (let warmUp = 0; warmUp < 3; warmUp++) follow();
  assertAllocatesNothing(Array.from({ length: 5 }, () => heapGrowth(follow)), EXITS);
  assert(replayed.vm.log.total > 8 * EXITS);
});

/** What a handler's exit may cost beside the kernel's call, in nanoseconds. */
const MOST_NANOSECONDS = 100;

Deno.test(`a port write to a handler takes no more than ${MOST_NANOSECONDS} ns beside its KVM_RUN`, () => {
  const EXITS = 20_000;
  const ROUNDS = 40;
  using replayed = replayedExit(asm`out 0x10, al`);
  const round = () => {
    replayed.stopAt(EXITS);
    const begin = performance.now();
    replayed.vm.run();
    return (performance.now() - begin) * 1e6 / EXITS;
  };
  for (let warmUp = 0; warmUp < 20; warmUp++) round();
  // Rounds are so short that in one at least nobody else has the processor.
  const best = Math.min(...Array.from({ length: ROUNDS }, round));
  assertLess(best, MOST_NANOSECONDS);
  assert(replayed.vm.log.total > (ROUNDS + 20) * EXITS);
});

Deno.test("options of runs that there are not are refused", () => {
  using vm = boot(asm`hlt`);
  const typo = { timeuot: 5 } as never;
  for (const call of [() => vm.run(typo), () => vm.step(typo), () => vm.exits(typo)]) {
    assertThrows(call, TypeError, "there is none of that name; the nearest are timeout");
  }
});

import { asm, boot } from "@vmexit/vmexit";
import { EXIT_REASON } from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { kvm_run } from "../../../lib/kvm/abi/structs/run.ts";
import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import { injected, KVM_RUN } from "../injected_libc.ts";

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
    { libc: counting, timeout: 10_000 },
  );
  vm.ports.on(0x10, { read: () => 1, write() {} });
  calls.clear();
  vm.run();
  assertEquals(vm.log.total, 2 * EXITS + 1);
  assertEquals([...calls], [["timer_settime", 2], [KVM_RUN, 2 * EXITS + 1]]);
});

Deno.test("registers are read once for a stop, and written only where they were changed", () => {
  const calls: number[] = [];
  const noting = injected((real) => ({
    ioctlBuffer: (...args) => (calls.push(args[1]), real.ioctlBuffer(...args)),
  }));
  using vm = boot(
    asm`
      hlt
      hlt
    `,
    { libc: noting },
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
  assertEquals(calls.slice(2), [IOCTLS.KVM_SET_REGS.number]);
});

const REASON = kvm_run.offsetOf("exit_reason") / Uint32Array.BYTES_PER_ELEMENT;

/** Bytes of heap that `body` leaves behind, where no collection came between. */
function heapGrowth(body: () => void): number {
  const before = Deno.memoryUsage().heapUsed;
  body();
  return Deno.memoryUsage().heapUsed - before;
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
    let run = new Uint32Array(0);
    let reason = 0;
    let replaying = false;
    const real = kvmLibc();
    const replay = {
      ...real,
      memory(address: bigint, length: number) {
        run = new Uint32Array(real.memory(address, length));
        return real.memory(address, length);
      },
      ioctl(fd: number, request: number, argument: number) {
        if (!replaying || request !== KVM_RUN) return real.ioctl(fd, request, argument);
        run[REASON] = reason;
        return 0;
      },
    };
    using vm = boot(instructions, { libc: replay, memory: "4K", timeout: 60_000, serial: false });
    let left = 1;
    const answer = () => {
      if (--left === 0) vm.stop();
      return 0xff;
    };
    vm.ports.on(0x10, { read: answer, write: answer });
    vm.mmio.on([0x2000, 0x2fff], { read: answer, write: answer });
    reason = EXIT_REASON[vm.run().reason as "IO" | "MMIO"];
    replaying = true;
    const exits = (count: number) => {
      left = count;
      vm.run();
    };
    exits(3 * EXITS);
    // A collection within a round makes it shrink, not grow; compilation may add to one: so the median counts.
    const rounds = Array.from({ length: ROUNDS }, () => heapGrowth(() => exits(EXITS)));
    replaying = false;
    rounds.sort((a, b) => a - b);
    // The smallest object there is has 12 bytes: a third of it is noise.
    assertLess(rounds[Math.floor(ROUNDS / 2)] / EXITS, 4, `${rounds}`);
    assert(vm.log.total > (ROUNDS + 3) * EXITS);
  });
}

Deno.test("options of runs that there are not are refused", () => {
  using vm = boot(asm`hlt`);
  const typo = { timeuot: 5 } as never;
  for (const call of [() => vm.run(typo), () => vm.step(typo), () => vm.exits(typo)]) {
    assertThrows(call, TypeError, "there is none of that name; the nearest are timeout");
  }
});

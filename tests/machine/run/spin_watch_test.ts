import { asm, boot, expect } from "@vmexit/vmexit";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { kvm_regs } from "../../../lib/kvm/abi/structs/registers.ts";
import { SLICE_MILLISECONDS, SpinWatch } from "../../../lib/machine/run/spin_watch.ts";
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";

const LOOP = 0x10000;
const ELSEWHERE = 0x10100;

/** A watch over a CPU that stands where the test says. */
function watched() {
  const registers = new DataView(new ArrayBuffer(kvm_regs.size));
  const watch = new SpinWatch(() => registers);
  /** Looks at the CPU at an address, with a value in each of its registers in turn. */
  const look = (rip: number, value: number, register: "rax" | "rsp" | "r15" = "rax") => {
    registers.setBigUint64(kvm_regs.offsetOf(register), BigInt(value), true);
    registers.setBigUint64(kvm_regs.offsetOf("rip"), BigInt(rip), true);
    return watch.look();
  };
  return { watch, look };
}

Deno.test("a CPU spins that is in the same loop with the same registers, whichever differs", () => {
  for (const register of ["rax", "rsp", "r15"] as const) {
    const { watch, look } = watched();
    assert(watch.begin());
    assertEquals(look(LOOP, 1, register), "look again");
    assertEquals(look(LOOP + 63, 1, register), "spins");
    const other = watched();
    other.watch.begin();
    assertEquals(other.look(LOOP, 1, register), "look again");
    assertEquals(other.look(LOOP, 2, register), "works");
    const high = watched();
    high.watch.begin();
    assertEquals(high.look(LOOP, 1, register), "look again");
    assertEquals(high.look(LOOP, 2 ** 32 + 1, register), "works");
  }
});

Deno.test("a CPU that has gone elsewhere works, though its registers are the same", () => {
  const { watch, look } = watched();
  watch.begin();
  assertEquals(look(LOOP, 1), "look again");
  assertEquals(look(LOOP + 64, 1), "works");
});

Deno.test("a CPU that works is left alone for ever more turns, and one that spins for none", () => {
  const { watch, look } = watched();
  const pauses: number[] = [];
  let value = 0;
  for (let found = 0; found < 6; found++) {
    assertEquals(look(LOOP, value++), "look again");
    assertEquals(look(LOOP, value++), "works");
    let turns = 0;
    while (!watch.begin()) turns++;
    pauses.push(turns);
  }
  assertEquals(pauses, [1, 2, 4, 8, 16, 16]);
  assertEquals([look(LOOP, value), look(LOOP, value)], ["look again", "spins"]);
  assert(watch.begin());
  look(ELSEWHERE, value++);
  assertEquals(look(ELSEWHERE, value++), "works");
  assertEquals([watch.begin(), watch.begin()], [false, true]);
});

Deno.test("a CPU for which nothing comes has turns of up to a slice, and short ones again once it has moved", () => {
  const { watch, look } = watched();
  watch.begin();
  look(LOOP, 1);
  assertEquals(look(LOOP, 1), "spins");
  const lengths: number[] = [];
  for (let turn = 0; turn < 7; turn++) {
    watch.begin();
    lengths.push(watch.milliseconds);
    assertEquals(look(LOOP, 1), "spins");
  }
  assertEquals(lengths, [0.1, 0.2, 0.4, 0.8, 1.6, SLICE_MILLISECONDS, SLICE_MILLISECONDS]);
  watch.begin();
  assertEquals(look(LOOP, 2), "spins");
  assertEquals(watch.milliseconds, 0.1);
});

Deno.test("a CPU that waits again at each look is looked at twice now and then: it may be working in a loop", () => {
  const { watch, look } = watched();
  let value = 1;
  watch.begin();
  look(LOOP, value);
  assertEquals(look(LOOP, value), "spins");
  for (let turn = 0; turn < 8; turn++) {
    assert(watch.begin());
    assertEquals(look(LOOP, ++value), "spins");
  }
  watch.begin();
  assertEquals(look(LOOP, ++value), "look again");
  assertEquals(look(LOOP, ++value), "works");
  assertEquals([watch.begin(), watch.begin()], [false, true]);
  // It is no longer taken for one that spins.
  assertEquals(look(LOOP, ++value), "look again");
});

/** The C library, and how long each entry of the guest was to last at most, in milliseconds. */
function timed() {
  const libc = kvmLibc();
  const entries: number[] = [];
  let armed = 0;
  return {
    entries,
    libc: {
      ...libc,
      timer_settime(timer: bigint, value: Uint8Array<ArrayBuffer>) {
        const view = new DataView(value.buffer, value.byteOffset);
        armed = Number(view.getBigInt64(16, true)) * 1e3 + Number(view.getBigInt64(24, true)) / 1e6;
        return libc.timer_settime(timer, value);
      },
      ioctl(fd: number, request: number, argument: number) {
        if (request === IOCTLS.KVM_RUN.number) entries.push(armed);
        return libc.ioctl(fd, request, argument);
      },
    } satisfies typeof libc,
  };
}

const ROUNDS = 300;
const handshakes = asm`
    bits 32
    mov ecx, ${ROUNDS}
  .next:
    inc dword [0x20000]
    mov eax, [0x20000]
  .wait:
    pause
    cmp [0x20004], eax
    jne .wait
    loop .next
    hlt
  second:
    mov ecx, ${ROUNDS}
  .next:
    inc eax
  .wait:
    cmp [0x20000], eax
    jne .wait
    mov [0x20004], eax
    loop .next
    hlt
`;

Deno.test("CPUs that hand a word back and forth by spinning do so in short turns", () => {
  const { libc, entries } = timed();
  using vm = boot(handshakes, { cpus: [{}, { entry: "second" }], timeout: 20_000, libc });
  vm.run();
  expect(vm).toHaveMemory(0x20000, [ROUNDS & 0xff, ROUNDS >> 8, 0, 0, ROUNDS & 0xff, ROUNDS >> 8]);
  assertGreater(entries.length, ROUNDS);
  const mean = entries.reduce((sum, each) => sum + each, 0) / entries.length;
  assertLess(mean, SLICE_MILLISECONDS / 4);
});

Deno.test("a CPU that works while another spins has whole slices, and both get on", () => {
  const { libc, entries } = timed();
  using vm = boot(
    asm`
      bits 32
    .wait:
      pause
      cmp dword [0x20000], 0
      je .wait
      hlt
    second:
      mov ecx, 20_000_000
    .next:
      dec ecx
      jnz .next
      inc dword [0x20000]
      hlt
    `,
    { cpus: [{}, { entry: "second" }], timeout: 20_000, libc },
  );
  vm.run();
  expect(vm).toHaveMemory(0x20000, [1]);
  expect(vm.cpus[1]).toHaveRegisters({ ecx: 0 });
  const whole = entries.filter((each) => each === SLICE_MILLISECONDS).length;
  // On a busy host fewer: turns in which the guest did not come to run are looked at anew.
  assertGreater(whole, entries.length / 4);
});

Deno.test("the timer of one CPU, and of turns of instructions, is armed once a run", () => {
  for (const options of [{}, { cpus: 2, interleaving: { seed: 1 } }]) {
    const { libc, entries } = timed();
    using vm = boot(
      asm`mov cx, 100
      again: loop again
      hlt`,
      { ...options, libc },
    );
    vm.run();
    assertGreater(entries.length, 0);
    assertEquals(new Set(entries).size, 1);
  }
});

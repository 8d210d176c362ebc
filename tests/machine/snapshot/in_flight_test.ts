import { asm, boot, type BootOptions, type Machine, requires } from "@vmexit/vmexit";
import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";
import { interceptedGuest, PASSED_PORT, REPORT } from "../../guests/intercepted_guest.ts";
import { AT, bootNested } from "../../guests/nested_svm.ts";
import { wholeState } from "./whole_state.ts";

/** Runs a machine up to its exit of a number, from 1. False where it has not as many. */
function runToExit(vm: Machine, number: number): boolean {
  for (const { number: at } of vm.exits()) if (at === number) return true;
  return false;
}

/** Checks that a machine goes on the same way behind a snapshot that is taken now. */
function checkGoesOn(vm: Machine, nestedVmcb?: number): void {
  const snapshot = vm.snapshot();
  const then = wholeState(vm, nestedVmcb);
  vm.run();
  const first = wholeState(vm, nestedVmcb);
  for (let again = 0; again < 2; again++) {
    vm.restore(snapshot);
    assertEquals(wholeState(vm, nestedVmcb), then);
    vm.run();
    assertEquals(wholeState(vm, nestedVmcb), first);
  }
}

for (const mode of ["real", "protected", "long"] as const) {
  Deno.test(
    requires({ svm: true }, `a guest in ${mode} mode of a guest hypervisor goes on the same way`),
    () => {
      let inGuest = 0;
      for (let number = 1;; number++) {
        using vm = bootNested({ mode, code: interceptedGuest });
        vm.ports.on([PASSED_PORT, PASSED_PORT], { write: () => {} });
        vm.ports.on(REPORT, { write: () => {} });
        if (!runToExit(vm, number)) break;
        inGuest += vm.kvm.vcpu.nested.getNestedState().data.length > 0 ? 1 : 0;
        checkGoesOn(vm, AT.vmcb);
      }
      assert(inGuest >= 4, `${inGuest} of the points were in the guest's guest`);
    },
  );
}

Deno.test("a machine that was left in a guest hypervisor's guest is brought out of it, and into it", () => {
  using vm = bootNested({ mode: "protected", code: interceptedGuest });
  vm.ports.on([PASSED_PORT, PASSED_PORT], { write: () => {} });
  vm.ports.on(REPORT, { write: () => {} });
  const isInside = () => vm.kvm.vcpu.nested.getNestedState().data.length > 0;
  const outside = vm.snapshot();
  const atStart = wholeState(vm);
  assert(runToExit(vm, 1) && isInside());
  const inside = vm.snapshot();
  const atFirst = wholeState(vm);
  for (let again = 0; again < 2; again++) {
    vm.restore(outside);
    assertEquals([isInside(), wholeState(vm)], [false, atStart]);
    vm.restore(inside);
    assertEquals([isInside(), wholeState(vm)], [true, atFirst]);
    vm.run();
  }
});

/** A guest that waits for two interrupts of its timer. */
const TIMER = asm`
    bits 32
    %define APIC 0xfee00000
    mov dword [APIC + 0xf0], 0x1ff
    mov dword [APIC + 0x3e0], 0xb         ; divide by 1
    mov eax, [lvt]
    mov dword [APIC + 0x320], eax
    call start
    out 0x80, al
    sti
  idle:
    hlt
    jmp idle
  start:
    mov dword [APIC + 0x380], 20000000
    ret
  on_timer:
    out 0x80, al
    mov dword [APIC + 0xb0], 0
    dec byte [left]
    jz done
    call start
    iret
  done:
    out 0xf4, al
  align 4
  lvt: dd 0
  left: db 2
`;

const ONE_SHOT = 0x40;
const PERIODIC = 0x2_0040;

for (const [name, lvt] of Object.entries({ ONE_SHOT, PERIODIC })) {
  Deno.test(`a local APIC's timer that counts (${name}) goes on to count, also once it has fired`, () => {
    using vm = boot(TIMER, {
      mode: "protected",
      irqchip: true,
      exitPort: 0xf4,
      gates: { 0x40: "on_timer" },
    });
    vm.memory.setU32("lvt", lvt);
    vm.ports.on(0x80, { write: () => {} });
    assert(runToExit(vm, 1));
    const counting = vm.snapshot();
    const look = () => [vm.log.total, vm.memory.u8("left"), vm.registers.eip, vm.exitStatus];
    vm.run();
    const end = look();
    assertEquals(end.slice(0, 2), [4, 0]);
    for (let again = 0; again < 2; again++) {
      vm.restore(counting);
      assertEquals(vm.memory.u8("left"), 2);
      vm.run();
      assertEquals(look(), end);
    }
  });
}

Deno.test("a TSC goes on from where it was, also where KVM would leave it in step with other CPUs'", () => {
  const cpus = [{}, {}];
  using vm = boot(asm`hlt`, { cpus });
  const tsc = () => vm.cpus.map(({ msrs }) => Number(msrs.get("IA32_TSC")));
  const second = vm.kvm.vcpu.clock.getTscKhz() * 1000;
  const then = 5 * 2 ** 40;
  for (const { msrs } of vm.cpus) msrs.set({ IA32_TSC: then });
  const snapshot = vm.snapshot();
  for (const away of [second / 1000, 2 ** 40, -second / 1000]) {
    // The first write is far from what it is, so that the second counts.
    for (const { msrs } of vm.cpus) msrs.set({ IA32_TSC: 2 ** 50 });
    for (const { msrs } of vm.cpus) msrs.set({ IA32_TSC: Math.trunc(then + away) });
    const [before] = tsc();
    vm.restore(snapshot);
    const [first, other] = tsc();
    // A host of this test may be slow.
    assert(first >= then && first < then + 5 * second, `${first} is not ${then}, with ${before}`);
    assert(other >= first && other < first + 5 * second, `${other} is not ${first}`);
  }
});

/** Two CPUs that count, and tell. */
const TWO = asm`
    bits 32
    mov ecx, 6
  again:
    mov eax, [counter]
    inc eax
    mov [counter], eax
    out 0x80, eax
    loop again
  done:
    hlt
    jmp done
  align 4
  counter: dd 0
`;

Deno.test(
  requires({ singleStep: true }, "two CPUs that a seed interleaves take the same turns again"),
  () => {
    const results = new Set<number>();
    for (const seed of [1, 2, 3, 4]) {
      for (const number of [1, 4, 9]) {
        using vm = boot(TWO, {
          mode: "protected",
          cpus: [{}, {}],
          interleaving: { seed, instructions: 4 },
          timeout: 20_000,
        });
        vm.ports.on(0x80, { write: () => {} });
        assert(runToExit(vm, number));
        checkGoesOn(vm);
        results.add(vm.memory.u32("counter"));
      }
    }
    assert(results.size > 1, "all seeds gave the same");
  },
);

/** Runs a board's timer by a clock of the test's, to its third interrupt. */
const BOARD = asm`
    mov al, 0x11
    out 0x20, al
    mov al, 0x40
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov al, 0x20
    out 0x40, al
    mov al, 0x03
    out 0x40, al
    sti
  idle:
    out 0x80, al
    hlt
    jmp idle
  tick:
    push ax
    inc byte [ticks]
    mov al, 0x20
    out 0x20, al
    pop ax
    cmp byte [ticks], 3
    jb back
    out 0xf4, al
  back:
    iret
  ticks: db 0
`;

Deno.test("a board's controller and timer go on by the test's clock, to the nanosecond", () => {
  let points = 0;
  for (const number of [1, 5, 9, 10, 11, 12, 14]) {
    const clock = new TestClock();
    using vm = boot(BOARD, {
      clock,
      devices: [new Pic(), new Pit()],
      gates: { 0x40: "tick" },
      exitPort: 0xf4,
    });
    vm.ports.on(0x80, { write: () => {} });
    assert(runToExit(vm, number));
    const snapshot = vm.snapshot();
    const look = () => ({ ...wholeState(vm), now: clock.nanoseconds });
    const then = look();
    vm.run();
    const end = look();
    assertEquals(vm.memory.u8("ticks"), 3);
    for (let again = 0; again < 2; again++) {
      vm.restore(snapshot);
      assertEquals(look(), then);
      vm.run();
      assertEquals(look(), end);
    }
    points++;
  }
  assertEquals(points, 7);
});

Deno.test("an interrupt that waits in the kernel's controllers waits again, and a line that is raised is", () => {
  const options: BootOptions = {
    irqchip: true,
    exitPort: 0xf4,
    gates: { 0x48: "isr" },
  };
  using vm = boot(
    asm`
      mov al, 0x11
      out 0x20, al
      mov al, 0x48
      out 0x21, al
      mov al, 4
      out 0x21, al
      mov al, 1
      out 0x21, al
      mov al, 0xfe
      out 0x21, al
      out 0x80, al
      sti
      nop
      hlt
    isr:
      mov al, 0x20
      out 0x20, al
      out 0xf4, al
    `,
    options,
  );
  vm.ports.on(0x80, { write: () => {} });
  assert(runToExit(vm, 1));
  const before = vm.snapshot();
  vm.interrupts.raise(0);
  const raised = vm.snapshot();
  assertEquals(vm.interrupts.pic.master.irr, [0]);
  for (let again = 0; again < 2; again++) {
    vm.run();
    assertEquals([vm.exitStatus, vm.interrupts.pic.master.irr], [0x20, []]);
    vm.restore(before);
    assertEquals(vm.interrupts.pic.master.irr, []);
    vm.run({ until: "halted" });
    assertEquals(vm.exitStatus, undefined);
    vm.restore(raised);
    assertEquals(vm.interrupts.pic.master.irr, [0]);
  }
});

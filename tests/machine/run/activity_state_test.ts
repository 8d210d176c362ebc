import { asm, boot, expect } from "@vmexit/vmexit";
import type { Vcpu } from "@vmexit/vmexit/kvm";
import { KVM_MP_STATE } from "../../../lib/kvm/abi/constants.ts";
import { HaltWatch } from "../../../lib/machine/run/activity_state.ts";
import type { CpuRunner } from "../../../lib/machine/run/cpu_runner.ts";
import { CpuScheduler } from "../../../lib/machine/run/cpu_scheduler.ts";
import { RoundRobin, TimeSlice } from "../../../lib/machine/run/interleaving.ts";
import { assertEquals } from "@std/assert";

/** A watch over a vCPU that is as the test says. */
function watched() {
  const state = { mpState: KVM_MP_STATE.HALTED as number, ifFlag: false };
  const vcpu = { events: { getMpState: () => state.mpState }, kvmRun: state };
  return { state, watch: new HaltWatch(vcpu as unknown as Vcpu) };
}

Deno.test("a CPU has halted for good that is found in HLT twice in a row", () => {
  const { watch, state } = watched();
  assertEquals([watch.look(), watch.look()], [false, true]);
  watch.reset();
  assertEquals(watch.look(), false);
  state.mpState = KVM_MP_STATE.RUNNABLE;
  assertEquals(watch.look(), false);
  state.mpState = KVM_MP_STATE.HALTED;
  assertEquals([watch.look(), watch.look()], [false, true]);
});

Deno.test("a CPU that takes interrupts has halted for good only where waiting ends the run", () => {
  const { watch, state } = watched();
  state.ifFlag = true;
  assertEquals([watch.look(), watch.look(), watch.look()], [false, false, false]);
  watch.endsWaiting = true;
  assertEquals([watch.look(), watch.look()], [false, true]);
});

Deno.test("CPUs that wait for interrupts end a run once they are found idle twice in a row", () => {
  let turns = 0;
  const activity = {
    isHalted: false,
    isStopped: false,
    isIdle: true,
    isWaiting: true,
    canRun: false,
    look() {},
  };
  let halts = 0;
  const runner = {
    parts: {
      cpu: { number: 0 },
      activity,
      loop: { runToExit: () => (turns++, false), noteHalt: () => void halts++ },
    },
  } as unknown as CpuRunner;
  const slice = new TimeSlice(() => {});
  const scheduler = new CpuScheduler({
    runners: [runner],
    slice,
    interleaving: new RoundRobin(),
    log: { total: 0 },
    inputs: { exitOf() {}, interrupted() {} },
    hasEvent: () => false,
  });
  scheduler.endsWaiting = true;
  assertEquals([scheduler.runToExit() === runner, turns, halts], [true, 2, 1]);
});

Deno.test("an interrupt of the PICs wakes CPU 0 out of HLT, while another CPU runs on", () => {
  using vm = boot(
    asm`
    %include "../../../guests/interrupts/interrupts.inc"
    KEYBOARD equ 1
    VECTOR equ 0x20
      mov word [(VECTOR + KEYBOARD) * 4], on_interrupt
      mov word [(VECTOR + KEYBOARD) * 4 + 2], 0
      mov al, PIC_INITIALIZE
      out PIC_MASTER, al
      mov al, VECTOR
      out PIC_MASTER + 1, al
      mov al, 1 << 2
      out PIC_MASTER + 1, al
      mov al, PIC_8086
      out PIC_MASTER + 1, al
      mov al, ~(1 << KEYBOARD) & 0xff
      out PIC_MASTER + 1, al
      sti
      hlt
      jmp $
    second:
      in al, 0x60
      cmp al, 1
      jne second
    .wait:
      pause
      cmp byte [woken], 1
      jne .wait
      mov al, 7
      out 0xf4, al
    on_interrupt:
      mov byte [woken], 1
      iret
    woken: db 0
    `,
    {
      mode: "real",
      cpus: [{}, { entry: "second" }],
      irqchip: true,
      exitPort: 0xf4,
    },
  );
  vm.ports.on(0x60, {
    read() {
      if (vm.mpState !== "HALTED") return 0;
      vm.interrupts.raise(1);
      return 1;
    },
  });
  vm.run();
  expect(vm).toHaveExitStatus(7);
});

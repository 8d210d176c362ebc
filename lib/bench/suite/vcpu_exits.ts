import { asm } from "../../guest/asm.ts";
import { KVM_GUESTDBG, KVM_SYNC_X86 } from "../../kvm/abi/constants.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { kvm_regs } from "../../kvm/abi/structs/registers.ts";
import { Kvm } from "../../kvm/kvm.ts";
import { QEMU_SVM } from "../../kvm/remote/machine_image.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { boot } from "../../machine/boot/boot.ts";
import { emulatedMachineName } from "../../machine/host/emulated_machine.ts";
import { type Needs, requires } from "../../machine/host/requires.ts";
import { msiMessage } from "../../x86/apic/msi_message.ts";
import { LOCAL_APIC } from "../../x86/layout.ts";
import type { Benchmark } from "../benchmark.ts";
import { AS_ON_HARDWARE } from "./as_on_hardware.ts";
import { bareVcpu } from "./bare_vcpu.ts";
import { warmed } from "./guest_benchmark.ts";
import { timedBenchmark } from "./timed.ts";

const NANOSECONDS_PER_MILLISECOND = 1e6;

/** inc ax; jmp back to it: two steps, of which the first counts. */
const COUNTING = [0x40, 0xeb, 0xfd];
const COUNTER_MASK = 0xffffn;
/** out 0x10, al; jmp back to it. */
const WRITING = [0xe6, 0x10, 0xeb, 0xfc];
const RBX = kvm_regs.offsetOf("rbx");

/** A benchmark of a vCPU without a machine around it. */
function vcpuBenchmark(
  { name, what, needs = {}, lacks, code, start }: {
    readonly name: string;
    readonly what: string;
    readonly needs?: Needs;
    lacks?(): string | undefined;
    readonly code: readonly number[];
    /** Makes it ready, and gives what does an operation, and what checks how many were done since. */
    start(vcpu: Vcpu): { readonly operation: () => void; readonly check: (done: number) => void };
  },
): Benchmark {
  return {
    name,
    group: "exits to user space",
    what,
    lacks: () => requires(needs).reason ?? lacks?.(),
    start() {
      using starting = new DisposableStack();
      const vcpu = bareVcpu(starting.use(Kvm.open()), code, starting);
      const { operation, check } = start(vcpu);
      const cleanup = starting.move();
      let done = 0;
      return warmed({
        batch(operations) {
          const begun = performance.now();
          for (let index = 0; index < operations; index++) operation();
          const nanoseconds = (performance.now() - begun) * NANOSECONDS_PER_MILLISECOND;
          check(done += operations);
          return { operations, nanoseconds };
        },
        [Symbol.dispose]: () => cleanup.dispose(),
      });
    },
  };
}

/** Enters a vCPU until an exit that must be of one reason. */
function enter(vcpu: Vcpu, reason: number): void {
  if (vcpu.run() === 0 && vcpu.kvmRun.exitReason === reason) return;
  throw new Error(`The vCPU ended with exit reason ${vcpu.kvmRun.exitReason}, not ${reason}`);
}

function checkCounter(found: bigint, steps: number): void {
  const expected = BigInt(Math.ceil(steps / 2)) & COUNTER_MASK;
  if ((found & COUNTER_MASK) === expected) return;
  throw new Error(`The guest has counted to ${found} instead of ${expected} in ${steps} steps`);
}

/** Adds one to RBX of a `struct kvm_regs`. */
function increment(view: DataView): void {
  view.setBigUint64(RBX, view.getBigUint64(RBX, true) + 1n, true);
}

function checkRbx(vcpu: Vcpu, done: number): void {
  const { rbx } = vcpu.registers.getRegs();
  if (rbx !== BigInt(done)) throw new Error(`RBX is ${rbx} after ${done} exits that add one`);
}

/** What is exchanged with KVM at an exit. */
function generalRegisters(): { bytes: Uint8Array<ArrayBuffer>; view: DataView } {
  const bytes = new Uint8Array(kvm_regs.size);
  return { bytes, view: new DataView(bytes.buffer) };
}

const VCPU_EXITS: readonly Benchmark[] = [
  vcpuBenchmark({
    name: "debug_step",
    what: "KVM_RUN of a vCPU that is single-stepped, to its DEBUG exit",
    needs: { singleStep: true },
    code: COUNTING,
    start(vcpu) {
      vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP);
      return {
        operation: () => enter(vcpu, EXIT_REASON.DEBUG),
        check: (done) => checkCounter(vcpu.registers.getRegs().rax, done),
      };
    },
  }),
  vcpuBenchmark({
    name: "pio_out_bare",
    what: "KVM_RUN to an OUT, without a machine around the vCPU",
    code: WRITING,
    start(vcpu) {
      return {
        operation: () => enter(vcpu, EXIT_REASON.IO),
        check: () => checkRbx(vcpu, 0),
      };
    },
  }),
  vcpuBenchmark({
    name: "registers_by_ioctl",
    what: "KVM_RUN to an OUT, the general registers read and set by ioctl",
    code: WRITING,
    start(vcpu) {
      const { bytes, view } = generalRegisters();
      return {
        operation() {
          enter(vcpu, EXIT_REASON.IO);
          vcpu.registers.getRegs(bytes);
          increment(view);
          vcpu.registers.setRegs(bytes);
        },
        check: (done) => checkRbx(vcpu, done),
      };
    },
  }),
  vcpuBenchmark({
    name: "registers_by_shared_page",
    what: "KVM_RUN to an OUT, the general registers read and set in kvm_run (KVM_CAP_SYNC_REGS)",
    needs: { syncRegs: true },
    lacks() {
      const machine = emulatedMachineName();
      return machine === QEMU_SVM
        ? `the registers in kvm_run do not come over from this emulated machine (${machine})`
        : undefined;
    },
    code: WRITING,
    start(vcpu) {
      const { kvmRun } = vcpu;
      const { bytes, view } = generalRegisters();
      let entered = 0;
      kvmRun.sharedRegisters = KVM_SYNC_X86.REGS;
      return {
        operation() {
          enter(vcpu, EXIT_REASON.IO);
          kvmRun.readSharedRegs(bytes);
          increment(view);
          kvmRun.leaveRegs(bytes);
          entered++;
        },
        // To look at the vCPU is to bring in what was left for it after the latest exit.
        check: () => checkRbx(vcpu, entered),
      };
    },
  }),
];

const step: Benchmark = timedBenchmark({
  name: "vm_step",
  group: "exits to user space",
  what: "vm.step(): an instruction of a machine, stepped and handed to the test",
  lacks: () => requires({ singleStep: true }).reason,
  start(cleanup) {
    const vm = cleanup.use(
      boot(
        asm`
      next:
        inc ax
        jmp next
      `,
        AS_ON_HARDWARE,
      ),
    );
    let steps = 0;
    return {
      operation: () => void vm.step(),
      after: () => checkCounter(BigInt(vm.registers.ax), ++steps),
    };
  },
});

const VECTOR = 0x50;
/** A GSI that is no pin. */
const GSI = 24;
const HANDLED_PORT = 0x1000;
const APIC = 0x4000_0000;

const irqfd: Benchmark = timedBenchmark({
  name: "irqfd_to_handler",
  group: "exits to user space",
  what:
    "from the host's signal to an eventfd (irqfd) to the OUT with which the interrupt's handler begins",
  lacks: () => requires({ irqfd: true, irqRouting: true }).reason,
  start(cleanup) {
    const vm = cleanup.use(
      boot(
        asm`
          bits 64
          mov dword [${APIC} + 0xf0], 0x1ff
          out dx, al  ; an interrupt before this would be lost
          sti
        idle:
          pause
          jmp idle

        on_interrupt:
          out dx, al
          inc dword [taken]
          mov dword [${APIC} + 0xb0], 0
          iretq
        taken: dd 0
        `,
        {
          ...AS_ON_HARDWARE,
          irqchip: true,
          gates: { [VECTOR]: "on_interrupt" },
          mappings: [{ linear: APIC, physical: LOCAL_APIC, size: 0x1000 }],
          registers: { rdx: BigInt(HANDLED_PORT) },
        },
      ),
    );
    vm.interrupts.route([{ gsi: GSI, msi: msiMessage({ vector: VECTOR }) }]);
    const event = cleanup.use(vm.interrupts.eventfd(GSI));
    let handled = 0;
    let signalled = 0;
    vm.ports.on(HANDLED_PORT, {
      write() {
        handled++;
        vm.stop();
      },
    });
    vm.run();
    handled = 0;
    return {
      operation() {
        event.signal();
        vm.run();
      },
      after() {
        signalled++;
        // The latest handler stands behind its first instruction.
        const taken = vm.memory.u32("taken");
        if (handled === signalled && taken === signalled - 1) return;
        throw new Error(`${signalled} signals came to ${handled} handlers, ${taken} of them done`);
      },
    };
  },
});

/** Exits beside those that a machine's handlers take. */
export const vcpuExits: readonly Benchmark[] = [...VCPU_EXITS, step, irqfd];

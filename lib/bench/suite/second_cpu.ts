import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { QEMU_SVM } from "../../kvm/remote/machine_image.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { emulatedMachineName } from "../../machine/host/emulated_machine.ts";
import type { Machine } from "../../machine/machine.ts";
import { withCpuidTopology } from "../../x86/cpuid/cpuid.ts";
import { APIC_BASE_BIT } from "../../x86/registers/apic_base.ts";
import { RFLAGS_ALWAYS_SET } from "../../x86/registers/flag_tables.ts";

const ID = 1;
/** `KVM_MP_STATE_RUNNABLE`. */
const RUNNABLE = 0;
/** Below that of CPU 0. */
const STACK_DISTANCE = 0x400n;
/** How long its thread may take to come out of the guest, and how often it is looked for. */
const PATIENCE_MILLISECONDS = 5000;
const LOOK_MILLISECONDS = 1;

/** Why vCPUs cannot run on two threads at once. */
export function lacksThreads(): string | undefined {
  return lacksSecondThread() ??
    (navigator.hardwareConcurrency < 2
      ? "this machine has one processor: the threads of two vCPUs would take turns there"
      : undefined);
}

/** One thread alone reaches the KVM of a machine at arm's length. */
export function lacksSecondThread(): string | undefined {
  const machine = emulatedMachineName();
  return machine === QEMU_SVM
    ? `vCPUs cannot run on two threads in this emulated machine (${machine})`
    : undefined;
}

/**
 * A CPU beside that of a machine, on a thread of its own, as virtual machine monitors run CPUs: a machine's own take turns on
 * one thread. It begins in the state in which the machine's CPU is, and runs until its first exit.
 */
export class SecondCpu implements Disposable {
  /** The id of its local APIC. */
  readonly id = ID;
  readonly #vcpu: Vcpu;
  readonly #worker: Worker;

  /**
   * Starts it.
   *
   * @param machine A machine with a local APIC.
   * @param entry A label of its guest.
   */
  constructor({ kvm, image }: Machine, entry: string) {
    using starting = new DisposableStack();
    const { vm, vcpu: first } = kvm;
    const vcpu = starting.use(vm.createVcpu(ID));
    vcpu.cpuid.setCpuid2(
      withCpuidTopology(first.cpuid.getCpuid2(), { apicId: ID, processors: 2 }),
    );
    const sregs = first.registers.getSregs();
    const apic_base = sregs.apic_base & ~APIC_BASE_BIT.BOOT_PROCESSOR;
    vcpu.registers.setSregs({ ...sregs, apic_base });
    vcpu.registers.setRegs({
      rip: image.symbol(entry),
      rsp: first.registers.getRegs().rsp - STACK_DISTANCE,
      rflags: RFLAGS_ALWAYS_SET,
    });
    vcpu.events.setMpState(RUNNABLE);
    this.#vcpu = vcpu;
    this.#worker = new Worker(import.meta.resolve("./vcpu_thread.ts"), {
      type: "module",
      name: `${vcpu.fd}`,
    });
    starting.move();
  }

  /**
   * Waits until the guest has brought it to an exit, and closes it.
   *
   * @throws {Error} When it has not come to one. Its thread may be in the guest then, and it stays open.
   */
  [Symbol.dispose](): void {
    const end = performance.now() + PATIENCE_MILLISECONDS;
    const clock = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    while (this.#vcpu.kvmRun.exitReason !== EXIT_REASON.IO) {
      if (performance.now() > end) {
        throw new Error(
          `CPU ${ID} has not come to its end: its exit is ${this.#vcpu.kvmRun.exitReason}`,
        );
      }
      Atomics.wait(clock, 0, 0, LOOK_MILLISECONDS);
    }
    this.#worker.terminate();
    this.#vcpu[Symbol.dispose]();
  }
}

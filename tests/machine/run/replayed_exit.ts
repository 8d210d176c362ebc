import { type AsmSource, boot, type Machine } from "@vmexit/vmexit";
import { EXIT_REASON } from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { kvm_run } from "../../../lib/kvm/abi/structs/run.ts";
import { KVM_RUN } from "../injected_libc.ts";

const REASON = kvm_run.offsetOf("exit_reason") / Uint32Array.BYTES_PER_ELEMENT;

/** A machine whose guest has made one exit, which comes again and again: all of a run is as ever, but for the kernel. */
export interface ReplayedExit extends Disposable {
  readonly vm: Machine;
  /** Has the next run's handler stop it at so many exits; 0 for never. */
  stopAt(exits: number): void;
}

/** @param instruction One that accesses port 0x10, or address 0x2000. */
export function replayedExit(instruction: AsmSource): ReplayedExit {
  const real = kvmLibc();
  let run = new Uint32Array(0);
  let reason = 0;
  let isReplaying = false;
  const libc = {
    ...real,
    memory(address: bigint, length: number) {
      run = new Uint32Array(real.memory(address, length));
      return real.memory(address, length);
    },
    ioctl(fd: number, request: number, argument: number) {
      if (!isReplaying || request !== KVM_RUN) return real.ioctl(fd, request, argument);
      run[REASON] = reason;
      return 0;
    },
  };
  const vm = boot(instruction, { libc, memory: "4K", timeout: 60_000, serial: false });
  let left = 1;
  const answer = () => {
    if (--left === 0) vm.stop();
    return 0xff;
  };
  vm.ports.on(0x10, { read: answer, write: answer });
  vm.mmio.on([0x2000, 0x2fff], { read: answer, write: answer });
  reason = EXIT_REASON[vm.run().reason as "IO" | "MMIO"];
  isReplaying = true;
  return {
    vm,
    stopAt(exits) {
      left = exits;
    },
    [Symbol.dispose]() {
      isReplaying = false;
      vm[Symbol.dispose]();
    },
  };
}

import type { Pages } from "../../ffi/libc.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { allocatePages } from "../../ffi/pages.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import { kvmLibc } from "../../kvm/remote/kvm_choice.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import { RFLAGS_ALWAYS_SET } from "../../x86/registers/flag_tables.ts";

/** A page of guest memory with code at its start. */
export function pageOf(code: readonly number[], cleanup: DisposableStack): Pages {
  const pages = cleanup.use(allocatePages(kvmLibc(), PAGE_SIZE));
  pages.bytes.set(code);
  return pages;
}

/** Makes it the VM's only memory, from address 0 on. */
export function putSlot(vm: Vm, pages: Pages): void {
  vm.setMemorySlot({ slot: 0, gpa: 0, pages });
}

/** A vCPU in real mode whose next instruction is the first of its memory. */
function startAtZero(vcpu: Vcpu): void {
  const sregs = vcpu.registers.getSregs();
  vcpu.registers.setSregs({ ...sregs, cs: { ...sregs.cs, selector: 0, base: 0n } });
  vcpu.registers.setRegs({ rflags: RFLAGS_ALWAYS_SET });
}

/** The smallest machine that runs: what `boot` makes, without all that tests want of it. */
export function bareVcpu(kvm: Kvm, code: readonly number[], cleanup: DisposableStack): Vcpu {
  const pages = pageOf(code, cleanup);
  const vm = cleanup.use(kvm.createVm());
  putSlot(vm, pages);
  const vcpu = cleanup.use(vm.createVcpu(0));
  startAtZero(vcpu);
  return vcpu;
}

/** Runs it to its HLT. @throws {Error} When it ends otherwise. */
export function runToHalt(vcpu: Vcpu): void {
  if (vcpu.run() === 0 && vcpu.kvmRun.exitReason === EXIT_REASON.HLT) return;
  throw new Error(`The vCPU ended with exit reason ${vcpu.kvmRun.exitReason} instead of HLT`);
}

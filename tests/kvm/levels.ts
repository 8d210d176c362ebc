import { Kvm, kvmLibc, type Libc, type Pages, type Vcpu, type Vm } from "@vmexit/vmexit/kvm";
import { allocatePages } from "../../lib/ffi/pages.ts";
import { realMode } from "../../lib/x86/boot/modes/real.ts";

/** Bytes of a page. */
export const PAGE = 4096;
/** Where the code of {@linkcode Levels} begins. */
export const ENTRY = 0x500;
/** The memory of {@linkcode Levels}, in its slot 0. */
export const MEMORY_PAGES = 16;

/** One of each level, and the guest's memory. */
export interface Levels extends Disposable {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly pages: Pages;
}

/** What {@linkcode levels} makes otherwise than plain. */
export interface LevelsOptions {
  /** The bytes at {@linkcode ENTRY}; without any, HLT. */
  readonly code?: readonly number[];
  /** What is to be done with the VM before its vCPU is created. */
  readonly before?: (vm: Vm) => void;
  readonly libc?: Libc;
  readonly logDirtyPages?: boolean;
  /** Whether the vCPU has any CPUID leaves. Default true. */
  readonly cpuid?: boolean;
}

/** A VM with a vCPU in real mode before some code. */
export function levels(options: LevelsOptions = {}): Levels {
  const { code = [0xf4], before, libc: libcOfTest = kvmLibc(), logDirtyPages, cpuid = true } =
    options;
  const stack = new DisposableStack();
  const kvm = stack.use(Kvm.open(libcOfTest));
  const pages = stack.use(allocatePages(kvmLibc(), MEMORY_PAGES * PAGE));
  const vm = stack.use(kvm.createVm());
  pages.bytes.set(code, ENTRY);
  vm.setMemorySlot({ slot: 0, gpa: 0, pages, logDirtyPages });
  before?.(vm);
  const vcpu = stack.use(vm.createVcpu(0));
  if (cpuid) vcpu.cpuid.setCpuid2(kvm.getSupportedCpuid());
  const { registers, specialRegisters } = realMode({ entry: ENTRY });
  vcpu.registers.setSregs({ ...vcpu.registers.getSregs(), ...specialRegisters });
  vcpu.registers.setRegs(registers);
  return { kvm, vm, vcpu, pages, [Symbol.dispose]: () => stack.dispose() };
}

import { asm } from "../../guest/asm.ts";
import { Image } from "../../guest/image.ts";
import { Kvm } from "../../kvm/kvm.ts";
import { boot } from "../../machine/boot/boot.ts";
import { emulatedMachineName } from "../../machine/host/emulated_machine.ts";
import { QEMU_SVM } from "../../kvm/remote/machine_image.ts";
import type { Machine } from "../../machine/machine.ts";
import { REAL_MODE } from "../../x86/layout.ts";
import type { Benchmark } from "../benchmark.ts";
import { AS_ON_HARDWARE } from "./as_on_hardware.ts";
import { bareVcpu, pageOf, putSlot, runToHalt } from "./bare_vcpu.ts";
import { timedBenchmark } from "./timed.ts";

/** There, closing a descriptor is left to a thread of the emulated machine. */
function lacksWaiting(): string | undefined {
  const machine = emulatedMachineName();
  return machine === QEMU_SVM
    ? `nobody waits for a descriptor to be closed in this emulated machine (${machine})`
    : undefined;
}

const HLT = 0xf4;

/** What one operation is made of: what comes before it is not counted, nor what is disposed behind it. */
interface Operation {
  readonly name: string;
  readonly what: string;
  /** Why this host cannot, if there is a reason. */
  lacks?(): string | undefined;
  /** Makes ready for one operation, and gives what is to be timed. It throws where it has not done its work. */
  prepare(kvm: Kvm, cleanup: DisposableStack): () => void;
}

function lifeBenchmark({ name, what, lacks, prepare }: Operation): Benchmark {
  return timedBenchmark({
    name,
    group: "life cycle",
    what,
    lacks,
    start(cleanup) {
      const kvm = cleanup.use(Kvm.open());
      let each = new DisposableStack();
      let operation: () => void;
      cleanup.defer(() => each.dispose());
      return {
        before() {
          each = new DisposableStack();
          operation = prepare(kvm, each);
        },
        operation: () => operation(),
        after: () => each.dispose(),
      };
    },
  });
}

/** Disposes at the end what an operation makes. */
function kept<Made extends Disposable>(cleanup: DisposableStack, make: () => Made): () => void {
  return () => void cleanup.use(make());
}

/** The guest of machines that do nothing but live. */
const guest = () => Image.fromBytes(new Uint8Array([HLT]), { origin: REAL_MODE.code });
const SMALLEST = { ...AS_ON_HARDWARE, mode: "real", memory: "4K", reuse: false } as const;

function checkHalted(vm: Machine): void {
  if (vm.registers.rip === BigInt(REAL_MODE.code + 1)) return;
  throw new Error(`The guest stands at ${vm.registers.rip}, not behind its HLT`);
}

const OPERATIONS: readonly Operation[] = [
  {
    name: "open_kvm",
    what: "/dev/kvm opened and asked for its version",
    prepare: (_kvm, cleanup) => kept(cleanup, () => Kvm.open()),
  },
  {
    name: "create_vm",
    what: "a VM created (KVM_CREATE_VM)",
    prepare: (kvm, cleanup) => kept(cleanup, () => kvm.createVm()),
  },
  {
    name: "set_memory_slot",
    what: "a memory slot of one page set",
    prepare(kvm, cleanup) {
      const pages = pageOf([HLT], cleanup);
      const vm = cleanup.use(kvm.createVm());
      return () => putSlot(vm, pages);
    },
  },
  {
    name: "delete_memory_slot",
    what: "a memory slot of one page deleted",
    prepare(kvm, cleanup) {
      const pages = pageOf([HLT], cleanup);
      const vm = cleanup.use(kvm.createVm());
      putSlot(vm, pages);
      return () => vm.deleteMemorySlot(0);
    },
  },
  {
    name: "create_irqchip",
    what: "the interrupt controllers created in the kernel (KVM_CREATE_IRQCHIP)",
    prepare(kvm, cleanup) {
      const vm = cleanup.use(kvm.createVm());
      return () => vm.createIrqchip();
    },
  },
  {
    name: "create_vcpu",
    what: "a vCPU created, and its kvm_run mapped",
    prepare(kvm, cleanup) {
      const vm = cleanup.use(kvm.createVm());
      return kept(cleanup, () => vm.createVcpu(0));
    },
  },
  {
    name: "set_cpuid",
    what: "all that KVM supports set as a vCPU's CPUID (KVM_SET_CPUID2)",
    prepare(kvm, cleanup) {
      const vcpu = cleanup.use(cleanup.use(kvm.createVm()).createVcpu(0));
      const entries = kvm.getSupportedCpuid();
      return () => vcpu.cpuid.setCpuid2(entries);
    },
  },
  {
    name: "first_entry",
    what: "the first KVM_RUN of a vCPU, to its HLT",
    prepare(kvm, cleanup) {
      const vcpu = bareVcpu(kvm, [HLT], cleanup);
      return () => runToHalt(vcpu);
    },
  },
  {
    name: "close_vcpu",
    what: "a vCPU that has run closed",
    lacks: lacksWaiting,
    prepare(kvm, cleanup) {
      const vcpu = bareVcpu(kvm, [HLT], cleanup);
      runToHalt(vcpu);
      return () => vcpu[Symbol.dispose]();
    },
  },
  {
    name: "close_vm",
    what: "a VM without vCPUs closed",
    lacks: lacksWaiting,
    prepare(kvm, cleanup) {
      const vm = cleanup.use(kvm.createVm());
      return () => vm[Symbol.dispose]();
    },
  },
  {
    name: "kvm_life",
    what: "the whole of it by the levels of KVM: VM, slot, vCPU, registers, HLT, closed",
    prepare: (kvm) => () => {
      using cleanup = new DisposableStack();
      runToHalt(bareVcpu(kvm, [HLT], cleanup));
    },
  },
  {
    name: "boot",
    what: "boot(): a machine of 4 KiB in real mode",
    prepare(_kvm, cleanup) {
      const image = guest();
      return kept(cleanup, () => boot(image, SMALLEST));
    },
  },
  {
    name: "boot_long",
    what: "boot(): a machine of 2 MiB in long mode, with interrupt controllers",
    prepare(_kvm, cleanup) {
      const image = guest();
      return kept(
        cleanup,
        () => boot(image, { ...AS_ON_HARDWARE, mode: "long", irqchip: true, reuse: false }),
      );
    },
  },
  {
    name: "run_to_hlt",
    what: "the first vm.run() of a machine, to its HLT",
    prepare(_kvm, cleanup) {
      const vm = cleanup.use(boot(guest(), SMALLEST));
      cleanup.defer(() => checkHalted(vm));
      return () => void vm.run();
    },
  },
  {
    name: "dispose",
    what: "a machine that has run disposed",
    lacks: lacksWaiting,
    prepare(_kvm, cleanup) {
      const vm = cleanup.use(boot(guest(), SMALLEST));
      vm.run();
      checkHalted(vm);
      return () => vm[Symbol.dispose]();
    },
  },
  {
    name: "machine",
    what: "a machine booted, run to its HLT, looked at and disposed",
    prepare() {
      const image = guest();
      return () => {
        using vm = boot(image, SMALLEST);
        vm.run();
        checkHalted(vm);
      };
    },
  },
  {
    name: "assemble_cold",
    what: "a few lines assembled by NASM",
    prepare: () => () => checkAssembled(coldText()),
  },
  {
    name: "assemble_warm",
    what: "the same lines once more, from the cache",
    prepare() {
      checkAssembled(warmText());
      return () => checkAssembled(warmText());
    },
  },
];

const MARK = 0xcc;

function warmText(): Image {
  return asm`
    mov dx, 0x1000
    mov al, 'A'
    out dx, al
    hlt
    db ${MARK}
  `.assemble();
}

/** What names the time of day is never taken from the cache. */
function coldText(): Image {
  return asm`
    mov dx, 0x1000
    mov al, 'A'
    out dx, al
    hlt  ; not __?TIME?__
    db ${MARK}
  `.assemble();
}

function checkAssembled({ bytes }: Image): void {
  if (bytes.at(-1) === MARK) return;
  throw new Error(`NASM made ${bytes.length} bytes that do not end with 0x${MARK.toString(16)}`);
}

/** What becomes of a machine, piece by piece and in sum. */
export const lifeCycle: readonly Benchmark[] = OPERATIONS.map(lifeBenchmark);

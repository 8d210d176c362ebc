import {
  asm,
  type AsmSource,
  boot,
  type BootOptions,
  type Machine,
  type Needs,
  requires,
} from "@vmexit/vmexit";
import { kvmLibc, openHandles } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { drainPool, reuseCounts } from "../../lib/machine/boot/kvm_pool.ts";
import { wholeState } from "./snapshot/whole_state.ts";

const HLT = asm`hlt`;

/** Two machines of a shape are made before a third is reused. */
function warmUp(options: BootOptions = {}): void {
  for (let count = 0; count < 2; count++) boot(HLT, { reuse: true, ...options })[Symbol.dispose]();
}

/** Boots a machine, and says whether it has another's VM. */
function isReused(options: BootOptions = {}, use: (vm: Machine) => unknown = () => {}): boolean {
  const { reused } = reuseCounts();
  using vm = boot(HLT, { reuse: true, ...options });
  use(vm);
  return reuseCounts().reused > reused;
}

Deno.test.afterEach(() => void drainPool());

Deno.test("the third machine of a shape has the VM of the second, and counts as any other", () => {
  const before = openHandles();
  warmUp();
  assertEquals(openHandles(), before);
  assert(isReused());
  assert(!isReused({ irqchip: true }));
  for (const options of KEPT.slice(1)) assert(!isReused(options));
  assert(!isReused({ reuse: false }));
  assertEquals(openHandles(), before);
});

Deno.test("a pool has a bound, and is emptied", () => {
  warmUp();
  const machines = Array.from({ length: 8 }, () => boot(HLT, { reuse: true }));
  for (const vm of machines) vm[Symbol.dispose]();
  assertEquals(drainPool(), 4);
  assertEquals(drainPool(), 0);
  assert(!isReused());
});

/** How many VMs are kept of a machine that is disposed when `use` is through with it. */
function keptOf(guest: AsmSource, options: BootOptions, use: (vm: Machine) => unknown): number {
  warmUp(options);
  drainPool();
  {
    using vm = boot(guest, { reuse: true, ...options });
    use(vm);
  }
  return drainPool();
}

const nothing = () => {};

const endsUnanswered = (vm: Machine) => assertThrows(() => vm.run(), Error, "Nothing answers");

const KEPT: readonly BootOptions[] = [
  { irqchip: false },
  { irqchip: true },
  { irqchip: true, pit: true },
  { cpus: [{}, {}] },
  { cpus: 2 },
  { cpuid: { hide: ["avx"], brand: "of a test" } },
];

for (const options of KEPT) {
  Deno.test(`a VM with ${JSON.stringify(options)} is kept, also where its guest waits for an answer`, () => {
    assertEquals(keptOf(HLT, options, nothing), 1);
    assertEquals(keptOf(HLT, options, (vm) => vm.run()), 1);
    assertEquals(keptOf(asm`in al, 0x60`, options, endsUnanswered), 1);
    const registers = { cx: 9, dx: 1 };
    assertEquals(keptOf(asm`rep insb`, { ...options, registers }, endsUnanswered), 1);
  });
}

/** What is done to a machine whose VM no other gets afterwards. */
const NOT_KEPT: Readonly<
  Record<string, { options?: BootOptions; guest?: AsmSource; use?: (vm: Machine) => unknown }>
> = {
  "of a machine that says so": { options: { reuse: false } },
  "with split controllers": { options: { irqchip: "split" } },
  "whose dirty pages are noted": { options: { dirtyPages: "log" } },
  "with several CPUs, of which one has a breakpoint": {
    options: { cpus: [{}, {}] },
    use(vm) {
      vm.cpus[1].debug.breakAt(vm.registers.rip);
      vm.run();
    },
  },
  "with capabilities": { options: { capabilities: { KVM_CAP_EXIT_HYPERCALL: 1 << 12 } } },
  "with a breakpoint": {
    use(vm) {
      vm.debug.breakAt(vm.registers.rip);
      vm.run();
    },
  },
  "with a rule about MSRs": { use: (vm) => vm.msrs.on("IA32_PAT", { read: () => 1n }) },
  "with a coalesced range": { use: (vm) => vm.ports.coalesce(0x80, { write: nothing }) },
  "with an interrupt line": { options: { irqchip: true }, use: (vm) => vm.interrupts.raise(3) },
  "whose statistics were opened": { use: (vm) => vm.kvm.vcpu.getStatsFd()[Symbol.dispose]() },
  "whose CPUID was set once more": {
    use: ({ kvm: { vcpu: { cpuid } } }) => cpuid.setCpuid2(cpuid.getCpuid2()),
  },
  "whose test has set an MSR that is not set again": {
    // KVM_WALL_CLOCK, by which KVM writes to memory.
    use: ({ kvm: { vcpu } }) => vcpu.msrs.setMsrs([{ index: 0x11, data: 0x9000n }]),
  },
  "of which another thread has the vCPU": { use: (vm) => vm.kvm.vcpu.fd },
  "whose guest shuts down": {
    guest: asm`
      lidt [none]
      int3
    none: times 6 db 0
    `,
    use: (vm) => vm.run({ until: "shutdown" }),
  },
  "whose guest was once where KVM could not go on": {
    options: { memory: "64K" },
    guest: asm`
      jmp 0x2000:0
    again:
      hlt
    `,
    use(vm) {
      assertThrows(() => vm.run(), Error, "INTERNAL_ERROR");
      Object.assign(vm.registers.cs, { selector: 0, base: 0n });
      vm.registers.rip = vm.image.symbol("again");
      assertEquals(vm.run().reason, "HLT");
    },
  },
  "whose guest has switched SVM off": { use: (vm) => vm.msrs.set({ VM_CR: 0x10 }) },
  "whose guest has virtualization on": {
    use(vm) {
      vm.registers.efer.svme = true;
      vm.run();
    },
  },
};

for (const [what, { options = {}, guest = HLT, use = nothing }] of Object.entries(NOT_KEPT)) {
  const needs: Needs = /SVM|virtualization/.test(what) ? { svm: true } : {};
  Deno.test(requires(needs, `a VM ${what} is nobody else's`), () => {
    assertEquals(keptOf(guest, options, use), 0);
  });
}

Deno.test("a VM with Hyper-V's MSRs is nobody else's", () => {
  using plain = boot(HLT);
  // "Hv#1" (TLFS 2.4.2), in place of KVM's features.
  const entries = plain.cpuid.entries.map((entry) =>
    entry.function === 0x4000_0001 ? { ...entry, eax: 0x3123_7648 } : entry
  );
  assertEquals(keptOf(HLT, { cpuid: { entries } }, nothing), 0);
  assertEquals(keptOf(HLT, { cpuid: { entries: plain.cpuid.entries } }, nothing), 1);
});

Deno.test("what a disposed machine has given out stays dead when another has its VM", () => {
  warmUp();
  const old = boot(HLT, { reuse: true });
  const { kvm, memory, registers } = old;
  const view = memory.view(0x500, 4);
  const { bytes } = memory.slots[0];
  old[Symbol.dispose]();
  assert(isReused({}, (vm) => {
    const now = wholeState(vm);
    assertEquals([view.length, bytes.length], [0, 0]);
    for (
      const use of [
        () => kvm.vcpu.registers.getRegs(),
        () => kvm.vcpu.events.setMpState(0),
        () => kvm.vcpu.kvmRun.cr8,
        () => kvm.vcpu.fd,
        () => kvm.vm.deleteMemorySlot(0),
        () => kvm.kvm.capability("KVM_CAP_NR_MEMSLOTS"),
        () => memory.write(0x500, [1]),
        () => registers.rax = 1n,
        () => old.run(),
        () => old.snapshot(),
      ]
    ) assertThrows(use, Error);
    old[Symbol.dispose]();
    assertEquals(wholeState(vm), now);
    vm.run();
  }));
});

Deno.test("where the host has no more of something, boot tries once more without those that wait", () => {
  warmUp();
  const libc = kvmLibc();
  const { open } = libc;
  const asked = { times: 0 };
  try {
    // Machines of another shape are made anew.
    libc.open = (path, flags) => ++asked.times === 1 ? -1 : open(path, flags);
    using vm = boot(asm`hlt`, { reuse: true, irqchip: true });
    vm.registers.rflags.if = false;
    vm.run();
    assertEquals([asked.times, drainPool()], [2, 0]);
  } finally {
    libc.open = open;
  }
});

for (
  const [what, waiting] of [["IN", asm`in al, 0x60`], ["INS", asm`insb`], [
    "MMIO",
    asm`mov al, [0x9000]`,
  ]] as const
) {
  Deno.test(`a read that waits for its answer is not finished in the next machine: ${what}`, () => {
    warmUp();
    {
      using vm = boot(waiting, {
        mode: "real",
        memory: "4K",
        reuse: true,
        registers: { dx: 0x60 },
      });
      endsUnanswered(vm);
    }
    const options = { mode: "real", registers: { ax: 0x1234, di: 0x700 } } as const;
    assert(isReused(options, (vm) => {
      assertEquals(vm.run().reason, "HLT");
      const { ax, di, rip } = vm.registers;
      assertEquals([ax, di, rip], [0x1234, 0x700, 0x501n]);
    }));
  });
}

Deno.test("a host that fails while a machine is disposed leaves nothing open, and nothing waiting", () => {
  warmUp();
  drainPool();
  const before = openHandles();
  const libc = kvmLibc();
  const { ioctlBuffer, errno } = libc;
  try {
    const vm = boot(HLT, { reuse: true });
    vm.run();
    libc.ioctlBuffer = () => -1;
    libc.errno = () => ERRNO.EIO;
    vm[Symbol.dispose]();
  } finally {
    Object.assign(libc, { ioctlBuffer, errno });
  }
  assertEquals([openHandles(), drainPool()], [before, 0]);
});

import { asm, boot, type BootOptions, HostError, KvmError, type Machine } from "@vmexit/vmexit";
import { IOCTLS } from "@vmexit/vmexit/abi";
import { Kvm, kvmLibc, openHandles } from "@vmexit/vmexit/kvm";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { ThreadTimer } from "../../lib/ffi/thread_timer.ts";
import { CAPABILITIES } from "../../lib/kvm/abi/capabilities.ts";
import { KVM_MP_STATE } from "../../lib/kvm/abi/constants.ts";
import { withCpuidTopology } from "../../lib/x86/cpuid/cpuid.ts";
import { failingAt, injected } from "../machine/injected_libc.ts";

const guest = asm`
  bits 32
start:
  hlt
`;

Deno.test("CPUs that cannot be are refused before the kernel is asked", () => {
  const never = injected(() => ({
    open: () => {
      throw new Error("the kernel was asked");
    },
  }));
  const refused: [BootOptions, new (message: string) => Error, string][] = [
    [{ cpus: 0 }, RangeError, "Cannot boot 0 CPUs: it is not a whole number from 1 to 255"],
    [{ cpus: 1.5 }, RangeError, "Cannot boot 1.5 CPUs"],
    [{ cpus: 256 }, RangeError, "Cannot boot 256 CPUs"],
    [{ cpus: NaN }, RangeError, "Cannot boot NaN CPUs"],
    [{ cpus: [] }, RangeError, "Cannot boot 0 CPUs"],
    [{ cpus: "2" as never }, TypeError, 'Cannot boot with cpus "2": give how many, or a list'],
    [{ cpus: 2, irqchip: false }, TypeError, "Cannot boot 2 CPUs with `irqchip: false`"],
    [{ interleaving: { seed: 1 } }, TypeError, "Cannot interleave the only CPU"],
    [{ cpus: 2, interleaving: { seed: -1 } }, RangeError, "by seed -1"],
    [{ cpus: 2, interleaving: { seed: 2 ** 32 } }, RangeError, "by seed 4294967296"],
    [{ cpus: 2, interleaving: { seed: 1, instructions: 0 } }, RangeError, "up to 0 instructions"],
    [
      { cpus: 2, mode: "protected", catchFaults: true },
      TypeError,
      "Cannot catch faults of 2 CPUs: those that wait for a SIPI",
    ],
    [
      { cpus: [{}, {}], mode: "long", entry: "start", catchFaults: true },
      TypeError,
      "Cannot catch faults of 2 CPUs: the fault catcher has one stack",
    ],
    [{ cpus: 2, smm: { handler: guest } }, TypeError, "Cannot give 2 CPUs an SMM handler"],
    [{ cpus: [{}, {}], mode: "protected", cpl: 3 }, TypeError, "Cannot start 2 CPUs at CPL 3"],
  ];
  for (const [options, kind, message] of refused) {
    assertThrows(() => boot(guest, { ...options, libc: never }), kind, message);
  }
});

Deno.test("more CPUs than this host's KVM takes are refused before a VM is made", () => {
  const small = injected((real) => ({
    ioctl: (fd, request, argument) =>
      request === IOCTLS.KVM_CHECK_EXTENSION.number &&
        argument === CAPABILITIES.KVM_CAP_MAX_VCPUS.number
        ? 2
        : request === IOCTLS.KVM_CREATE_VM.number
        ? (() => {
          throw new Error("a VM was made");
        })()
        : real.ioctl(fd, request, argument),
  }));
  const before = openHandles();
  assertThrows(
    () => boot(guest, { cpus: 3, libc: small }),
    RangeError,
    "Cannot boot 3 CPUs: this host's KVM takes up to 2 in a VM (KVM_CAP_MAX_VCPUS)",
  );
  assertEquals(openHandles(), before);
});

Deno.test("an interleaving asked for on a host without single-step is refused", () => {
  const variable = "VMEXIT_NESTED";
  const before = Deno.env.get(variable);
  try {
    Deno.env.set(variable, "bochs-vmx");
    assertThrows(
      () => boot(guest, { cpus: 2, interleaving: { seed: 1 } }),
      HostError,
      "an interleaving asked for on a host without single-step",
    );
  } finally {
    if (before === undefined) Deno.env.delete(variable);
    else Deno.env.set(variable, before);
  }
});

Deno.test("an entry that is no label, a stack without room, a CPU that is not there", () => {
  assertThrows(() => boot(guest, { cpus: [{}, { entry: "nowhere" }] }), RangeError, "nowhere");
  assertThrows(
    () => boot(asm`hlt`, { memory: "4K", cpus: [{}, {}, {}, {}, {}] }),
    RangeError,
    "Cannot give CPU 4 a stack",
  );
  assertThrows(
    () => boot(guest, { cpus: [{}, { registers: { rax2: 1 } as never }] }),
    RangeError,
    '"rax2"',
  );
  using vm = boot(guest, { cpus: [{}, {}] });
  assertThrows(() => [...vm.exits({ cpus: [2] })], RangeError, "Cannot run CPU 2: the machine has");
  assertThrows(() => [...vm.exits({ cpus: [] })], RangeError, "Cannot run no CPU");
  assertThrows(
    () => vm.cpus[2].registers,
    RangeError,
    "Cannot use CPU 2: the machine has CPUs 0 to 1",
  );
  assertEquals([vm.cpus.length, vm.cpus.at(5), [...vm.cpus].length], [2, undefined, 2]);
});

Deno.test("CPUs of which all wait for a SIPI cannot be run", () => {
  using vm = boot(guest, { cpus: 2 });
  vm.mpState = "UNINITIALIZED";
  assertThrows(() => vm.run(), TypeError, "all of its CPUs wait for a SIPI");
  assertEquals([...vm.exits()], []);
});

Deno.test("a vCPU number twice is refused by KVM, and the error says why", () => {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using _first = vm.createVcpu(0);
  const error = assertThrows(() => vm.createVcpu(0), KvmError);
  assertStringIncludes(error.message, "KVM_CREATE_VCPU failed with EEXIST");
  assertStringIncludes(error.message, "the VM has a vCPU of that id already");
});

Deno.test("whatever call of a boot with two CPUs fails, nothing is left open", () => {
  for (const cpus of [2, [{}, {}]] as const) {
    const options = { cpus, irqchip: true, dirtyPages: "ring" } as const;
    const counting = failingAt(Infinity, 0);
    boot(guest, { ...options, libc: counting })[Symbol.dispose]();
    const before = openHandles();
    counting.calls.forEach((name, index) => {
      const libc = failingAt(index + 1, ERRNO.EMFILE);
      const error = assertThrows(() => boot(guest, { ...options, libc }), Error, undefined, name);
      assertEquals(libc.failed, name);
      assertStringIncludes(error.message, "EMFILE");
      assertEquals(openHandles(), before, name);
    });
  }
});

Deno.test("once disposed, its other CPUs cannot be used either", () => {
  const vm: Machine = boot(guest, { cpus: [{}, {}] });
  const [, cpu] = vm.cpus;
  vm[Symbol.dispose]();
  const uses: Record<string, () => unknown> = {
    rax: () => cpu.registers.rax,
    step: () => cpu.step(),
    kvm: () => cpu.kvm,
    mpState: () => cpu.mpState,
    msrs: () => cpu.msrs.get("LSTAR"),
    cpuid: () => cpu.cpuid.entries,
    linear: () => cpu.linear.u8(0),
    inject: () => cpu.inject.nmi(),
  };
  for (const [name, use] of Object.entries(uses)) {
    assertThrows(use, TypeError, "is disposed", name);
  }
});

Deno.test("CPUID tells each processor its id, and how many there are", () => {
  const leaf = (number: number, index = 0) => ({
    function: number,
    index,
    flags: 0,
    eax: 7,
    ebx: 0x1234_5678,
    ecx: 0xfff,
    edx: 0,
  });
  const entries = [leaf(0), leaf(1), leaf(0xb, 0), leaf(0xb, 1), leaf(0x1f), leaf(0x8000_001e)];
  const topology = { apicId: 0xfe, processors: 0xff };
  const [vendor, first, ...ids] = withCpuidTopology(entries, topology);
  assertEquals(vendor, leaf(0));
  assertEquals([first.ebx, first.edx >>> 28 & 1], [0xfeff_5678, 1]);
  assertEquals(ids.map(({ eax, edx }) => [eax, edx]), [[7, 0xfe], [7, 0xfe], [7, 0xfe], [0xfe, 0]]);
  assertEquals([ids[3].ebx, ids[3].ecx], [0xfe, 0]);
  const amd = { ...leaf(0), ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 };
  const sizes = withCpuidTopology([amd, leaf(0x8000_0008)], topology)[1];
  assertEquals(sizes.ecx, 0xffe);
  assertEquals(withCpuidTopology([leaf(1)], { apicId: 0, processors: 1 })[0].ebx, 0x0001_5678);
});

Deno.test("a vCPU that waits is started by INIT and SIPI: KVM_RUN says EAGAIN, and then runs it", () => {
  const toCpu1 = (data: number) => ({ address_lo: 0xfee0_1000, data });
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  vm.setRealModePages(0xfeff_d000, 0xfeff_c000);
  vm.createIrqchip();
  using first = vm.createVcpu(0);
  using second = vm.createVcpu(1);
  second.cpuid.setCpuid2(kvm.getSupportedCpuid());
  assertEquals(second.events.getMpState(), KVM_MP_STATE.UNINITIALIZED);
  // KVM finds the APICs of new vCPUs only when one of them is switched on.
  const apic = first.apic.getLapic();
  apic[0xf1] |= 1;
  first.apic.setLapic(apic);
  assertEquals(vm.interrupts.signalMsi(toCpu1(0x4500)), 1);
  assertEquals(vm.interrupts.signalMsi(toCpu1(0x4612)), 1);
  using timer = new ThreadTimer(kvmLibc());
  timer.arm(500);
  const errno = second.run();
  timer.disarm();
  assertEquals(errno, ERRNO.EAGAIN);
  assertEquals(second.events.getMpState(), KVM_MP_STATE.RUNNABLE);
  const { cs } = second.registers.getSregs();
  assertEquals([cs.selector, cs.base], [0x1200, 0x12000n] as unknown[]);
});

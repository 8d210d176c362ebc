import { KvmError, requires } from "@vmexit/vmexit";
import {
  IOCTLS,
  kvm_guest_debug,
  KVM_GUESTDBG,
  KVM_MP_STATE,
  KVM_VCPUEVENT_VALID,
  type KvmGuestDebug,
} from "@vmexit/vmexit/abi";
import { ERRNO, kvmLibc, type Vm } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { injected } from "../machine/injected_libc.ts";
import { ThreadTimer, TIMER_SIGNAL } from "../../lib/ffi/thread_timer.ts";
import { ENTRY, levels } from "./levels.ts";

const irqchip = (vm: Vm) => vm.createIrqchip();
/** `sti`, `nop`, `hlt`. */
const ENABLED_HALT = [0xfb, 0x90, 0xf4];

Deno.test("getVcpuEvents, setVcpuEvents: an NMI that is masked reads back", () => {
  using on = levels();
  const { events } = on.vcpu;
  const before = events.getVcpuEvents();
  assertEquals(before.nmi.masked, 0);
  events.setVcpuEvents({ ...before, nmi: { ...before.nmi, masked: 1 } });
  assertEquals(events.getVcpuEvents().nmi.masked, 1);
  const flags = KVM_VCPUEVENT_VALID.SHADOW;
  events.setVcpuEvents({ ...events.getVcpuEvents(), flags, interrupt: { shadow: 1 } });
  // AMD has one shadow for both causes, and KVM names both.
  assertEquals(events.getVcpuEvents().interrupt.shadow & 1, 1);
});

Deno.test("interrupt: the guest takes the vector when it enables interrupts", () => {
  using on = levels({ code: ENABLED_HALT });
  const vector = 0x40;
  const handler = 0x600;
  on.pages.bytes[handler] = 0xf4;
  new DataView(on.pages.bytes.buffer, on.pages.bytes.byteOffset).setUint16(
    vector * 4,
    handler,
    true,
  );
  const { registers, events } = on.vcpu;
  registers.setRegs({ ...registers.getRegs(), rflags: 0x202n, rsp: 0x8000n });
  events.interrupt(vector);
  assertEquals(events.getVcpuEvents().interrupt.nr, vector);
  assertThrows(() => events.interrupt(256), KvmError, "EINVAL");
  assertEquals([on.vcpu.run(), on.vcpu.kvmRun.exit().reason], [0, "HLT"]);
  assertEquals(registers.getRegs().rip, BigInt(handler + 1));
});

Deno.test("interrupt is refused where the kernel has the controllers", () => {
  using on = levels({ before: irqchip });
  assertThrows(
    () => on.vcpu.events.interrupt(0x40),
    KvmError,
    "the kernel has the interrupt controllers",
  );
});

Deno.test("nmi, smi: each is pending afterwards, or taken in SMM", () => {
  using on = levels();
  const { events } = on.vcpu;
  events.nmi();
  events.smi();
  const { nmi, smi } = events.getVcpuEvents();
  assertEquals([nmi.pending + nmi.injected, smi.pending + smi.smm], [1, 1]);
});

Deno.test("getMpState, setMpState: with a local APIC a vCPU can be halted from outside", () => {
  using on = levels({ before: irqchip });
  const { events } = on.vcpu;
  assertEquals(events.getMpState(), KVM_MP_STATE.RUNNABLE);
  events.setMpState(KVM_MP_STATE.HALTED);
  assertEquals(events.getMpState(), KVM_MP_STATE.HALTED);
  using plain = levels();
  assertThrows(
    () => plain.vcpu.events.setMpState(KVM_MP_STATE.HALTED),
    KvmError,
    "KVM_SET_MP_STATE failed with EINVAL",
  );
});

Deno.test("x86SetupMce, x86SetMce: a machine check lands in its bank", () => {
  using on = levels();
  const { vcpu, kvm } = on;
  const banks = 4n;
  vcpu.events.x86SetupMce(banks | (kvm.x86GetMceCapSupported() & ~0xffn & 0x1000100n));
  const MCI_STATUS_VAL = 1n << 63n;
  vcpu.events.x86SetMce({ bank: 1, status: MCI_STATUS_VAL, addr: 0x4000n });
  const MC1_STATUS = 0x405;
  const MC1_ADDR = 0x406;
  assertEquals(vcpu.msrs.getMsrs([MC1_STATUS, MC1_ADDR]).map(({ data }) => data), [
    MCI_STATUS_VAL,
    0x4000n,
  ]);
  assertThrows(
    () => vcpu.events.x86SetMce({ bank: 200, status: MCI_STATUS_VAL }),
    KvmError,
    "EINVAL",
  );
});

Deno.test("getLapic, setLapic: read, change, read back; refused without controllers", () => {
  using on = levels({ before: irqchip });
  const { apic } = on.vcpu;
  const regs = apic.getLapic();
  assertEquals(regs.length, 1024);
  const TASK_PRIORITY = 0x80;
  regs[TASK_PRIORITY] = 0x30;
  apic.setLapic(regs);
  assertEquals(apic.getLapic()[TASK_PRIORITY], 0x30);
  assertThrows(
    () => apic.setLapic(regs.slice(1)),
    RangeError,
    "from 1023 bytes: its registers have 1024",
  );
  using plain = levels();
  assertThrows(() => plain.vcpu.apic.getLapic(), KvmError, "the VM has no interrupt controllers");
});

Deno.test("tprAccessReporting and setVapicAddr are taken where the kernel has the local APIC", () => {
  using on = levels({ before: irqchip });
  on.vcpu.apic.tprAccessReporting(true);
  on.vcpu.apic.tprAccessReporting(false);
  on.vcpu.apic.setVapicAddr(0x3000);
  on.vcpu.apic.setVapicAddr(0);
  using plain = levels();
  assertThrows(
    () => plain.vcpu.apic.setVapicAddr(0x3000),
    KvmError,
    "KVM_SET_VAPIC_ADDR failed with EINVAL",
  );
});

Deno.test("setGuestDebug gives the kernel its flags and the debug registers", () => {
  const given: KvmGuestDebug[] = [];
  using on = levels({
    code: [0x90, 0xf4],
    libc: injected((real) => ({
      ioctlBuffer(fd, request, bytes) {
        if (request === IOCTLS.KVM_SET_GUEST_DEBUG.number) {
          given.push(kvm_guest_debug.read(new DataView(bytes.buffer)));
        }
        return real.ioctlBuffer(fd, request, bytes);
      },
    })),
  });
  const registers = [1n, 2n, 3n, 4n, 0n, 0n, 0n, 0x400n];
  on.vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.USE_HW_BP, registers);
  on.vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP);
  assertEquals(given.map(({ control }) => control), [0x20001, 3]);
  assertEquals(given[0].arch.debugreg, registers);
  on.vcpu.run();
  assertEquals(on.vcpu.kvmRun.exit().reason, "DEBUG");
});

// The guest has interrupts off, in which no timer reaches the host that Bochs emulates.
const signalMask = requires(
  { interruptsTimeLimit: true },
  "setSignalMask: a signal that it blocks does not end a run, and does once the mask is taken back",
);
Deno.test(signalMask, () => {
  const SPIN_MILLISECONDS = 60;
  using probe = levels();
  const cycles = new Uint8Array(
    Uint32Array.of(probe.vcpu.clock.getTscKhz() * SPIN_MILLISECONDS).buffer,
  );
  const code = [
    ...[0x0f, 0x31], // rdtsc
    ...[0x66, 0x89, 0xc3], // mov ebx, eax
    ...[0x0f, 0x31], // next: rdtsc
    ...[0x66, 0x29, 0xd8], // sub eax, ebx
    ...[0x66, 0x3d, ...cycles], // cmp eax, cycles
    ...[0x72, 0xf3], // jb next
    0xf4, // hlt
  ];
  using on = levels({ code });
  using timer = new ThreadTimer(kvmLibc());
  const run = () => {
    timer.arm(SPIN_MILLISECONDS / 4);
    try {
      const errno = on.vcpu.run();
      return errno === 0 ? on.vcpu.kvmRun.exit().reason : errno;
    } finally {
      timer.disarm();
    }
  };
  // Signal 1 is bit 0. What is blocked meanwhile comes when the run has ended.
  on.vcpu.setSignalMask(1n << BigInt(TIMER_SIGNAL - 1));
  assertEquals(run(), "HLT");
  on.vcpu.setSignalMask(undefined);
  on.vcpu.registers.setRegs({ ...on.vcpu.registers.getRegs(), rip: BigInt(ENTRY) });
  assertEquals(run(), ERRNO.EINTR);
});

Deno.test("enableCap of a vCPU: one that is a VM's is refused by the kernel", () => {
  using on = levels();
  on.vcpu.cpuid.setCpuid2([...on.vcpu.cpuid.getCpuid2()]);
  on.vcpu.enableCap("KVM_CAP_ENFORCE_PV_FEATURE_CPUID", 1);
  assertThrows(
    () => on.vcpu.enableCap("KVM_CAP_SPLIT_IRQCHIP", 24),
    KvmError,
    "KVM_ENABLE_CAP failed with EINVAL (22) KVM_CAP_SPLIT_IRQCHIP",
  );
});

Deno.test("getStatsFd counts the exits of a vCPU", () => {
  using on = levels();
  using stats = on.vcpu.getStatsFd();
  assert(stats.id.includes("vcpu-0"), stats.id);
  const before = stats.read().get("exits")![0];
  on.vcpu.run();
  assertGreater(stats.read().get("exits")![0], before);
});

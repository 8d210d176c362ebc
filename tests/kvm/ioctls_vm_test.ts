import { CapabilityError, KvmError } from "@vmexit/vmexit";
import {
  IOCTLS,
  KVM_DEV_TYPE,
  KVM_DIRTY_LOG,
  KVM_MSR_EXIT_REASON,
  KVM_MSR_FILTER,
  kvm_msr_filter,
  KVM_PMU_EVENT,
  kvm_sev_cmd,
} from "@vmexit/vmexit/abi";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { injected } from "../machine/injected_libc.ts";
import { levels, MEMORY_PAGES, PAGE } from "./levels.ts";

/** `mov byte [0x3000], 1`, `hlt`, and the same at 0x5000. */
const TWO_WRITES = [0xc6, 0x06, 0x00, 0x30, 1, 0xf4, 0xc6, 0x06, 0x00, 0x50, 1, 0xf4];
/** `mov ecx, 0xc0000081` (STAR), `rdmsr`, `hlt`. */
const READ_STAR = [0x66, 0xb9, 0x81, 0, 0, 0xc0, 0x0f, 0x32, 0xf4];
const MSR_STAR = 0xc0000081;

Deno.test("getDirtyLog: which pages of a slot were written since the last question", () => {
  using on = levels({ code: TWO_WRITES, logDirtyPages: true });
  const { memory } = on.vm;
  memory.getDirtyLog(0);
  on.vcpu.run();
  // The page of the code counts too: KVM maps it writable at the first fetch.
  assertEquals(memory.getDirtyLog(0)[0] & 1 << 3, 1 << 3);
  assertEquals(memory.getDirtyLog(0), new Uint8Array(8));
  on.vcpu.run();
  assertEquals(memory.getDirtyLog(0)[0], 1 << 5);
  assertThrows(
    () => memory.getDirtyLog(7),
    RangeError,
    "Cannot use the dirty log of slot 7: the VM has no such slot. It has 0.",
  );
  using silent = levels();
  assertThrows(() => silent.vm.memory.getDirtyLog(0), KvmError, "the slot does not log its pages");
});

Deno.test("clearDirtyLog: with manual protection a page stays dirty until it is cleared", () => {
  using on = levels({
    code: TWO_WRITES,
    logDirtyPages: true,
    before: (vm) =>
      vm.enableCap("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", KVM_DIRTY_LOG.MANUAL_PROTECT_ENABLE),
  });
  const { memory } = on.vm;
  on.vcpu.run();
  const bitmap = memory.getDirtyLog(0);
  assertEquals(bitmap[0] & 1 << 3, 1 << 3);
  assertEquals(memory.getDirtyLog(0), bitmap);
  memory.clearDirtyLog({ slot: 0, firstPage: 0, pages: MEMORY_PAGES, bitmap });
  assertEquals(memory.getDirtyLog(0), new Uint8Array(8));
  const short = new Uint8Array(1);
  assertThrows(
    () => memory.clearDirtyLog({ slot: 0, firstPage: 0, pages: MEMORY_PAGES, bitmap: short }),
    RangeError,
    "of 16 pages by 1 bytes",
  );
});

Deno.test("resetDirtyRings: 0 entries in a fresh ring, refused without rings", () => {
  using ringed = levels({ before: (vm) => vm.enableCap("KVM_CAP_DIRTY_LOG_RING", 16 * PAGE) });
  assertEquals(ringed.vm.memory.resetDirtyRings(), 0);
  using on = levels();
  assertThrows(() => on.vm.memory.resetDirtyRings(), KvmError, "the VM has no dirty rings");
});

Deno.test("setNrMmuPages takes a number from 20 on", () => {
  using on = levels();
  on.vm.memory.setNrMmuPages(64);
  assertThrows(
    () => on.vm.memory.setNrMmuPages(19),
    KvmError,
    "KVM_SET_NR_MMU_PAGES failed with EINVAL (22) with 19 pages",
  );
});

Deno.test("registerCoalescedMmio: a write to the zone makes no exit; after unregisterCoalescedMmio it does", () => {
  // mov byte [ds:0x7000], 1 with ds at 0x1000 reaches 0x17000, where no memory is.
  const write = [0xb8, 0x00, 0x10, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x70, 1, 0xf4];
  const zone = { addr: 0x17000, size: PAGE };
  using on = levels({ code: [...write, ...write.slice(5)] });
  on.vm.memory.registerCoalescedMmio(zone);
  on.vcpu.run();
  assertEquals(on.vcpu.kvmRun.exit().reason, "HLT");
  on.vm.memory.unregisterCoalescedMmio(zone);
  on.vcpu.run();
  assertEquals(on.vcpu.kvmRun.exit().reason, "MMIO");
});

Deno.test("getClock, setClock: kvmclock can be set", () => {
  using on = levels();
  const { clock } = on.vm;
  const hour = 3_600_000_000_000n;
  clock.setClock({ clock: hour * 5n });
  const { clock: now } = clock.getClock();
  assert(now >= hour * 5n && now < hour * 6n, `${now}`);
});

Deno.test("getTscKhz of a VM; setTscKhz needs TSC scaling", () => {
  using on = levels();
  assertGreater(on.vm.clock.getTscKhz(), 1000);
  if (on.vm.capability("KVM_CAP_VM_TSC_CONTROL") > 0) return on.vm.clock.setTscKhz(1_000_000);
  for (const { clock } of [on.vm, on.vcpu]) {
    const error = assertThrows(() => clock.setTscKhz(1_000_000), CapabilityError);
    assertEquals(error.ioctl, "KVM_SET_TSC_KHZ");
  }
});

Deno.test("x86SetMsrFilter: a denied MSR makes an exit where the VM asks for them", () => {
  using on = levels({
    code: READ_STAR,
    before: (vm) => vm.enableCap("KVM_CAP_X86_USER_SPACE_MSR", KVM_MSR_EXIT_REASON.FILTER),
  });
  const { READ, WRITE, DEFAULT_ALLOW } = KVM_MSR_FILTER;
  const star = { flags: READ | WRITE, base: MSR_STAR, nmsrs: 1, bitmap: Uint8Array.of(0) };
  on.vm.filters.x86SetMsrFilter(DEFAULT_ALLOW, [star]);
  on.vcpu.run();
  const exit = on.vcpu.kvmRun.exit();
  assert(exit.reason === "X86_RDMSR", exit.reason);
  assertEquals([exit.index, exit.msrReasonName], [MSR_STAR, "FILTER"]);
});

Deno.test("x86SetMsrFilter lays several bitmaps out one behind the other, in whole words", () => {
  const gaps: number[] = [];
  using on = levels({
    libc: injected((real) => ({
      ioctlBuffer(fd, request, bytes) {
        if (request === IOCTLS.KVM_X86_SET_MSR_FILTER.number) {
          const [first, second] = kvm_msr_filter.read(new DataView(bytes.buffer)).ranges;
          gaps.push(Number(second.bitmap - first.bitmap));
        }
        return real.ioctlBuffer(fd, request, bytes);
      },
    })),
  });
  const { READ } = KVM_MSR_FILTER;
  const range = (nmsrs: number) => ({
    flags: READ,
    base: 0x10,
    nmsrs,
    bitmap: new Uint8Array(Math.ceil(nmsrs / 8)),
  });
  on.vm.filters.x86SetMsrFilter(0, [range(65), range(3)]);
  assertEquals(gaps, [16]);
  assertThrows(
    () => on.vm.filters.x86SetMsrFilter(0, [{ ...range(9), bitmap: new Uint8Array(1) }]),
    RangeError,
    "by a bitmap of 1 bytes: it takes 2",
  );
  assertThrows(
    () => on.vm.filters.x86SetMsrFilter(0, new Array(17).fill(range(1))),
    RangeError,
    "of 17 ranges: it takes 16",
  );
});

Deno.test("setPmuEventFilter takes a list of events", () => {
  using on = levels();
  on.vm.filters.setPmuEventFilter({ action: KVM_PMU_EVENT.DENY, events: [0x76n, 0xc0n] });
  assertThrows(
    () => on.vm.filters.setPmuEventFilter({ action: 9, events: [] }),
    KvmError,
    "KVM_SET_PMU_EVENT_FILTER failed with EINVAL",
  );
});

Deno.test("enableCap refuses a capability that the host lacks, by name", () => {
  using on = levels();
  const error = assertThrows(() => on.vm.enableCap("KVM_CAP_S390_UCONTROL"), CapabilityError);
  assertEquals([error.ioctl, error.capability], ["KVM_ENABLE_CAP", "KVM_CAP_S390_UCONTROL"]);
});

Deno.test("setBootCpuId: before the first vCPU only", () => {
  using on = levels({ before: (vm) => vm.setBootCpuId(0) });
  assertThrows(
    () => on.vm.setBootCpuId(1),
    KvmError,
    "KVM_SET_BOOT_CPU_ID failed with EBUSY (16) with id 1: the VM has a vCPU already",
  );
});

Deno.test("createDevice: one that x86 does not have is refused, and hasDevice says so", () => {
  using on = levels();
  assert(!on.vm.hasDevice(KVM_DEV_TYPE.XICS));
  assertThrows(
    () => on.vm.createDevice(KVM_DEV_TYPE.XICS),
    KvmError,
    "KVM_CREATE_DEVICE failed with ENODEV (19) of type 3",
  );
});

Deno.test("createDevice: VFIO's, where its module is there, has the attribute group of its files", () => {
  using on = levels();
  if (!on.vm.hasDevice(KVM_DEV_TYPE.VFIO)) return;
  using device = on.vm.createDevice(KVM_DEV_TYPE.VFIO);
  const FILE = 1;
  const FILE_ADD = 1;
  assert(device.attributes.hasDeviceAttr({ group: FILE, attr: FILE_ADD }));
  assert(!device.attributes.hasDeviceAttr({ group: 99, attr: 0 }));
  const noFile = new Uint8Array(new Int32Array([-1]).buffer);
  const error = assertThrows(
    () => device.attributes.setDeviceAttr({ group: FILE, attr: FILE_ADD }, noFile),
    KvmError,
  );
  assertEquals(error.errno, ERRNO.EBADF);
  assertThrows(() => device.attributes.getDeviceAttr({ group: FILE, attr: FILE_ADD }, 8), KvmError);
});

Deno.test("getStatsFd: the VM's statistics by name", () => {
  using on = levels();
  using stats = on.vm.getStatsFd();
  assert(stats.statistics.some(({ name }) => name === "remote_tlb_flush"));
  assertEquals(stats.read().size, stats.statistics.length);
  stats[Symbol.dispose]();
  assertThrows(() => stats.read(), TypeError, "Cannot use the VM's statistics: it is disposed");
});

Deno.test("encryption: refused where the host has no confidential VMs", () => {
  using on = levels();
  const { encryption } = on.vm;
  const message = "failed with ENOTTY (25): this host has no confidential VMs, or this VM is none";
  assertThrows(
    () => encryption.memoryEncryptOp(new Uint8Array(kvm_sev_cmd.size)),
    KvmError,
    message,
  );
  assertThrows(() => encryption.memoryEncryptRegRegion(on.pages), KvmError, message);
  assertThrows(() => encryption.memoryEncryptUnregRegion(on.pages), KvmError, message);
});

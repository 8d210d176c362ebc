import { asm, boot, HostError, Image, KvmError } from "@vmexit/vmexit";
import { errnoName, openHandles } from "@vmexit/vmexit/kvm";
import { IOCTLS } from "../../lib/kvm/abi/ioctls.ts";
import { ERRNO } from "../../lib/ffi/errors.ts";
import {
  assert,
  assertEquals,
  assertGreater,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  failingAt,
  injected,
  KVM_RUN,
  mappings,
  openFds,
  withoutSyncRegs,
} from "./injected_libc.ts";

const NEVER = Infinity;
const HLT = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x500 });
const OPTIONS = { irqchip: true, slots: [{ gpa: 0x200000, size: "4K" }] } as const;

Deno.test("whatever call of boot fails, the error names it and its errno, and nothing is left open", () => {
  // What a process asks once has been asked then.
  boot(HLT, OPTIONS)[Symbol.dispose]();
  const count = failingAt(NEVER, 0);
  boot(HLT, { ...OPTIONS, libc: count })[Symbol.dispose]();
  assertEquals(count.calls[0], "open");
  for (const name of ["KVM_CREATE_VM", "KVM_CREATE_VCPU", "mmap", "KVM_SET_SREGS"]) {
    assert(count.calls.includes(name), name);
  }
  const handles = openHandles();
  const before = [openFds(), mappings().vcpus];
  const errnos = [ERRNO.ENOMEM, ERRNO.EMFILE, ERRNO.ENODEV];
  count.calls.forEach((name, index) => {
    // Every errno at every call would be all the same code: each call gets one, each errno many calls.
    const errno = errnos[index % errnos.length];
    const libc = failingAt(index + 1, errno);
    const error = assertThrows(() => boot(HLT, { ...OPTIONS, libc }), Error);
    assertEquals(libc.failed, name);
    assertStringIncludes(error.message, name === "open" ? "/dev/kvm" : name);
    assertStringIncludes(error.message, errnoName(errno));
    assertEquals(libc.calls.length, index + 1, `${name} was not the last call`);
    assertEquals(openHandles(), handles, name);
  });
  assertEquals([openFds(), mappings().vcpus], before);
});

Deno.test("whatever call of a run fails, the error names it, and the machine can be run again and disposed", () => {
  for (const name of ["sigaction", "timer_create", "timer_settime", "KVM_SET_REGS"]) {
    const before = openHandles();
    let failing = false;
    const fails = (call: string) => failing && call === name;
    // By `kvm_run` no registers are refused.
    const libc = withoutSyncRegs(injected((real) => ({
      errno: () => failing ? ERRNO.EAGAIN : real.errno(),
      sigaction: (...args) => fails("sigaction") ? -1 : real.sigaction(...args),
      timer_create: (...args) => fails("timer_create") ? -1 : real.timer_create(...args),
      timer_settime: (...args) => fails("timer_settime") ? -1 : real.timer_settime(...args),
      ioctlBuffer: (...args) => fails("KVM_SET_REGS") ? -1 : real.ioctlBuffer(...args),
    })));
    {
      using vm = boot(HLT, { libc });
      vm.registers.al = 5;
      failing = true;
      const error = assertThrows(() => vm.run(), Error);
      assertStringIncludes(error.message, `${name} failed with EAGAIN`);
      failing = false;
      assertEquals([vm.run().reason, vm.registers.al], ["HLT", 5]);
    }
    assertEquals(openHandles(), before, name);
  }
});

Deno.test("an errno of KVM_RUN surfaces as a KvmError with its likely cause", () => {
  let failing = false;
  const libc = injected((real) => ({
    errno: () => failing ? ERRNO.EFAULT : real.errno(),
    ioctl: (...args) => failing && args[1] === KVM_RUN ? -1 : real.ioctl(...args),
  }));
  using vm = boot(HLT, { libc });
  failing = true;
  const error = assertThrows(() => vm.run(), KvmError);
  assertEquals([error.ioctl, error.errno], ["KVM_RUN", ERRNO.EFAULT]);
  assertStringIncludes(
    error.message,
    "KVM_RUN failed with EFAULT (14) on vCPU 0: the guest touched memory",
  );
  failing = false;
  assertEquals(vm.run().reason, "HLT");
});

Deno.test("a run that KVM refuses shows the registers as they are behind it", () => {
  let failing = true;
  const libc = injected((real) => ({
    errno: () => failing ? ERRNO.ENOMEM : real.errno(),
    ioctl(fd, request, argument) {
      const result = real.ioctl(fd, request, argument);
      return request === KVM_RUN && failing ? -1 : result;
    },
  }));
  using vm = boot(
    asm`
      inc ax
      hlt
    `,
    { libc },
  );
  assertEquals(vm.registers.ax, 0);
  assertThrows(() => vm.run(), KvmError, "ENOMEM");
  failing = false;
  assertEquals(vm.registers.ax, 1);
});

Deno.test("a test's own error is not replaced by one of finishing the exit", () => {
  let failing = false;
  const libc = injected((real) => ({
    errno: () => failing ? ERRNO.ENOMEM : real.errno(),
    ioctl: (fd, request, argument) =>
      request === KVM_RUN && failing ? -1 : real.ioctl(fd, request, argument),
  }));
  using vm = boot(
    asm`
      out 0x42, al
      hlt
    `,
    { libc },
  );
  using _ = vm.ports.on(0x42, {
    write() {
      failing = true;
      throw new Error("my assertion");
    },
  });
  assertThrows(() => vm.run(), Error, "my assertion");
});

Deno.test("a signal while a machine is booted does not end that: boot in a handler of one that is looked at", () => {
  const interrupted = new Set<number>();
  let asked = false;
  const libc = injected((real) => ({
    errno: () => asked ? ERRNO.EINTR : real.errno(),
    ioctl(fd, request, argument) {
      asked = !interrupted.has(request);
      interrupted.add(request);
      return asked ? -1 : real.ioctl(fd, request, argument);
    },
  }));
  using vm = boot(
    asm`
      out 0x42, al
      hlt
    `,
    { irqchip: true },
  );
  let reason = "";
  vm.ports.on(0x42, {
    write() {
      for (const end = performance.now() + 12; performance.now() < end;);
      using inner = boot(HLT, { libc });
      reason = inner.run().reason;
    },
  });
  vm.run();
  assertEquals(reason, "HLT");
  assert(interrupted.has(IOCTLS.KVM_CREATE_VM.number));
});

Deno.test("a storm of EINTR does not end a run before its time", () => {
  let interrupted = 0;
  let asked = false;
  const libc = injected((real) => ({
    errno: () => asked ? ERRNO.EINTR : real.errno(),
    ioctl(fd, request, argument) {
      asked = request === KVM_RUN && ++interrupted % 50 !== 0;
      return asked ? -1 : real.ioctl(fd, request, argument);
    },
  }));
  using vm = boot(
    asm`
      in  al, 0x42
      out 0x43, al
      hlt
    `,
    { libc, timeout: 10_000 },
  );
  vm.ports.on([0x42, 0x43], { read: () => 0x5a, write() {} });
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.portOutput.bytes(0x43), new Uint8Array([0x5a]));
  assertEquals(interrupted, 150);
  assertEquals(vm.log.total, 3);
});

Deno.test("no /dev/kvm: the error names three remedies", () => {
  for (const errno of [ERRNO.ENOENT, ERRNO.ENODEV, ERRNO.ENXIO]) {
    const libc = failingAt(1, errno);
    const { message } = assertThrows(() => boot(HLT, { libc }), HostError);
    assertStringIncludes(
      message,
      `Cannot open /dev/kvm (${errnoName(errno)}): this machine has no KVM`,
    );
    for (const remedy of ["kvm_intel or kvm_amd", "nested virtualization", "`vmexit test`"]) {
      assertStringIncludes(message, remedy);
    }
  }
});

Deno.test("/dev/kvm is there and not permitted: the error says how to permit it", () => {
  for (const errno of [ERRNO.EACCES, ERRNO.EPERM]) {
    const libc = failingAt(1, errno);
    const { message } = assertThrows(() => boot(HLT, { libc }), HostError);
    for (const remedy of ["usermod -aG kvm", "udev", 'KERNEL=="kvm"', "--device /dev/kvm"]) {
      assertStringIncludes(message, remedy);
    }
  }
});

Deno.test("/dev/kvm cannot be opened because something has run out: the error says what", () => {
  const messages: [number, string][] = [
    [ERRNO.EMFILE, "this process has too many open files. Dispose machines"],
    [ERRNO.ENFILE, "this host is out of open files"],
    [ERRNO.ENOMEM, "this host is out of memory"],
  ];
  for (const [errno, message] of messages) {
    assertThrows(() => boot(HLT, { libc: failingAt(1, errno) }), HostError, message);
  }
});

Deno.test("an API version that is not 12 is refused", () => {
  const before = openHandles();
  let first = true;
  const libc = injected((real) => ({
    ioctl(...args) {
      if (!first) return real.ioctl(...args);
      first = false;
      return 11;
    },
  }));
  assertThrows(
    () => boot(HLT, { libc }),
    HostError,
    "its API version is 11, and vmexit speaks 12 only",
  );
  assertEquals(openHandles(), before);
});

Deno.test("a vCPU mapping that is too small is refused, not read beyond its end", () => {
  const before = openHandles();
  for (const size of [0, 1024, 4096]) {
    const libc = injected((real) => ({
      ioctl(...args) {
        const result = real.ioctl(...args);
        // KVM_GET_VCPU_MMAP_SIZE is the only one that answers with pages.
        return result >= 4096 ? size : result;
      },
    }));
    assertThrows(() => boot(HLT, { libc }), HostError, `the vCPU's mapping has ${size} bytes`);
  }
  assertEquals(openHandles(), before);
});

Deno.test("a host that never has enough of CPUID is not asked for ever", () => {
  const libc = injected(() => ({ errno: () => ERRNO.E2BIG, ioctlBuffer: () => -1 }));
  let asked = 0;
  const counting = { ...libc, ioctlBuffer: () => (asked++, -1) };
  assertThrows(() => boot(HLT, { libc: counting }), KvmError, "E2BIG");
  assertGreater(asked, 0);
});

import { asm, boot, KvmError, UnhandledExitError } from "@vmexit/vmexit";
import {
  EXIT_REASON,
  type IoctlName,
  IOCTLS,
  KVM_INTERNAL_ERROR,
  kvm_run,
  type KvmRun,
} from "@vmexit/vmexit/abi";
import type { Libc } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import type { Writable } from "../../lib/ffi/struct.ts";
import { injected, KVM_RUN } from "../machine/injected_libc.ts";

/** A libc whose KVM_RUN leaves this in `kvm_run` instead of running the guest. */
function leaving(exit: Writable<KvmRun>): Libc {
  let page: ArrayBuffer | undefined;
  return injected((real) => ({
    memory(address, length) {
      const memory = real.memory(address, length);
      page ??= memory;
      return memory;
    },
    ioctl(fd, request, argument) {
      if (request !== KVM_RUN) return real.ioctl(fd, request, argument);
      kvm_run.write(new DataView(page!), 0, exit);
      return 0;
    },
  }));
}

const messageOf = (
  exit: Writable<KvmRun>,
  change: (vm: ReturnType<typeof boot>) => void = () => {},
) => {
  using vm = boot(asm`hlt`, { mode: "long", libc: leaving(exit) });
  change(vm);
  return assertThrows(() => vm.run(), UnhandledExitError).message;
};

const exit_reason = EXIT_REASON.FAIL_ENTRY;

Deno.test("FAIL_ENTRY of VMX names the rules of the manual that the registers break", () => {
  const fail_entry = { hardware_entry_failure_reason: 0x8000_0021, cpu: 1 };
  const message = messageOf({ exit_reason, fail_entry }, (vm) => {
    vm.registers.ss.dpl = 2;
    vm.registers.cs.db = 1;
  });
  assertStringIncludes(
    message,
    "Nothing answers exit 1: FAIL_ENTRY hardware reason 0x80000021 on CPU 1",
  );
  assertStringIncludes(
    message,
    "VMX's VM entry failed: the guest's state is not valid. It breaks:\n",
  );
  assertMatch(message, /\n {2}.*: CS: dpl is 0, that of SS is 2 \(Intel SDM Vol. 3C, 26.3.1.2\)/);
  assertMatch(message, /\n {2}.*: CS: l and db are 1 \(Intel SDM Vol. 3C, 26.3.1.2\)/);
  assertStringIncludes(message, "\n  As a rule no guest brings itself there:");
});

Deno.test("FAIL_ENTRY before the state was looked at, and for reasons that nobody knows", () => {
  const of = (hardware_entry_failure_reason: number) =>
    messageOf({ exit_reason, fail_entry: { hardware_entry_failure_reason } });
  assertStringIncludes(of(7), "VM-instruction error 7, the control fields are not valid");
  assertStringIncludes(of(0x777), "for a reason that vmexit does not know: 0x777");
});

Deno.test("INTERNAL_ERROR names each sub-error, and shows what KVM left", () => {
  const of = (suberror: number, data: number[] = []) =>
    messageOf({
      exit_reason: EXIT_REASON.INTERNAL_ERROR,
      internal: { suberror, ndata: data.length, data },
    });
  const { DELIVERY_EV, SIMUL_EX, UNEXPECTED_EXIT_REASON } = KVM_INTERNAL_ERROR;
  assertStringIncludes(
    of(DELIVERY_EV, [0x8000_0b0e, 0x30]),
    "DELIVERY_EV (sub-error 3): the hardware left the guest while it delivered an event",
  );
  assertStringIncludes(
    of(DELIVERY_EV, [0x8000_0b0e, 0x30]),
    "\n  it was delivering vector 14 (#PF), an exception\n  KVM's data: 0x80000b0e 0x30",
  );
  assertStringIncludes(of(DELIVERY_EV, [0x8000_0031]), "vector 49, an external interrupt");
  assertStringIncludes(of(SIMUL_EX), "SIMUL_EX (sub-error 2): one exception came while another");
  assertStringIncludes(of(UNEXPECTED_EXIT_REASON), "UNEXPECTED_EXIT_REASON (sub-error 4)");
  assertStringIncludes(of(77), "an unknown sub-error (sub-error 77).");
});

Deno.test("other exits that nobody answers say how to handle them", () => {
  const of = (name: keyof typeof EXIT_REASON) => messageOf({ exit_reason: EXIT_REASON[name] });
  assertStringIncludes(of("XEN"), 'vm.on("XEN", () => ({ result: 0 }))');
  assertStringIncludes(of("NOTIFY"), 'exit("NOTIFY")');
});

/** A libc one of whose ioctls fails. */
function refusing(name: IoctlName): Libc {
  let failed = false;
  const fails = (request: number) => failed = request === IOCTLS[name].number;
  return injected((real) => ({
    errno: () => failed ? ERRNO.EINVAL : real.errno(),
    ioctl: (fd, request, argument) => fails(request) ? -1 : real.ioctl(fd, request, argument),
    ioctlBuffer: (fd, request, bytes) => fails(request) ? -1 : real.ioctlBuffer(fd, request, bytes),
  }));
}

Deno.test("what KVM refuses is told, and the machine goes on", () => {
  const refused = (name: IoctlName, inject: (vm: ReturnType<typeof boot>) => unknown) => {
    using vm = boot(
      asm`
      nop
      hlt
    `,
      { libc: refusing(name), smm: { handler: asm`rsm` } },
    );
    assertThrows(() => inject(vm), KvmError, `${name} failed with EINVAL`);
    return vm.inject.waiting;
  };
  refused("KVM_NMI", (vm) => vm.inject.nmi());
  refused("KVM_SMI", (vm) => vm.inject.smi());
  refused("KVM_SET_VCPU_EVENTS", (vm) => vm.inject.exception("#UD"));
  refused("KVM_SET_GUEST_DEBUG", (vm) => vm.step());
  const waiting = refused("KVM_INTERRUPT", (vm) => {
    vm.registers.rflags.if = true;
    vm.inject.interrupt(0x40);
    vm.run();
  });
  assertEquals(waiting, [0x40]);
});

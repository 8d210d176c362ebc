import {
  asm,
  boot,
  exit,
  expect,
  hlt,
  modes,
  requires,
  shutdown,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { KVM_INTERNAL_ERROR, KVM_VCPUEVENT_VALID } from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ThreadTimer } from "../../lib/ffi/thread_timer.ts";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { levels } from "../kvm/levels.ts";

Deno.test.each(modes(["real", "protected", "long"]))("HLT: in $name mode", ({ options }) => {
  using vm = boot(asm`hlt`, options);
  expect(vm).toExit([exit("HLT", { number: 5 })]);
});

Deno.test.each(modes(["real", "protected", "long"]))(
  "SHUTDOWN: a triple fault in $name mode",
  ({ options }) => {
    using vm = boot(
      asm`
        lidt [none]
        ud2
        align 8
      none: dq 0, 0
      `,
      options,
    );
    expect(vm).toExit([shutdown()]);
  },
);

Deno.test(
  requires({ x86TripleFaultEvent: true }, "SHUTDOWN: a triple fault that is injected as an event"),
  () => {
    using vm = boot(asm`hlt`, { capabilities: { KVM_CAP_X86_TRIPLE_FAULT_EVENT: 1 } });
    const { events } = vm.kvm.vcpu;
    const before = events.getVcpuEvents();
    assert((before.flags & KVM_VCPUEVENT_VALID.TRIPLE_FAULT) !== 0);
    const flags = KVM_VCPUEVENT_VALID.TRIPLE_FAULT;
    events.setVcpuEvents({ ...before, flags, triple_fault: { pending: 1 } });
    expect(vm).toExit([shutdown()]);
  },
);

Deno.test("FAIL_ENTRY: a code segment that is both 64 and 32 bits wide, and the rule that it breaks", () => {
  using vm = boot(asm`hlt`, { mode: "long" });
  vm.registers.cs.db = 1;
  const error = assertThrows(() => vm.run(), UnhandledExitError, "FAIL_ENTRY hardware reason 0x");
  assertStringIncludes(error.message, "the guest's state");
  assertStringIncludes(error.message, "It breaks:\n  CS");
  assert(error.exit.reason === "FAIL_ENTRY" && error.exit.cpu >= 0);
  vm.registers.cs.db = 0;
  vm.registers.rip = BigInt(vm.image.entry);
  expect(vm).toExit([hlt()]);
});

Deno.test("FAIL_ENTRY: through the transcript", () => {
  using vm = boot(asm`hlt`, { mode: "long" });
  vm.registers.cs.db = 1;
  expect(vm).toExit([exit("FAIL_ENTRY", { cpu: (cpu) => cpu < 1024 })]);
});

const FLD_FROM_DEVICE = asm`
  mov ebx, 0x10000000
  fld qword [ebx]
  hlt
`;

Deno.test("INTERNAL_ERROR: an instruction that KVM does not emulate, with its bytes", () => {
  using vm = boot(FLD_FROM_DEVICE, { mode: "protected" });
  expect(vm).toExit([
    exit("INTERNAL_ERROR", {
      suberror: KVM_INTERNAL_ERROR.EMULATION,
      suberrorName: "EMULATION",
      emulation_failure: (failure) =>
        failure?.insn_bytes?.slice(0, 2).toString() === "221,3" && failure.insn_size! >= 2,
    }),
  ]);
});

Deno.test("INTERNAL_ERROR: what nobody handles names the sub-error, and shows the bytes and the state", () => {
  using vm = boot(FLD_FROM_DEVICE, { mode: "protected" });
  const { message } = assertThrows(() => vm.run(), UnhandledExitError);
  assertStringIncludes(message, "Nothing answers exit 1: INTERNAL_ERROR EMULATION: dd 03 f4");
  assertStringIncludes(
    message,
    "EMULATION (sub-error 1): KVM had to carry out an instruction itself",
  );
  assertStringIncludes(message, "at the instruction dd 03  fld qword [ebx]");
  assertStringIncludes(message, "rbx 0x10000000");
  assertStringIncludes(message, "│ fld qword [ebx]");
});

Deno.test("INTERNAL_ERROR: execution where there is no memory has no bytes, but KVM's data", () => {
  using vm = boot(
    asm`
      mov eax, 0x10000000
      jmp eax
    `,
    { mode: "protected" },
  );
  const { message } = assertThrows(() => vm.run(), UnhandledExitError, "INTERNAL_ERROR EMULATION");
  assertStringIncludes(message, "could not fetch it");
  assertStringIncludes(message, "KVM's data: 0x");
});

Deno.test(
  requires({ interruptsTimeLimit: true }, "INTR: a signal ends KVM_RUN with EINTR, and says so"),
  () => {
    const ENDLESS_LOOP = [0xeb, 0xfe];
    using on = levels({ code: ENDLESS_LOOP });
    using timer = new ThreadTimer(kvmLibc());
    timer.arm(200);
    assertEquals(on.vcpu.run(), ERRNO.EINTR);
    timer.disarm();
    assertEquals(on.vcpu.kvmRun.exit().reason, "INTR");
  },
);

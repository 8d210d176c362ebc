import { asm, requires } from "@vmexit/vmexit";
import { Kvm } from "@vmexit/vmexit/kvm";
import {
  decodeVmxBasic,
  eptPointer,
  eptViolationFlags,
  featureControlFlags,
  vmInstructionError,
  VMX_IO_BITMAP_SIZE,
  vmxExitReason,
  VmxIoBitmaps,
  vmxIoExit,
  walkEpt,
} from "@vmexit/vmexit/vmx";
import { cr4Flags, flagNames, flagsToValue, msrNumber } from "@vmexit/vmexit/x86";
import { assert, assertEquals } from "@std/assert";
import {
  ANSWER,
  INTERCEPTED_PORT,
  interceptedGuest,
  MSR_ANSWER,
  PASSED_PORT,
} from "./intercepted_guest.ts";
import {
  AT,
  bootNested,
  FAILED,
  namesOf,
  type NestedGuest,
  recordNestedExits,
} from "./nested_vmx.ts";

for (const mode of ["real", "protected", "long"] as const) {
  Deno.test(
    requires(
      { vmx: true },
      `a guest in ${mode} mode of a guest leaves at the port and the MSR of VMX's bitmaps, and at no others`,
    ),
    () => {
      using vm = bootNested({ mode, code: interceptedGuest });
      const exits = recordNestedExits(vm);
      const passed: number[] = [];
      vm.ports.on(PASSED_PORT, { write: (_port, value) => void passed.push(value) });

      assertEquals(vm.run().reason, "HLT");

      assertEquals(namesOf(exits), ["I/O instruction", "I/O instruction", "RDMSR", "HLT"]);
      const io = exits.slice(0, 2).map(({ exit_qualification }) => vmxIoExit(exit_qualification));
      assertEquals(io.map(({ port, direction, size }) => [port, direction, size]), [
        [INTERCEPTED_PORT, "out", 1],
        [INTERCEPTED_PORT, "in", 1],
      ]);
      assert(io.every(({ immediate, string }) => immediate && !string));
      assertEquals(passed, ["p".charCodeAt(0), ANSWER, 0x1234, MSR_ANSWER]);
    },
  );
}

Deno.test(
  requires({ vmx: true }, "ports 0x7fff and 0x8000 are intercepted by different pages"),
  () => {
    using vm = bootNested({
      mode: "long",
      code: asm`
      mov dx, 0x7fff
      out dx, al
      inc dx
      out dx, al
      inc dx
      out dx, al
      hlt
    `,
      ports: new VmxIoBitmaps().intercept([0x7fff, 0x8000]),
    });
    const exits = recordNestedExits(vm);
    const passed: number[] = [];
    vm.ports.on(0x8001, { write: (port) => void passed.push(port) });

    vm.run();

    assertEquals(namesOf(exits), ["I/O instruction", "I/O instruction", "HLT"]);
    assertEquals(
      exits.slice(0, 2).map(({ exit_qualification }) => vmxIoExit(exit_qualification).port),
      [0x7fff, 0x8000],
    );
    assertEquals(passed, [0x8001]);
  },
);

Deno.test(
  requires(
    { vmx: true },
    "bitmaps that a test changes in the guest's memory intercept from then on",
  ),
  () => {
    using vm = bootNested({
      mode: "long",
      code: asm`
        out ${PASSED_PORT}, al
        out ${PASSED_PORT}, al
        hlt
      `,
    });
    const view = (gpa: number) => vm.memory.view(gpa, VMX_IO_BITMAP_SIZE);
    const bitmaps = new VmxIoBitmaps(view(AT.bitmapA), view(AT.bitmapB));
    const exits = recordNestedExits(vm);
    vm.ports.on(PASSED_PORT, { write: () => void bitmaps.intercept(PASSED_PORT) });

    vm.run();

    assertEquals(namesOf(exits), ["I/O instruction", "HLT"]);
  },
);

Deno.test(
  requires({ vmx: true }, "a guest that reaches past EPT's tables leaves with an EPT violation"),
  () => {
    using vm = bootNested({
      mode: "long",
      code: asm`
        mov [0x300008], al
        hlt
      `,
    });
    const exits = recordNestedExits(vm);

    vm.run();

    assertEquals(namesOf(exits), ["EPT violation"]);
    assertEquals(exits[0].guest_physical_address, 0x300008n);
    assertEquals(flagNames(eptViolationFlags, exits[0].exit_qualification).slice(0, 1), ["WRITE"]);
  },
);

Deno.test(requires({ vmx: true }, "EPT's tables decide where the guest's writes go"), () => {
  using vm = bootNested({
    mode: "protected",
    code: asm`
      mov dword [0x9000], 0xcafe
      hlt
    `,
  });
  recordNestedExits(vm);

  vm.run();

  assertEquals(vm.memory.u32(AT.guestMemory + 0x9000), 0xcafe);
  assertEquals(vm.memory.u32(0x9000), 0);
});

Deno.test(
  requires({ vmx: true }, "what EPT's tables forbid is an EPT violation, and the walk agrees"),
  () => {
    using vm = bootNested({
      mode: "protected",
      code: asm`
      mov eax, [0x9000]
      mov [0x9000], eax
      hlt
    `,
      mapping: { writable: false },
    });
    const exits = recordNestedExits(vm);

    vm.run();

    assertEquals(namesOf(exits), ["EPT violation"]);
    assertEquals(exits[0].guest_physical_address, 0x9000n);
    const flags = flagNames(eptViolationFlags, exits[0].exit_qualification & 0x3fn);
    assertEquals(flags, ["WRITE", "READABLE", "EXECUTABLE"]);
    const { result } = walkEpt({
      pointer: eptPointer({ root: AT.ept.start }),
      gpa: 0x9000,
      read: (gpa) => vm.memory.u64(gpa),
    });
    assert("hpa" in result && result.readable && !result.writable && result.executable);
    assertEquals(result.hpa, AT.guestMemory + 0x9000);
  },
);

Deno.test(
  requires({ vmx: true }, "a write-only entry is an EPT misconfiguration, and the walk agrees"),
  () => {
    using vm = bootNested({
      mode: "protected",
      code: asm`
      mov eax, [0x9000]
      hlt
    `,
    });
    const walk = () =>
      walkEpt({
        pointer: eptPointer({ root: AT.ept.start }),
        gpa: 0x9000,
        read: (gpa) => vm.memory.u64(gpa),
      });
    const { hpa, entry } = walk().levels[3];
    vm.memory.setU64(hpa, entry & ~0x5n);
    const exits = recordNestedExits(vm);

    vm.run();

    assertEquals(namesOf(exits), ["EPT misconfiguration"]);
    assertEquals(exits[0].guest_physical_address, 0x9000n);
    assertEquals(walk().result, { fault: "EPT misconfiguration", level: "PTE" });
  },
);

Deno.test(
  requires({ vmx: true }, "the host's feature MSRs say what a guest hypervisor gets"),
  () => {
    using kvm = Kvm.open();
    const basic = decodeVmxBasic(kvm.getMsrs([msrNumber("IA32_VMX_BASIC")])[0].data);
    assert(basic.regionSize > 0 && basic.regionSize <= 4096);
    assertEquals([basic.memoryType, basic.insOutsInformation], ["WB", true]);
    using vm = bootNested({ mode: "long", code: asm`hlt` });
    assertEquals(decodeVmxBasic(vm.msrs.get("IA32_VMX_BASIC")), basic);
    recordNestedExits(vm);

    vm.run();

    const control = vm.msrs.get("IA32_FEATURE_CONTROL");
    assertEquals(flagNames(featureControlFlags, control), ["LOCK", "VMX_OUTSIDE_SMX"]);
  },
);

Deno.test(
  requires({ vmx: true }, "VMXON faults where IA32_FEATURE_CONTROL is locked without VMX"),
  () => {
    const IA32_FEATURE_CONTROL = flagsToValue(featureControlFlags, { lock: true });
    using vm = bootNested({ mode: "long", code: asm`hlt`, msrs: { IA32_FEATURE_CONTROL } });
    recordNestedExits(vm);

    assertEquals(vm.run({ until: "shutdown" }).reason, "SHUTDOWN");
  },
);

Deno.test(requires({ vmx: true }, "VMLAUNCH refuses a guest with a bad RFLAGS by an exit"), () => {
  using vm = bootNested({ mode: "long", code: asm`hlt`, fields: { guest_rflags: 0n } });
  const exits = recordNestedExits(vm);

  vm.run();

  const { name, entryFailure } = vmxExitReason(exits[0].exit_reason);
  assertEquals([name, entryFailure], ["VM-entry failure due to invalid guest state", true]);
});

for (
  const [what, wrong, error] of [
    [
      "VMPTRLD refuses another revision identifier: there is no VMCS then that could hold an error",
      { revision: 0x7ffe_dcba },
      undefined,
    ],
    [
      "VMLAUNCH refuses a misaligned I/O bitmap",
      { fields: { address_of_io_bitmap_a: 0x10_2001n } },
      "VM entry with invalid control field(s)",
    ],
    [
      "VMLAUNCH refuses a host without CR4.VMXE",
      { fields: { host_cr4: flagsToValue(cr4Flags, { pae: true }) } },
      "VM entry with invalid host-state field(s)",
    ],
  ] satisfies [string, Partial<NestedGuest>, string | undefined][]
) {
  Deno.test(requires({ vmx: true }, what), () => {
    using vm = bootNested({ mode: "long", code: asm`hlt`, ...wrong });
    const errors: (string | undefined)[] = [];
    vm.ports.on(FAILED, { write: (_port, number) => void errors.push(vmInstructionError(number)) });

    vm.run();

    assertEquals(errors, [error]);
  });
}

import { asm, expect, hlt, type Machine, portOut, requires } from "@vmexit/vmexit";
import {
  IO_PERMISSION_MAP_SIZE,
  IoPermissionMap,
  nestedPageFaultFlags,
  readVmcb,
  svmExitName,
  svmIoExit,
  type Vmcb,
  vmcb,
} from "@vmexit/vmexit/svm";
import { flagNames } from "@vmexit/vmexit/x86";
import { assertEquals } from "@std/assert";
import {
  ANSWER,
  INTERCEPTED_PORT,
  interceptedGuest,
  MSR_ANSWER,
  PASSED_PORT,
  REPORT,
} from "./intercepted_guest.ts";
import { AT, bootNested, INTERCEPTS } from "./nested_svm.ts";

/** Every exit of the guest's guest, as the hypervisor's memory has it while it reports the code. */
function recordNestedExits(vm: Machine): Vmcb[] {
  const exits: Vmcb[] = [];
  vm.ports.on(REPORT, {
    write(_port, code) {
      const block = readVmcb(vm.memory.read(AT.vmcb, vmcb.size));
      assertEquals(svmExitName(block.control.exitcode), svmExitName(code));
      exits.push(block);
    },
  });
  return exits;
}

const namesOf = (exits: readonly Vmcb[]) =>
  exits.map(({ control }) => svmExitName(control.exitcode));

for (const mode of ["real", "protected", "long"] as const) {
  Deno.test(
    requires(
      { svm: true },
      `a guest in ${mode} mode of a guest leaves at the port and the MSR of SVM's maps, and at no others`,
    ),
    () => {
      using vm = bootNested({ mode, code: interceptedGuest });
      const exits = recordNestedExits(vm);
      const passed: number[] = [];
      vm.ports.on(PASSED_PORT, { write: (_port, value) => void passed.push(value) });

      assertEquals(vm.run().reason, "HLT");

      assertEquals(namesOf(exits), ["VMEXIT_IOIO", "VMEXIT_IOIO", "VMEXIT_MSR", "VMEXIT_HLT"]);
      assertEquals(exits.slice(0, 2).map(({ control }) => svmIoExit(control.exitinfo1)), [
        { port: INTERCEPTED_PORT, direction: "out", size: 1, string: false, repeated: false },
        { port: INTERCEPTED_PORT, direction: "in", size: 1, string: false, repeated: false },
      ]);
      assertEquals(exits[0].save.rax & 0xffn, BigInt("p".charCodeAt(0)));
      assertEquals(exits[2].control.exitinfo1, 0n); // RDMSR: the map lets WRMSR through
      assertEquals(passed, ["p".charCodeAt(0), ANSWER, 0x1234, MSR_ANSWER]);
    },
  );
}

Deno.test(
  requires(
    { svm: true },
    "a map that a test changes in the guest's memory intercepts from then on",
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
    const map = new IoPermissionMap(vm.memory.view(AT.ioPermissionMap, IO_PERMISSION_MAP_SIZE));
    const exits = recordNestedExits(vm);
    vm.ports.on(PASSED_PORT, { write: () => void map.intercept(PASSED_PORT) });

    vm.run();

    assertEquals(namesOf(exits), ["VMEXIT_IOIO", "VMEXIT_HLT"]);
  },
);

Deno.test(
  requires(
    { svm: true },
    "an access of four bytes leaves for its last port, and one below it does not",
  ),
  () => {
    using vm = bootNested({
      mode: "long",
      code: asm`
      mov dx, 0x7fd
      out dx, eax           ; 0x7fd to 0x800
      dec dx
      out dx, eax           ; 0x7fc to 0x7ff
      hlt
    `,
      ports: new IoPermissionMap().intercept([0x800, 0x8ff]),
    });
    const exits = recordNestedExits(vm);

    expect(vm).toExit([portOut(0x7fc), hlt()]);

    assertEquals(namesOf(exits), ["VMEXIT_IOIO", "VMEXIT_HLT"]);
    assertEquals(svmIoExit(exits[0].control.exitinfo1).port, 0x7fd);
  },
);

Deno.test(
  requires(
    { svm: true },
    "a guest that reaches past its nested page tables leaves with VMEXIT_NPF and the address",
  ),
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

    assertEquals(namesOf(exits), ["VMEXIT_NPF"]);
    const { exitinfo1, exitinfo2 } = exits[0].control;
    assertEquals(exitinfo2, 0x300008n);
    assertEquals(flagNames(nestedPageFaultFlags, exitinfo1), ["RW", "US", "FINAL"]);
  },
);

Deno.test(
  requires({ svm: true }, "the nested page tables decide where the guest's writes go"),
  () => {
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
  },
);

Deno.test(
  requires(
    { svm: true },
    "intercepts by name: CPUID and VMMCALL leave, and the guest goes on behind them",
  ),
  () => {
    using vm = bootNested({
      mode: "long",
      code: asm`
      cpuid
      vmmcall
      ud2
    `,
      intercepts: [...INTERCEPTS, "cpuid", "vmmcall", "exception_6"],
    });
    const exits = recordNestedExits(vm);

    vm.run();

    assertEquals(namesOf(exits), ["VMEXIT_CPUID", "VMEXIT_VMMCALL", "VMEXIT_EXCP6"]);
  },
);

Deno.test(
  requires({ svm: true }, "VMRUN refuses a VMCB that does not intercept VMRUN: VMEXIT_INVALID"),
  () => {
    using vm = bootNested({ mode: "long", code: asm`hlt`, intercepts: ["hlt"] });
    const exits = recordNestedExits(vm);

    vm.run();

    assertEquals(namesOf(exits), ["VMEXIT_INVALID"]);
  },
);

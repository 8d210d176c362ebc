import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { bootState } from "../../../lib/x86/boot/boot_state.ts";
import { flagNames, flagsToValue, type FlagTable } from "../../../lib/x86/registers/flags.ts";
import {
  adjustVmxControls,
  pinBasedControls,
  primaryProcessorBasedControls,
  secondaryProcessorBasedControls,
  vmEntryControls,
  vmExitControls,
  vmxCapability,
} from "../../../lib/x86/vmx/controls.ts";
import {
  vmInstructionError,
  vmxExitReason,
  vmxExitReasonNames,
  vmxIoExit,
} from "../../../lib/x86/vmx/exit_reasons.ts";
import { decodeVmxBasic, featureControlFlags } from "../../../lib/x86/vmx/vmx_basic.ts";
import { readVmcsHeader, vmcsRegion, vmxonRegion } from "../../../lib/x86/vmx/region.ts";
import {
  vmcsEncodings,
  vmcsField,
  type VmcsFieldName,
  type VmcsFieldType,
  type VmcsFieldWidth,
} from "../../../lib/x86/vmx/vmcs_fields.ts";
import { isIa32e, vmcsAccessRights, vmcsGuest, vmcsHost } from "../../../lib/x86/vmx/vmcs_state.ts";
import { PINNED_ENCODINGS } from "./pinned_encodings.ts";

Deno.test("VMCS fields have the encodings of the kernel's header", () => {
  for (const [name, encoding] of PINNED_ENCODINGS) {
    assertEquals([name, vmcsField(name).encoding], [name, encoding]);
  }
  // What the header of 6.1 does not have, from the manual.
  for (
    const [name, encoding] of [
      ["eptp_index", 0x0004],
      ["executive_vmcs_pointer", 0x200c],
      ["virtualization_exception_information_address", 0x202a],
      ["sub_page_permission_table_pointer", 0x2030],
      ["enclv_exiting_bitmap", 0x2036],
      ["hlatp", 0x2040],
      ["secondary_vm_exit_controls", 0x2044],
      ["guest_ia32_lbr_ctl", 0x2816],
      ["guest_ia32_pkrs", 0x2818],
      ["host_ia32_pkrs", 0x2c06],
      ["guest_smbase", 0x4828],
      ["io_rcx", 0x6402],
      ["io_rip", 0x6408],
      ["guest_ia32_s_cet", 0x6828],
      ["guest_ssp", 0x682a],
      ["host_ia32_interrupt_ssp_table_addr", 0x6c1c],
    ] as const
  ) {
    assertEquals([name, vmcsField(name).encoding], [name, encoding]);
  }
  assertEquals(new Set(vmcsEncodings.values()).size, vmcsEncodings.size);
});

Deno.test("an encoding tells width, type and index, and both ways are one", () => {
  const rows: [VmcsFieldName, VmcsFieldWidth, VmcsFieldType, number][] = [
    ["virtual_processor_identifier", 16, "control", 0],
    ["guest_tr_selector", 16, "guest state", 7],
    ["host_tr_selector", 16, "host state", 6],
    ["ept_pointer", 64, "control", 13],
    ["guest_physical_address", 64, "VM-exit information", 0],
    ["exception_bitmap", 32, "control", 2],
    ["exit_reason", 32, "VM-exit information", 1],
    ["vmx_preemption_timer_value", 32, "guest state", 23],
    ["exit_qualification", "natural", "VM-exit information", 0],
    ["guest_rflags", "natural", "guest state", 16],
    ["host_rip", "natural", "host state", 11],
  ];
  for (const [name, width, type, index] of rows) {
    const field = vmcsField(name);
    assertEquals([field.width, field.type, field.index, field.high], [width, type, index, false]);
    assertEquals(vmcsField(field.encoding), field);
  }
  for (const [name, encoding] of vmcsEncodings) assertEquals(vmcsField(encoding).name, name);
  const high = vmcsField(0x201b);
  assertEquals([high.name, high.high], ["ept_pointer", true]);
  assertEquals(vmcsField(0x0fe0).name, undefined);
});

Deno.test("names and encodings of no field are refused", () => {
  assertThrows(
    () => vmcsField("guest_ripp" as VmcsFieldName),
    RangeError,
    'Cannot find the VMCS field "guest_ripp": there is none of that name; the nearest are guest_rip',
  );
  for (const encoding of [0x1000, 0x8000, -2, 0.5]) {
    assertThrows(() => vmcsField(encoding), RangeError, "as the encoding of a VMCS field");
  }
});

Deno.test("exit reasons and VM-instruction errors have the manual's words at the manual's numbers", () => {
  for (
    const [number, name] of [
      [0, "exception or NMI"],
      [10, "CPUID"],
      [12, "HLT"],
      [18, "VMCALL"],
      [28, "control-register access"],
      [31, "RDMSR"],
      [36, "MWAIT"],
      [39, "MONITOR"],
      [43, "TPR below threshold"],
      [49, "EPT misconfiguration"],
      [55, "XSETBV"],
      [63, "XSAVES"],
      [70, "ENCLV"],
      [74, "bus lock"],
      [77, "TDCALL"],
    ] as const
  ) {
    assertEquals(vmxExitReason(number).name, name);
  }
  assertEquals([35, 38, 42, 71, 78].map((number) => vmxExitReason(number).name), [
    ...Array(5).fill(undefined),
  ]);
  const known = vmxExitReasonNames.filter((name) => name !== "");
  assertEquals(new Set(known).size, known.length);
  assertEquals(vmxExitReason(0x3800_0030n), {
    basic: 48,
    name: "EPT violation",
    enclave: true,
    pendingMonitorTrap: true,
    fromRoot: true,
    entryFailure: false,
  });
  assertEquals(vmInstructionError(11), "VMPTRLD with incorrect VMCS revision identifier");
  assertEquals([0, 14, 21, 27, 29].map(vmInstructionError), Array(5).fill(undefined));
});

Deno.test("the exit qualification of an I/O instruction has the manual's bits", () => {
  assertEquals(vmxIoExit(0xffff_0073n), {
    port: 0xffff,
    direction: "out",
    size: 4,
    string: true,
    repeated: true,
    immediate: true,
  });
  assertEquals(vmxIoExit(0x60_0009n), {
    port: 0x60,
    direction: "in",
    size: 2,
    string: false,
    repeated: false,
    immediate: false,
  });
});

Deno.test("IA32_VMX_BASIC and IA32_FEATURE_CONTROL by their fields", () => {
  // What a Haswell says.
  assertEquals(decodeVmxBasic(0x00da_0400_0000_0012n), {
    revision: 0x12,
    regionSize: 0x400,
    addresses32Bits: false,
    dualMonitor: true,
    memoryType: "WB",
    insOutsInformation: true,
    trueControls: true,
  });
  const odd = decodeVmxBasic(0x0005_1000_7fff_ffffn);
  assertEquals([odd.revision, odd.regionSize, odd.addresses32Bits], [0x7fff_ffff, 4096, true]);
  assertEquals([odd.memoryType, odd.dualMonitor, odd.trueControls], ["WC", false, false]);
  assertEquals(decodeVmxBasic(2n << 50n).memoryType, undefined);
  assertEquals(flagsToValue(featureControlFlags, { lock: true, vmx_outside_smx: true }), 5n);
  assertEquals(flagNames(featureControlFlags, 0x16_ff07n), [
    ...["LOCK", "VMX_INSIDE_SMX", "VMX_OUTSIDE_SMX", "SENTER_LOCAL=127", "SENTER_GLOBAL"],
    ...["SGX_LAUNCH_CONTROL", "SGX", "LMCE"].slice(0, 3),
  ]);
});

Deno.test("regions begin with the revision identifier, the VMCS's with the shadow bit", () => {
  const basic = decodeVmxBasic(0x00da_0400_7654_3210n);
  assertEquals(vmxonRegion(basic).length, 4096);
  assertEquals(readVmcsHeader(vmxonRegion(basic)), {
    revision: 0x7654_3210,
    shadow: false,
    abort: 0,
  });
  assertEquals(vmcsRegion(basic), vmxonRegion(basic));
  const shadow = vmcsRegion(basic, { shadow: true });
  assertEquals([...shadow.subarray(0, 8)], [0x10, 0x32, 0x54, 0xf6, 0, 0, 0, 0]);
  shadow[4] = 2;
  assertEquals(readVmcsHeader(shadow), { revision: 0x7654_3210, shadow: true, abort: 2 });
  for (const revision of [0x8000_0000, -1, 1.5]) {
    assertThrows(
      () => vmxonRegion(revision),
      RangeError,
      "as a VMCS revision identifier: it has 31 bits",
    );
  }
});

Deno.test("controls lie at the bits of the kernel's header", () => {
  // The values of PIN_BASED_…, CPU_BASED_…, SECONDARY_EXEC_…, VM_EXIT_… and VM_ENTRY_… in
  // arch/x86/include/asm/vmx.h and vmxfeatures.h of Linux 6.1.170: sums of what each family defines.
  const all = (table: FlagTable, except: string[] = []) =>
    flagsToValue(
      table,
      Object.fromEntries(
        Object.keys(table).filter((each) => !except.includes(each)).map((each) => [each, true]),
      ),
    );
  assertEquals(all(pinBasedControls), 0xe9n);
  assertEquals(all(primaryProcessorBasedControls), 0xfbfb_9e8cn);
  assertEquals(
    all(secondaryProcessorBasedControls, [
      "pasid_translation",
      "sub_page_write_permissions_for_ept",
      "enable_pconfig",
    ]),
    0xd75f_ffffn,
  );
  assertEquals(
    all(vmExitControls, [
      ...["clear_ia32_lbr_ctl", "clear_uinv", "load_cet_state", "load_pkrs"],
      ...["save_ia32_perf_global_ctl", "activate_secondary_controls"],
    ]),
    0x03fc_9204n,
  );
  assertEquals(
    all(vmEntryControls, ["load_uinv", "load_cet_state", "load_guest_ia32_lbr_ctl", "load_pkrs"]),
    0x7_ee04n,
  );
});

Deno.test("controls are adjusted to what the CPU requires and allows", () => {
  const capability = 0x0000_00ff_0000_0016n;
  assertEquals(vmxCapability(capability), { required: 0x16n, allowed: 0xffn });
  assertEquals(adjustVmxControls(pinBasedControls, capability, {}), 0x16n);
  assertEquals(
    adjustVmxControls(pinBasedControls, capability, { nmi_exiting: true, virtual_nmis: false }),
    0x1en,
  );
  assertThrows(
    () => adjustVmxControls(pinBasedControls, 0x3f_0000_0016n, { process_posted_interrupts: true }),
    RangeError,
    "Cannot set process_posted_interrupts: the CPU allows no such control",
  );
  assertThrows(
    () =>
      adjustVmxControls(primaryProcessorBasedControls, 0xffff_ffff_0401_e172n, {
        cr3_load_exiting: false,
      }),
    RangeError,
    "Cannot clear cr3_load_exiting: the CPU requires it",
  );
  assertThrows(
    () => adjustVmxControls(pinBasedControls, capability, { nmi_exitting: true } as never),
    RangeError,
    "the nearest are nmi_exiting",
  );
});

Deno.test("adjusted controls have all that is wanted and required, and nothing that is not allowed", () => {
  const bits = fc.bigInt(0n, 0xffff_ffffn);
  const names = Object.keys(secondaryProcessorBasedControls);
  fc.assert(fc.property(bits, bits, fc.subarray(names), (required, allowed, chosen) => {
    const table: FlagTable = secondaryProcessorBasedControls;
    const wanted = flagsToValue(table, Object.fromEntries(chosen.map((name) => [name, true])));
    const capability = (allowed | required | wanted) << 32n | required;
    const value = adjustVmxControls(
      table,
      capability,
      Object.fromEntries(chosen.map((name) => [name, true])),
    );
    assertEquals(value, wanted | required);
  }));
});

Deno.test("a boot state becomes guest-state fields, with VMXE in CR4 that the guest does not see", () => {
  for (const mode of ["real", "protected", "long"] as const) {
    const state = bootState({ mode: mode as "real" });
    const { cs, tr, gdt, cr4 } = state.specialRegisters;
    const values = vmcsGuest(state);
    assertEquals(values.guest_cs_selector, BigInt(cs.selector));
    assertEquals(values.guest_cs_limit, BigInt(cs.limit));
    assertEquals(values.guest_tr_base, tr.base);
    assertEquals(values.guest_gdtr_limit, BigInt(gdt.limit));
    assertEquals(values.guest_rip, state.registers.rip);
    assertEquals([values.guest_cr4, values.cr4_read_shadow], [cr4 | 0x2000n, cr4]);
    assertEquals(values.vmcs_link_pointer, 0xffff_ffff_ffff_ffffn);
    for (const name of Object.keys(values)) assert(vmcsEncodings.has(name), name);
    assertEquals(isIa32e(state), mode === "long");
  }
  const { ds } = bootState({ mode: "real" }).specialRegisters;
  assertEquals(vmcsAccessRights(ds), 0x93n);
  const long = bootState({ mode: "long", cpl: 3 }).specialRegisters;
  assertEquals([long.cs, long.ss, long.tr].map(vmcsAccessRights), [0xa0fbn, 0xc0f3n, 0x8bn]);
  assertEquals(vmcsAccessRights({ ...ds, avl: 1 }), 0x1093n);
  assertEquals(vmcsAccessRights({ ...ds, type: 0, s: 0, present: 0, unusable: 1 }), 0x1_0000n);
});

Deno.test("host-state fields pass VM entry's checks: VMXE, selectors without RPL and TI, a TR", () => {
  const state = bootState({ mode: "long", cpl: 3 });
  const values = vmcsHost(state);
  for (const name of Object.keys(values)) assert(vmcsEncodings.has(name), name);
  assertEquals(values.host_cs_selector! & 7n, 0n);
  assert(values.host_tr_selector! !== 0n);
  assertEquals(values.host_cr4! & 0x2000n, 0x2000n);
  assertEquals(values.host_rip, undefined);
});

import { assertEquals, assertThrows } from "@std/assert";
import {
  vmcsEncodings,
  vmcsField,
  type VmcsFieldName,
  type VmcsFieldType,
  type VmcsFieldWidth,
} from "../../../lib/x86/vmx/vmcs_fields.ts";
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

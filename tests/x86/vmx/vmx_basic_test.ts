import { assertEquals } from "@std/assert";
import { flagNames, flagsToValue } from "../../../lib/x86/registers/flags.ts";
import { decodeVmxBasic, featureControlFlags } from "../../../lib/x86/vmx/vmx_basic.ts";

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

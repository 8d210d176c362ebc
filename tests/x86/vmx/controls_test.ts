import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { flagsToValue, type FlagTable } from "../../../lib/x86/registers/flags.ts";
import {
  adjustVmxControls,
  pinBasedControls,
  primaryProcessorBasedControls,
  secondaryProcessorBasedControls,
  vmEntryControls,
  vmExitControls,
  vmxCapability,
} from "../../../lib/x86/vmx/controls.ts";

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

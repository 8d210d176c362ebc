import { assert, assertEquals } from "@std/assert";
import { bootState } from "../../../lib/x86/boot/boot_state.ts";
import { vmcsEncodings } from "../../../lib/x86/vmx/vmcs_fields.ts";
import { isIa32e, vmcsAccessRights, vmcsGuest, vmcsHost } from "../../../lib/x86/vmx/vmcs_state.ts";

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

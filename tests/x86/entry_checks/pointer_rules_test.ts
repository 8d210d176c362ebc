import { assertEquals } from "@std/assert";
import type { CpuState } from "../../../lib/x86/boot/cpu_state.ts";
import { pointerRules } from "../../../lib/x86/entry_checks/control_register_rules.ts";
import {
  checkGuestState,
  type GuestState,
} from "../../../lib/x86/entry_checks/guest_state_checks.ts";
import { longMode } from "../../../lib/x86/boot/modes/long.ts";
import { paeMode } from "../../../lib/x86/boot/modes/protected.ts";
import { memoryOf } from "../memory_of.ts";
import { type Breach, testBreaches } from "./breach.ts";

const rule = pointerRules[0].rule;

function readable(state: CpuState): GuestState {
  return { ...state, read: memoryOf(state.writes) };
}

/** Sets an entry of the page-directory-pointer table to one that breaks the rule. */
function breach(index: number, entry: bigint, detail: string): Breach {
  return {
    rule,
    from: () => {
      const state = paeMode();
      new DataView(state.writes[0].bytes.buffer).setBigUint64(index * 8, entry, true);
      return readable(state);
    },
    by: () => {},
    detail,
  };
}

testBreaches(pointerRules, [
  breach(0, 0x2003n, "PDPTE0 is 0x2003"), // R/W, which other levels have
  breach(1, 0x2005n, "PDPTE1 is 0x2005"),
  breach(3, 0x8000_0000_0000_2001n, "PDPTE3 is 0x8000000000002001"),
  breach(2, 0x0010_0000_0000_2001n, "PDPTE2 is 0x10000000002001"),
]);

Deno.test("an entry that is not present may have any bit, and other paging modes have no such entries", () => {
  const state = paeMode();
  new DataView(state.writes[0].bytes.buffer).setBigUint64(0, 0x2006n, true);
  assertEquals(checkGuestState(readable(state)), []);
  assertEquals(checkGuestState(readable(longMode())), []);
  assertEquals(checkGuestState({ ...state, specialRegisters: state.specialRegisters }), []);
});

Deno.test("the physical-address width counts", () => {
  const state = paeMode();
  new DataView(state.writes[0].bytes.buffer).setBigUint64(0, 0x100_0000_0001n, true);
  assertEquals(checkGuestState(readable(state)), []);
  assertEquals(checkGuestState({ ...readable(state), physicalAddressBits: 40 }).length, 1);
});

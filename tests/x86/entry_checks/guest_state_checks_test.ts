import { assertEquals } from "@std/assert";
import {
  checkGuestState,
  type GuestState,
  guestStateRules,
} from "../../../lib/x86/entry_checks/guest_state_checks.ts";
import { longMode } from "../../../lib/x86/boot/modes/long.ts";
import { realMode } from "../../../lib/x86/boot/modes/real.ts";
import { user, virtual8086 } from "./breach.ts";

const sound: Record<string, () => GuestState> = {
  "real mode": realMode,
  "long mode": longMode,
  "virtual-8086 mode": virtual8086,
  "64-bit mode at CPL 3": user,
  "64-bit mode, halted at CPL 0": () => ({ ...longMode(), halted: true }),
  "64-bit mode at CPL 3, not unrestricted": () => ({ ...user(), unrestrictedGuest: false }),
};

Deno.test.each(Object.entries(sound))("%s breaks no rule", (_name, state) => {
  assertEquals(checkGuestState(state()), []);
});

Deno.test("no two rules read the same", () => {
  assertEquals(new Set(guestStateRules.map(({ rule }) => rule)).size, guestStateRules.length);
});

Deno.test("every rule cites its section of the manual", () => {
  for (const { section } of guestStateRules) {
    assertEquals(/^Intel SDM Vol\. 3C, 26\.3\.1\.[1-6]$/.test(section), true, section);
  }
});

Deno.test("what a segment that is not usable holds does not matter, but for SS.DPL", () => {
  const { specialRegisters, ...state } = longMode();
  Object.assign(specialRegisters.ds, { unusable: 1, type: 0, s: 0, present: 0, base: 1n << 40n });
  Object.assign(specialRegisters.ss, { unusable: 1, type: 0, s: 0, present: 0, limit: 0xffe });
  assertEquals(checkGuestState({ ...state, specialRegisters }), []);
  specialRegisters.ss.dpl = 1;
  assertEquals(checkGuestState({ ...state, specialRegisters }).length, 1);
});

Deno.test("each register that breaks a rule is named", () => {
  const { specialRegisters } = longMode();
  for (const name of ["ds", "fs"] as const) specialRegisters[name].type = 2;
  assertEquals(checkGuestState({ specialRegisters }).map(({ detail }) => detail), [
    "DS: type is 2",
    "FS: type is 2",
  ]);
});

Deno.test("with 57 bits of linear address, more addresses are canonical", () => {
  const state = { ...longMode({ entry: 0 }), linearAddressBits: 57 };
  state.registers.rip = 1n << 50n;
  assertEquals(checkGuestState(state), []);
});

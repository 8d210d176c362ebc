import { assertEquals } from "@std/assert";
import type { SpecialRegisters } from "../../../lib/x86/boot/cpu_state.ts";
import {
  checkGuestState,
  type GuestState,
  type GuestStateRule,
} from "../../../lib/x86/entry_checks/guest_state_checks.ts";
import { longMode } from "../../../lib/x86/boot/modes/long.ts";
import { realMode } from "../../../lib/x86/boot/modes/real.ts";

const VM = 0x2_0002n;

/** A sound state in virtual-8086 mode: real mode's, with protection on and the access rights that VM needs. */
export function virtual8086(): GuestState {
  const { specialRegisters } = realMode();
  specialRegisters.cr0 |= 1n;
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    Object.assign(specialRegisters[name], { type: 3, dpl: 3 });
  }
  return { specialRegisters, registers: { rflags: VM } };
}

/** A sound 64-bit state at CPL 3. */
export function user(): GuestState {
  const state = longMode();
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    state.specialRegisters[name].dpl = 3;
    state.specialRegisters[name].selector |= 3;
  }
  return state;
}

/** A state that breaks one rule and no other. */
export interface Breach {
  /** The rule that is broken. */
  rule: string;
  /** The sound state to start from; long mode where there is none. */
  from?: () => GuestState;
  /** What breaks it. */
  by: (registers: SpecialRegisters, state: GuestState) => void;
  /** What the verdict says. */
  detail: string;
}

/** A test for each breach, and one that none of `rules` is without a breach. */
export function testBreaches(rules: readonly GuestStateRule[], breaches: Breach[]): void {
  Deno.test.each(breaches)("$rule: $detail", ({ rule, from = longMode, by, detail }) => {
    const state = from();
    by(state.specialRegisters, state);
    const found = checkGuestState(state);
    assertEquals(found.map((violation) => violation.rule), [rule]);
    assertEquals(found[0].detail, detail);
  });

  Deno.test("every rule has a state that breaks it", () => {
    const broken = new Set(breaches.map(({ rule }) => rule));
    assertEquals(rules.map(({ rule }) => rule).filter((rule) => !broken.has(rule)), []);
  });
}

import { assertEquals } from "@std/assert";
import { guestEnvironment } from "../../lib/cli/nested_command.ts";

Deno.test("a nested command gets what concerns it, not the choice that led there", () => {
  const host = { VMEXIT_TIMEOUT_SCALE: "5", VMEXIT_KVM: "nested", CI: "1", SECRET: "x" };
  assertEquals(guestEnvironment(host, false), { VMEXIT_TIMEOUT_SCALE: "5", CI: "1" });
  assertEquals(guestEnvironment({}, true), { FORCE_COLOR: "1" });
  assertEquals(guestEnvironment({ NO_COLOR: "1" }, true), { NO_COLOR: "1" });
});

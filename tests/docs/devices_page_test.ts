import * as devices from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";

const page = Deno.readTextFileSync(new URL("../../docs/devices.md", import.meta.url));

Deno.test("each stock device has its row in docs/devices.md, with its specification", () => {
  const names = Object.entries(devices).filter(([, value]) =>
    typeof value === "function" && typeof value.prototype?.attach === "function"
  ).map(([name]) => name);
  assert(names.length > 10);
  const missing = names.filter((name) => !new RegExp(`^\\| .*\`${name}\``, "m").test(page));
  assertEquals(missing, []);
});

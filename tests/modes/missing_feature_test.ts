import { asm, boot, HostError } from "@vmexit/vmexit";
import { openHandles } from "@vmexit/vmexit/kvm";
import { assertEquals, assertThrows } from "@std/assert";
import { IOCTLS } from "../../lib/kvm/abi/ioctls.ts";
import { kvm_cpuid2 } from "../../lib/kvm/abi/structs/cpuid.ts";
import { injected } from "../machine/injected_libc.ts";

const EXTENDED_FEATURES = 7;
const LA57 = 1 << 16;

/** A host whose CPU has no 5-level paging. */
const withoutLa57 = () =>
  injected((real) => ({
    ioctlBuffer(fd, request, buffer) {
      const result = real.ioctlBuffer(fd, request, buffer);
      if (request !== IOCTLS.KVM_GET_SUPPORTED_CPUID.number || result < 0) return result;
      const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
      const cpuid = kvm_cpuid2.read(view, 0);
      for (const entry of cpuid.entries) {
        if (entry.function === EXTENDED_FEATURES) entry.ecx = (entry.ecx & ~LA57) >>> 0;
      }
      kvm_cpuid2.write(view, 0, cpuid);
      return result;
    },
  }));

Deno.test("5 levels on a CPU without LA57 are refused, and nothing is left open", () => {
  const before = openHandles();
  assertThrows(
    () => boot(asm`hlt`, { mode: "long", levels: 5, libc: withoutLa57() }),
    HostError,
    "has no LA57. Give `levels: 4`",
  );
  assertEquals(openHandles(), before);
  using vm = boot(asm`hlt`, { mode: "long", libc: withoutLa57() });
  assertEquals(vm.run().reason, "HLT");
});

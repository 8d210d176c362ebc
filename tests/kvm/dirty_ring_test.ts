import { requires, SystemError } from "@vmexit/vmexit";
import { kvm_dirty_gfn, KVM_DIRTY_GFN_F } from "@vmexit/vmexit/abi";
import { openHandles } from "@vmexit/vmexit/kvm";
import { DirtyRing } from "../../lib/kvm/dirty_ring.ts";
import { MAP_FAILED } from "../../lib/ffi/mman.ts";
import { assertEquals, assertThrows } from "@std/assert";
import { fakeLibc } from "../ffi/fake_libc.ts";
import { levels } from "./levels.ts";

const BYTES = 65536;

Deno.test(
  requires({ dirtyRing: true }, "a vCPU's dirty ring has each page that the guest wrote"),
  () => {
    // mov [0x3000], al; mov [0x5000], al; mov [0x3001], al; hlt
    const code = [0xa2, 0, 0x30, 0xa2, 0, 0x50, 0xa2, 1, 0x30, 0xf4];
    using on = levels({
      code,
      logDirtyPages: true,
      before: (vm) => vm.enableCap("KVM_CAP_DIRTY_LOG_RING", BYTES),
    });
    const before = openHandles().mappings;
    {
      using ring = on.vcpu.mapDirtyRing();
      on.vcpu.run();
      const pages = ring.harvest().map(({ slot, page }) => [slot, page]);
      assertEquals(pages.filter(([, page]) => page >= 3), [[0, 3], [0, 5]]);
      assertEquals(ring.harvest(), []);
      assertEquals(on.vm.memory.resetDirtyRings(), pages.length);
      // The page is clean again: the next write is noted anew.
      on.vcpu.registers.setRegs({ ...on.vcpu.registers.getRegs(), rip: 0x500n });
      on.vcpu.run();
      assertEquals(ring.harvest().filter(({ page }) => page >= 3).map(({ page }) => page), [3, 5]);
    }
    assertEquals(openHandles().mappings, before);
  },
);

Deno.test(
  requires({ dirtyRing: true }, "a VM without rings has none to map"),
  () => {
    using plain = levels();
    assertThrows(
      () => plain.vcpu.mapDirtyRing(),
      TypeError,
      "the dirty ring of vCPU 0: its VM has none",
    );
  },
);

Deno.test("harvest goes round at the ring's end, and leaves what is not dirty", () => {
  const entries = 4;
  const memory = new ArrayBuffer(entries * kvm_dirty_gfn.size);
  const view = new DataView(memory);
  const { libc, calls } = fakeLibc({ mmap: () => 0x7000n, munmap: () => 0, memory: () => memory });
  const set = (index: number, page: number) =>
    kvm_dirty_gfn.write(view, index * kvm_dirty_gfn.size, {
      flags: KVM_DIRTY_GFN_F.DIRTY,
      slot: 2,
      offset: page,
    });
  using ring = new DirtyRing(libc, 5, memory.byteLength, "vCPU 0");
  assertEquals(calls[0], `mmap(64, 3, 1, 5, ${64 * 4096})`);
  assertEquals(ring.harvest(), []);
  for (const index of [0, 1, 2, 3]) set(index, 10 + index);
  assertEquals(ring.harvest().map(({ page }) => page), [10, 11, 12, 13]);
  assertEquals(view.getUint32(0, true), KVM_DIRTY_GFN_F.RESET);
  set(0, 20);
  set(2, 99);
  assertEquals(ring.harvest(), [{ slot: 2, page: 20 }]);
  const { libc: refusing } = fakeLibc({ mmap: () => MAP_FAILED, errno: () => 22 });
  assertThrows(() => new DirtyRing(refusing, 5, 4096, "vCPU 0"), SystemError, "EINVAL");
});

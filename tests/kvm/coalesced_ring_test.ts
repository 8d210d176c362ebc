import { assertEquals } from "@std/assert";
import { kvm_coalesced_mmio, kvm_coalesced_mmio_ring } from "@vmexit/vmexit/abi";
import { COALESCED_RING_CAPACITY } from "@vmexit/vmexit/kvm";
import type { Mapping } from "../../lib/ffi/handles.ts";
import { COALESCED_RING, CoalescedRing } from "../../lib/kvm/coalesced_ring.ts";

const PAGE = 4096;

/** A vCPU's mapping whose ring holds writes from `first` on, round its end. */
function mapping(
  first: number,
  writes: Parameters<typeof kvm_coalesced_mmio.write>[2][],
): DataView {
  // What the kernel does not write has whatever was there before.
  const view = new DataView(new Uint8Array(COALESCED_RING + PAGE).fill(0xee).buffer);
  const count = COALESCED_RING_CAPACITY + 1;
  const last = (first + writes.length) % count;
  kvm_coalesced_mmio_ring.write(view, COALESCED_RING, { first, last });
  writes.forEach((write, index) => {
    const entry = (first + index) % count;
    const at = COALESCED_RING + kvm_coalesced_mmio_ring.size + entry * kvm_coalesced_mmio.size;
    kvm_coalesced_mmio.write(view, at, write);
  });
  return view;
}

Deno.test("drain hands out the writes in order, round the ring's end, and leaves it empty", () => {
  const data = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
  const view = mapping(COALESCED_RING_CAPACITY - 1, [
    { phys_addr: 0x1_2345_6000n, len: 8, pio: 0, data },
    { phys_addr: 0xe000_0004n, len: 2, pio: 0, data: data.slice(0, 2) },
    { phys_addr: 0x3f8n, len: 1, pio: 1, data: data.slice(0, 1) },
    { phys_addr: 0xe000_0000n, len: 5, pio: 0, data: data.slice(0, 5) },
  ]);
  const ring = new CoalescedRing({ view } as unknown as Mapping);
  const seen: unknown[] = [];
  ring.drain((...write) => void seen.push(write));
  assertEquals(seen, [
    [false, 0x1_2345_6000, 0x4433_2211, 0x8877_6655, 8],
    [false, 0xe000_0004, 0x2211, 0, 2],
    [true, 0x3f8, 0x11, 0, 1],
    [false, 0xe000_0000, 0x4433_2211, 0x55, 5],
  ]);
  const { first, last } = kvm_coalesced_mmio_ring.read(view, COALESCED_RING);
  assertEquals([first, last], [2, 2]);
  ring.drain(() => seen.push("again"));
  assertEquals(seen.length, 4);
});

Deno.test("a write has left the ring before it is handed out: one that throws does not come again", () => {
  const write = { phys_addr: 0n, len: 1, pio: 0, data: [1] };
  const view = mapping(0, [write, { ...write, data: [2] }]);
  const ring = new CoalescedRing({ view } as unknown as Mapping);
  const seen: number[] = [];
  try {
    ring.drain((_isPort, _address, low) => {
      seen.push(low);
      throw new Error("the test's");
    });
  } catch {
    ring.drain((_isPort, _address, low) => void seen.push(low));
  }
  assertEquals(seen, [1, 2]);
});

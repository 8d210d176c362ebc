import { legacyLayout, Virtqueue, VirtqueueError } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DriverQueue, INDIRECT, memoryOf, NEXT, WRITE } from "./driver_queue.ts";

const SIZE = 8;
const ALL = { indirect: true, eventIndex: false };

function queue(features = ALL, size = SIZE) {
  const memory = memoryOf(0x10000);
  const driver = new DriverQueue(memory, 0x1000, size);
  return { memory, driver, ring: new Virtqueue(memory, driver.layout, features) };
}

/** Fills memory with a pattern. */
function fill(memory: ReturnType<typeof memoryOf>, address: number, length: number) {
  memory.write(address, Uint8Array.from({ length }, (_, index) => index));
}

Deno.test("the legacy layout has the used ring on the next boundary", () => {
  assertEquals(legacyLayout(0x1000n, 8, 4096), {
    size: 8,
    descriptors: 0x1000n,
    available: 0x1080n,
    used: 0x2000n,
  });
  // 256 descriptors take a page, and the available ring the next (0.9.5, 2.3).
  assertEquals(legacyLayout(0n, 256, 4096).used, 0x2000n);
  assertEquals(legacyLayout(0n, 8, 4).used, 0x98n);
});

Deno.test("a buffer is what the device reads, and what it writes, whatever its pieces", () => {
  const { memory, driver, ring } = queue();
  assertEquals(ring.take(), undefined);
  fill(memory, 0x8000, 16);
  driver.add([
    { address: 0x8000, length: 3 },
    { address: 0x8003, length: 0 },
    { address: 0x8008, length: 4 },
    { address: 0x9000, length: 2, flags: WRITE },
    { address: 0x9010, length: 5, flags: WRITE },
  ]);
  const buffer = ring.take()!;
  assertEquals([buffer.readableLength, buffer.writableLength], [7, 7]);
  assertEquals([...buffer.read(0, 100)], [0, 1, 2, 8, 9, 10, 11]);
  assertEquals([...buffer.read(2, 2)], [2, 8]);
  assertEquals([...buffer.read(7, 1)], []);
  buffer.write(1, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9));
  assertEquals([...memory.read(0x9000, 3)], [0, 1, 0]);
  assertEquals([...memory.read(0x9010, 6)], [2, 3, 4, 5, 6, 0]);
  ring.give(buffer, 7);
  assertEquals([driver.usedIndex, driver.used(0)], [1, [0, 7]]);
  assertEquals(ring.take(), undefined);
});

Deno.test("buffers are taken in their order, and given back in any, over the end of 16 bits", () => {
  const { driver, ring } = queue(ALL, 2);
  for (let round = 0; round < 0x10000 + 6; round += 2) {
    driver.add([{ address: 0x8000, length: 1 }], 0);
    driver.add([{ address: 0x8000, length: 2 }], 1);
    const [first, second] = [ring.take()!, ring.take()!];
    assertEquals([first.head, second.head], [0, 1]);
    ring.give(second, 0);
    ring.give(first, 0);
    if (round % 0x4000 === 0) {
      assertEquals([driver.used(round)[0], driver.used(round + 1)[0]], [1, 0]);
    }
  }
  assertEquals(driver.usedIndex, 6);
});

Deno.test("an indirect table stands for the descriptor, and may end a chain", () => {
  const { memory, driver, ring } = queue();
  fill(memory, 0x8000, 16);
  driver.describe(1, { address: 0x8000, length: 2, flags: NEXT, next: 0 }, 0xa000);
  driver.describe(0, { address: 0x8008, length: 1 }, 0xa000);
  // A table begins with its first descriptor.
  driver.describe(0, { address: 0x8004, length: 1, flags: NEXT, next: 1 }, 0xa000);
  driver.describe(1, { address: 0x9000, length: 4, flags: WRITE }, 0xa000);
  driver.add([{ address: 0x8000, length: 1 }, { address: 0xa000, length: 32, flags: INDIRECT }]);
  const buffer = ring.take()!;
  assertEquals([...buffer.read(0, 9)], [0, 4]);
  assertEquals([buffer.head, buffer.writableLength], [0, 4]);
  // What it says of its direction is ignored (2.7.5.3.2).
  driver.add([{ address: 0xa000, length: 32, flags: INDIRECT | WRITE }], 3);
  assertEquals(ring.take()!.readableLength, 1);
});

const refused = (
  what: string,
  message: string,
  act: (parts: ReturnType<typeof queue>) => void,
  features = ALL,
) =>
  Deno.test(`refused: ${what}`, () => {
    const parts = queue(features);
    act(parts);
    assertThrows(() => parts.ring.take(), VirtqueueError, message);
  });

refused("a loop", "longer than the queue", ({ driver }) => {
  driver.describe(0, { address: 0x8000, length: 1, flags: NEXT, next: 1 });
  driver.describe(1, { address: 0x8000, length: 1, flags: NEXT, next: 0 });
  driver.makeAvailable(0);
});
refused("a loop in an indirect table", "longer than the queue", ({ driver }) => {
  driver.describe(0, { address: 0x8000, length: 0, flags: NEXT, next: 0 }, 0xa000);
  driver.add([{ address: 0xa000, length: 16, flags: INDIRECT }]);
});
refused("a table that leads to itself", "in an indirect table itself", ({ driver }) => {
  driver.describe(0, { address: 0xa000, length: 16, flags: INDIRECT }, 0xa000);
  driver.add([{ address: 0xa000, length: 16, flags: INDIRECT }]);
});
refused("a head that is no descriptor", "descriptor 8 is none of 8", ({ driver }) => {
  driver.makeAvailable(8);
});
refused("a next that is no descriptor", "descriptor 65535 is none of 8", ({ driver }) => {
  driver.describe(0, { address: 0x8000, length: 1, flags: NEXT, next: 0xffff });
  driver.makeAvailable(0);
});
refused("a next behind an indirect table", "descriptor 2 is none of 2", ({ driver }) => {
  driver.describe(0, { address: 0x8000, length: 1, flags: NEXT, next: 2 }, 0xa000);
  driver.add([{ address: 0xa000, length: 32, flags: INDIRECT }]);
});
refused("an indirect table that was not negotiated", "was not negotiated", ({ driver }) => {
  driver.add([{ address: 0xa000, length: 16, flags: INDIRECT }]);
}, { indirect: false, eventIndex: false });
refused("an indirect table with a next", "it has a next one, too", ({ driver }) => {
  driver.add([{ address: 0xa000, length: 16, flags: INDIRECT }, { address: 0x8000, length: 1 }]);
});
for (const length of [0, 15, 17]) {
  refused(`an indirect table of ${length} bytes`, `its table has ${length} bytes`, ({ driver }) => {
    driver.add([{ address: 0xa000, length, flags: INDIRECT }]);
  });
}
refused("one to read behind one to write", "is to be read, behind", ({ driver }) => {
  driver.add([{ address: 0x8000, length: 1, flags: WRITE }, { address: 0x8000, length: 1 }]);
});
refused("more than 4 GiB", "more than 4 GiB", ({ driver }) => {
  driver.add([{ address: 0, length: 0xffff_ffff }, { address: 0, length: 2 }]);
});
refused("more buffers than descriptors", "more than 8 beyond 0", ({ driver }) => {
  driver.index = SIZE + 1;
});
refused("a table past memory", "no memory is at 0xffff0", ({ driver }) => {
  driver.add([{ address: 0xf_fff0, length: 16, flags: INDIRECT }]);
});

Deno.test("a descriptor past memory is refused when it is used", () => {
  const { driver, ring, memory } = queue();
  for (
    const [address, length] of [[0xfff0, 17], [0x8000_0000, 1], [2n ** 64n - 1n, 1], [
      0x8000,
      0xffff_ffff,
    ]] as const
  ) {
    driver.add([{ address, length }]);
    const buffer = ring.take()!;
    assertEquals(buffer.readableLength, length);
    assertThrows(() => buffer.read(0, length), VirtqueueError, "no memory");
  }
  driver.add([{ address: 0xfff0, length: 17, flags: WRITE }]);
  const buffer = ring.take()!;
  assertThrows(() => buffer.write(0, new Uint8Array(17).fill(1)), VirtqueueError, "no memory");
  assertEquals(memory.view.getUint8(0xfff0), 0);
  buffer.write(0, new Uint8Array(16).fill(1));
});

Deno.test("a queue that lies past memory is refused when it is used, and a size that is none at once", () => {
  const memory = memoryOf(0x2000);
  const layout = legacyLayout(0x1f00n, 8, 4096);
  const ring = new Virtqueue(memory, layout, ALL);
  assertEquals(ring.take(), undefined);
  memory.view.setUint16(Number(layout.available) + 2, 1, true);
  memory.view.setUint32(0x1f00, 0x100, true);
  memory.view.setUint32(0x1f08, 1, true);
  const buffer = ring.take()!;
  assertThrows(() => ring.give(buffer, 0), VirtqueueError, "no memory is at 0x2004");
  for (const size of [0, 3, 65536, 0xffff_ffff]) {
    assertThrows(
      () => new Virtqueue(memory, { ...layout, size }, ALL),
      VirtqueueError,
      "power of two",
    );
  }
});

Deno.test("the driver is interrupted for what was given back, unless its flag says no", () => {
  const { driver, ring } = queue();
  const use = () => {
    driver.add([{ address: 0x8000, length: 1 }]);
    ring.give(ring.take()!, 0);
  };
  assertEquals(ring.wantsInterrupt(), false);
  use();
  assertEquals([ring.wantsInterrupt(), ring.wantsInterrupt()], [true, false]);
  driver.flags = 1;
  use();
  assertEquals(ring.wantsInterrupt(), false);
  driver.flags = 0;
  assertEquals(ring.wantsInterrupt(), false);
});

Deno.test("with event indices it is interrupted when the one that it named was given back", () => {
  const { driver, ring } = queue({ indirect: false, eventIndex: true });
  const use = (count: number) => {
    for (let index = 0; index < count; index++) {
      driver.add([{ address: 0x8000, length: 1 }]);
      ring.give(ring.take()!, 0);
    }
    return ring.wantsInterrupt();
  };
  // The flag says nothing then.
  driver.flags = 1;
  driver.usedEvent = 0;
  assertEquals(use(1), true);
  assertEquals(driver.availableEvent, 1);
  assertEquals(use(1), false);
  driver.usedEvent = 3;
  assertEquals([use(1), use(1)], [false, true]);
  driver.usedEvent = 5;
  assertEquals(use(3), true);
  assertEquals(driver.availableEvent, 7);
  assertEquals(use(1), false);
});

Deno.test("a queue goes on where its state was saved", () => {
  const { memory, driver, ring } = queue();
  driver.add([{ address: 0x8000, length: 1 }], 0);
  driver.add([{ address: 0x8000, length: 1 }], 1);
  ring.give(ring.take()!, 0);
  const other = new Virtqueue(memory, driver.layout, ALL);
  other.restore(structuredClone(ring.save()));
  assertEquals(other.wantsInterrupt(), true);
  const buffer = other.take()!;
  assertEquals(buffer.head, 1);
  other.give(buffer, 0);
  assertEquals([driver.usedIndex, driver.used(1)], [2, [1, 0]]);
});

Deno.test("whatever lies in memory, a queue gives buffers or refuses, and ends", () => {
  const word = fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 16, 0x8000, 0xffff), fc.nat(0xffff));
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 0x800, maxLength: 0x800, size: "max" }),
      fc.boolean(),
      fc.boolean(),
      (words, indirect, eventIndex) => {
        const memory = memoryOf(0x1000);
        memory.write(0, new Uint8Array(Uint16Array.from(words).buffer));
        const layout = { size: 8, descriptors: 0n, available: 0x80n, used: 0x800n };
        const ring = new Virtqueue(memory, layout, { indirect, eventIndex });
        try {
          for (let count = 0; count < 100; count++) {
            const buffer = ring.take();
            if (buffer === undefined) return;
            buffer.write(0, buffer.read(0, 64));
            ring.give(buffer, 0);
            ring.wantsInterrupt();
          }
        } catch (error) {
          if (!(error instanceof VirtqueueError)) throw error;
        }
      },
    ),
    { numRuns: 300 },
  );
});

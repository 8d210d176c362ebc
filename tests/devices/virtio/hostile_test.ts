import {
  Disk,
  VirtioBlk,
  VirtioConsole,
  type VirtioDevice,
  VirtioNet,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Descriptor, type DriverQueue, NEXT, WRITE } from "./driver_queue.ts";
import { TRANSPORTS, VirtioDriver } from "./virtio_driver.ts";

const DATA = 0x30_0000;
/** The machine's memory ends here. */
const END = 0x40_0000;
const NO_MEMORY = 0x4000_0000;
const MOST = 0xffff_ffff;

/** A queue of a device: whether the device writes to its buffers, and what makes it take one. */
interface Queue {
  readonly make: () => VirtioDevice;
  readonly index: number;
  readonly isRead?: boolean;
  readonly offer?: (device: VirtioDevice) => void;
}

const QUEUES: Readonly<Record<string, Queue>> = {
  "virtio-blk": { make: () => new VirtioBlk(new Disk(4096)), index: 0 },
  "virtio-console, output": { make: () => new VirtioConsole(), index: 1 },
  "virtio-console, input": {
    make: () => new VirtioConsole(),
    index: 0,
    isRead: true,
    offer: (device) => (device as VirtioConsole).send(new Uint8Array(480).fill(7)),
  },
  "virtio-net, frames that go out": { make: () => new VirtioNet(), index: 1 },
  "virtio-net, frames that come in": {
    make: () => new VirtioNet(),
    index: 0,
    isRead: true,
    offer: (device) => (device as VirtioNet).send(new Uint8Array(480).fill(7)),
  },
};

/** A buffer as the queue's device takes it, of as many bytes of data as are asked for. */
function buffer(name: string, { isRead }: Queue, data: Descriptor): Descriptor[] {
  const flags = isRead ? WRITE : 0;
  // A request of virtio-blk to write, whose header is zeros but for the type.
  return name === "virtio-blk"
    ? [{ address: DATA, length: 16 }, data, { address: DATA + 0x800, length: 1, flags: WRITE }]
    : [{ ...data, flags }];
}

for (const [name, queue] of Object.entries(QUEUES)) {
  for (const transport of TRANSPORTS) {
    Deno.test(`${name}, by ${transport}: loops, addresses without memory, lengths of 4 GiB`, () => {
      using driver = new VirtioDriver(queue.make(), transport);
      const { memory } = driver.vm;
      const ring = driver.queues[queue.index];
      const flags = queue.isRead ? WRITE : 0;
      const after = (fill: (ring: DriverQueue) => void): string | undefined => {
        driver.status = 0;
        ring.index = 0;
        memory.write(Number(ring.layout.used), new Uint8Array(4));
        memory.write(DATA, [1, 0, 0, 0]);
        driver.start();
        fill(ring);
        queue.offer?.(driver.device);
        driver.notify(queue.index);
        return driver.device.failure;
      };
      const fails = (why: string, fill: (ring: DriverQueue) => void) => {
        assertStringIncludes(after(fill) ?? "no failure", why);
        assertEquals(ring.usedIndex, 0, "nothing is given back");
        memory.u8(END - 1);
      };
      const all = (...chain: Descriptor[]) => (ring: DriverQueue) => ring.add(chain);

      fails("is longer than the queue", (ring) => {
        ring.describe(0, { address: DATA, length: 16, flags: flags | NEXT, next: 0 });
        ring.makeAvailable(0);
      });
      fails("is longer than the queue", (ring) => {
        for (const [from, to] of [[3, 9], [9, 3]]) {
          ring.describe(from, { address: DATA, length: 16, flags: flags | NEXT, next: to });
        }
        ring.makeAvailable(3);
      });
      const at = (address: number | bigint, length: number) =>
        all(...buffer(name, queue, { address, length }));
      fails("no memory is at", at(NO_MEMORY, 512));
      fails("no memory is at", at(0xffff_ffff_ffff_f000n, 512));
      // Half of it is there.
      fails("no memory is at", at(END - 0x100, 512));
      fails("has more than 4 GiB", (ring) => {
        ring.add(Array.from({ length: 3 }, () => ({ address: DATA, length: MOST, flags })));
      });
      // 4 GiB in one piece: it is refused, or only as much of it is used as there is for it.
      const failure = after(at(DATA, MOST - 0x1ff));
      if (failure === undefined) assertEquals(ring.usedIndex, 1);
      else {assertStringIncludes(
          failure,
          name.startsWith("virtio-net") ? "and not 4294" : "no memory is at",
        );}

      // After a reset it works, and takes what a driver gives it.
      assertEquals(after(at(DATA + 0x1000, queue.isRead ? 2048 : 512)), undefined);
      assertEquals(ring.usedIndex, 1);
    });
  }
}

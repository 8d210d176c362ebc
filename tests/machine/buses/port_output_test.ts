import { PortRecorder } from "../../../lib/machine/buses/port_output.ts";
import { assertEquals } from "@std/assert";

Deno.test("what was written to each port is kept apart, in order, low bytes first", () => {
  const output = new PortRecorder();
  output.add(0x10, 0x01, 1);
  output.add(0x11, 0x0302, 2);
  output.add(0x10, 0x07060504, 4);
  output.add(0x10, 0xffff_ffff, 4);
  assertEquals(output.bytes(0x10), new Uint8Array([1, 4, 5, 6, 7, 255, 255, 255, 255]));
  assertEquals(output.bytes(0x11), new Uint8Array([2, 3]));
  assertEquals(output.bytes(0x12), new Uint8Array(0));
  assertEquals([output.dropped(0x10), output.dropped(0x12)], [0, 0]);
  assertEquals([output.sizes(0x10), output.sizes(0x11), output.sizes(0x12)], [[1, 4], [2], []]);
});

Deno.test("64 KiB are kept of each port, and what came after is counted", () => {
  const output = new PortRecorder();
  for (let index = 0; index < 0x10000 / 4; index++) output.add(0x10, index, 4);
  assertEquals(output.dropped(0x10), 0);
  output.add(0x10, 0, 4);
  output.add(0x10, 0, 1);
  output.add(0x11, 9, 1);
  assertEquals([output.bytes(0x10).length, output.dropped(0x10)], [0x10000, 5]);
  assertEquals([output.bytes(0x11).length, output.dropped(0x11)], [1, 0]);
});

Deno.test("the bytes are a copy", () => {
  const output = new PortRecorder();
  output.add(0x10, 1, 1);
  output.bytes(0x10)[0] = 9;
  assertEquals(output.bytes(0x10), new Uint8Array([1]));
});

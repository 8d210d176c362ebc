import { ExitPort } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";

Deno.test("the exit port keeps the latest status and asks for a stop each time", () => {
  let stops = 0;
  const port = new ExitPort(() => stops++);
  assertEquals(port.status, undefined);
  port.write(0xf4, 0);
  assertEquals([port.status, stops], [0, 1]);
  port.write(0xf4, 7);
  assertEquals([port.status, stops], [7, 2]);
  port.beginRun();
  port.beginRun();
  assertEquals([port.status, port.earlierStatus], [undefined, 7]);
});

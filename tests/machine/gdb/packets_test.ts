import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { packet, PACKET_SIZE, PacketReader } from "../../../lib/machine/gdb/packets.ts";

const bytes = (text: string) => Uint8Array.from(text, (each) => each.charCodeAt(0));
const read = (text: string) => [...new PacketReader().push(bytes(text))];

const CASES: readonly [what: string, sent: string, inputs: readonly unknown[]][] = [
  ["a packet", "$g#67", [{ kind: "packet", content: "g" }]],
  ["an empty one", "$#00", [{ kind: "packet", content: "" }]],
  ["what lies between is passed over", "+++$g#67xyz$?#3f", [
    { kind: "packet", content: "g" },
    { kind: "packet", content: "?" },
  ]],
  ["Ctrl-C", "\x03", [{ kind: "interrupt" }]],
  ["a packet that gdb has not received", "-", [{ kind: "resend" }]],
  ["a wrong checksum", "$g#68", [{ kind: "damaged" }]],
  ["one that breaks off", "$gg$g#67", [{ kind: "packet", content: "g" }]],
  ["an escape", "$}\x03#80", [{ kind: "packet", content: "#" }]],
  ["Ctrl-C's number inside of one", "$\x03#03", [{ kind: "packet", content: "\x03" }]],
];

for (const [what, sent, inputs] of CASES) {
  Deno.test(`a stream of gdb's: ${what}`, () => assertEquals<unknown>(read(sent), inputs));
}

Deno.test("a packet that never ends is given up", () => {
  assertEquals(read(`$${"a".repeat(PACKET_SIZE + 1)}`), [{ kind: "damaged" }]);
});

Deno.test("what is sent is what is read, however it is cut", () => {
  const content = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  });
  fc.assert(fc.property(fc.array(content), fc.integer({ min: 1, max: 9 }), (contents, size) => {
    const stream = contents.flatMap((each) => [...packet(each)]);
    const reader = new PacketReader();
    const inputs = [];
    for (let at = 0; at < stream.length; at += size) {
      inputs.push(...reader.push(Uint8Array.from(stream.slice(at, at + size))));
    }
    assertEquals(inputs, contents.map((content) => ({ kind: "packet", content })));
  }));
});

import { ExitRecorder } from "../../../lib/machine/exits/exit_log.ts";
import { assertEquals } from "@std/assert";
import fc from "fast-check";

Deno.test("an empty log has no exits", () => {
  const log = new ExitRecorder(4);
  assertEquals(
    [log.total, log.dropped, log.records(), log.latest],
    [0, 0, [], undefined] as unknown[],
  );
});

Deno.test("an exit is kept with all that is known of it", () => {
  const log = new ExitRecorder(4);
  log.add(6, false, 0xf_ffff_ffff_ffff, 8, 1);
  assertEquals(log.latest?.value, undefined);
  log.setValue(0x89ab_cdef, 0x0123_4567);
  log.setAnsweredBy("IOAPIC");
  assertEquals(log.latest, {
    number: 1,
    cpu: 0,
    reason: 6,
    isWrite: false,
    address: 0xf_ffff_ffff_ffff,
    size: 8,
    count: 1,
    value: 0x0123_4567_89ab_cdefn,
    answeredBy: "IOAPIC",
    faulted: false,
    fault: undefined,
    description: undefined,
    time: undefined,
  });
});

Deno.test("the latest exit of each CPU is found as long as it is kept", () => {
  const log = new ExitRecorder(3);
  for (const cpu of [2, 0, 1, 0]) log.add(5, false, 0, 0, 0, cpu);
  assertEquals([0, 1, 2].map((cpu) => log.latestOf(cpu)?.number), [4, 3, undefined]);
});

Deno.test("the last exits are kept, in order, without anything of those they replaced", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 9 }), fc.nat(40), (capacity, total) => {
    const log = new ExitRecorder(capacity);
    for (let number = 1; number <= total; number++) {
      log.add(2, true, number, 1, 1);
      // Only every other one is answered, so that a place is used again by one that is not.
      if (number % 2 === 0) {
        log.setValue(number, 0);
        log.setAnsweredBy(`device ${number}`);
        log.setFault(`fault ${number}`);
      }
    }
    const kept = Math.min(capacity, total);
    assertEquals([log.total, log.dropped], [total, total - kept]);
    assertEquals(
      log.records().map((
        { number, address, value, answeredBy, fault },
      ) => [number, address, value, answeredBy, fault]),
      Array.from({ length: kept }, (_, index) => {
        const number = total - kept + 1 + index;
        const known = number % 2 === 0;
        return [
          number,
          number,
          known ? BigInt(number) : undefined,
          known ? `device ${number}` : undefined,
          known ? `fault ${number}` : undefined,
        ];
      }),
    );
  }));
});

import { ExitRecorder, headOfPortWrite } from "../../../lib/machine/exits/exit_log.ts";
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

Deno.test("what is wide, or of another CPU, is kept beside what is not", () => {
  const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const exit = fc.record({
    reason: fc.oneof(fc.nat(40), word),
    isWrite: fc.boolean(),
    address: fc.oneof(fc.nat(0xffff), fc.integer({ min: 0, max: 2 ** 52 - 1 })),
    size: fc.constantFrom(0, 1, 4, 8),
    count: fc.constantFrom(0, 1, 4096),
    cpu: fc.oneof(fc.nat(3), fc.nat(4095)),
    value: fc.option(fc.tuple(word, fc.oneof(fc.constant(0), word)), { nil: undefined }),
    faulted: fc.boolean(),
    answeredBy: fc.constantFrom(undefined, "", "a", "b"),
  });
  fc.assert(fc.property(fc.array(exit, { maxLength: 12 }), fc.nat(4), (exits, behind) => {
    const log = new ExitRecorder(5);
    const add = ({ value, ...each }: (typeof exits)[number]) => {
      log.add(each.reason, each.isWrite, each.address, each.size, each.count, each.cpu);
      if (value !== undefined) log.setValue(...value);
      if (each.faulted) log.setFaulted();
      if (each.answeredBy !== undefined) log.setAnsweredBy(each.answeredBy);
    };
    exits.forEach(add);
    const expected = exits.map(({ value, ...each }, index) => ({
      number: index + 1,
      ...each,
      value: value === undefined ? undefined : BigInt(value[1]) << 32n | BigInt(value[0]),
      fault: undefined,
      description: undefined,
      time: undefined,
    })).slice(-5);
    assertEquals(log.records(), expected);
    const state = log.save();
    for (const each of exits.slice(0, behind)) add(each);
    log.restore(state);
    assertEquals([log.total, log.records()], [exits.length, expected]);
  }));
});

Deno.test("a port write in one is as one in parts", () => {
  const [one, parts] = [new ExitRecorder(3), new ExitRecorder(3)];
  for (const value of [1, 0xffff_ffff, 3, 4]) {
    one.addPortWrite(headOfPortWrite(4, 2), 0xffff, value, one.numberOf("device"));
    parts.add(2, true, 0xffff, 4, 1, 2);
    parts.setValue(value, 0);
    parts.setAnsweredBy("device");
  }
  assertEquals([one.total, one.records()], [parts.total, parts.records()]);
});

import { asm, boot, type ExitHandler, interleavings } from "@vmexit/vmexit";
import { assertEquals, assertThrows } from "@std/assert";

const REJECTED = () => Promise.reject(new Error("nobody looks at this"));

/** Each is refused by its type as well, which `@ts-expect-error` shows: without an error it is one. */
const PROMISES: [name: string, run: () => void, message: string][] = [
  ["a port's write", () => {
    using vm = boot(asm`out 0x42, al`);
    // @ts-expect-error a promise
    vm.ports.on(0x42, { name: "pump", write: async () => await REJECTED() });
    vm.run();
  }, "Cannot take a write by pump: it returned a promise"],
  ["a port's read", () => {
    using vm = boot(asm`in al, 0x42`);
    // @ts-expect-error a promise
    vm.ports.on(0x42, { read: async () => await REJECTED() });
    vm.run();
  }, "Cannot answer a read by handler: it returned a promise"],
  ["an MMIO write", () => {
    using vm = boot(asm`mov [0x2000], al`, { memory: "4K" });
    // @ts-expect-error a promise
    vm.mmio.on(0x2000, { write: async () => await REJECTED() });
    vm.run();
  }, "Cannot take a write by handler"],
  ["an MMIO read", () => {
    using vm = boot(asm`mov al, [0x2000]`, { memory: "4K" });
    // @ts-expect-error a promise
    vm.mmio.on(0x2000, { read: async () => await REJECTED() });
    vm.run();
  }, "Cannot answer a read by handler"],
  ["a coalesced write", () => {
    using vm = boot(
      asm`
        mov [0x2000], al
        hlt
      `,
      { memory: "4K" },
    );
    // @ts-expect-error a promise
    vm.mmio.coalesce([0x2000, 0x2fff], { write: async () => await REJECTED() });
    vm.run();
  }, "Cannot take a write by handler"],
  ["an exit's handler", () => {
    using vm = boot(asm`hlt`);
    const halted = async () => await REJECTED();
    // @ts-expect-error a promise
    const handler: ExitHandler<"HLT"> = halted;
    vm.on("HLT", handler);
    vm.run();
  }, "Cannot take exit 1 by halted: it returned a promise"],
  ["an MSR's read", () => {
    using vm = boot(RDMSR);
    // @ts-expect-error a promise
    vm.msrs.on("LSTAR", { read: async () => await REJECTED() });
    vm.run();
  }, "Cannot answer a read by handler"],
  ["an MSR's write", () => {
    using vm = boot(asm`
      mov ecx, 0xc0000082
      wrmsr
    `);
    // @ts-expect-error a promise
    vm.msrs.on("LSTAR", { write: async () => await REJECTED() });
    vm.run();
  }, "Cannot take a write by handler"],
  ["`before` of exits", () => {
    using vm = boot(asm`hlt`);
    // @ts-expect-error a promise
    vm.exits({ before: async () => await REJECTED() }).next();
  }, "Cannot iterate exits with an async `before`"],
  ["the body of interleavings", () => {
    // @ts-expect-error a promise
    interleavings(2, async () => await REJECTED());
  }, "interleaving seed 0: Cannot try interleavings by an async function"],
];

const RDMSR = asm`
  mov ecx, 0xc0000082
  rdmsr
  hlt
`;

for (const [name, run, message] of PROMISES) {
  Deno.test(`${name} that is async is an error, and its rejection cancels nothing`, async () => {
    assertThrows(run, TypeError, message);
    // Where a rejection was unhandled, the test file would end here.
    await new Promise((resolve) => setTimeout(resolve, 1));
  });
}

Deno.test("an answer without what the guest gets is an error, in a handler and by the test", () => {
  using vm = boot(RDMSR);
  vm.msrs.intercept("LSTAR");
  // @ts-expect-error without data
  using _ = vm.on("X86_RDMSR", () => ({}));
  assertThrows(
    () => vm.run(),
    TypeError,
    "Cannot answer an exit by nothing: its guest waits for data or error",
  );
  for (const answer of [{}, { error: 0 }] as Record<string, number>[]) {
    assertThrows(() => vm.answer(answer), TypeError, "Cannot answer an exit by nothing");
  }
  vm.answer({ data: 7 });
  assertEquals([vm.run().reason, vm.registers.eax], ["HLT", 7]);
});

import { asm, boot, guestTests, Image, type Machine, modes } from "@vmexit/vmexit";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

interface Step {
  readonly name: string;
  readonly ignored: boolean;
  readonly error: string | undefined;
}

/** A context that runs steps by itself, so that failing ones can be looked at. */
function context() {
  const steps: Step[] = [];
  const step = async (definition: Deno.TestStepDefinition) => {
    let error: string | undefined;
    try {
      if (definition.ignore !== true) await definition.fn(undefined as never);
    } catch (caught) {
      error = (caught as Error).message;
    }
    steps.push({ name: definition.name, ignored: definition.ignore === true, error });
    return error === undefined;
  };
  return { steps, t: { step } as unknown as Deno.TestContext };
}

const include = new URL("../../../guests/include/", import.meta.url).pathname;

const GUEST = asm`
  %include "../../../guests/include/width.inc"
  %include "../../../guests/include/guest_test.inc"
  mov xax, 5
  mov xbx, 7
  guest_test "what holds"
    assert_eq xax, 5
    assert_ne xax, xbx
    assert_b xax, xbx
    assert_a xbx, 6
    assert_eq byte [value], 0x2a
  guest_test_end
  guest_test "what does not"
    assert_eq xax, xbx
    assert_eq byte [value], 1
  guest_test_end
  guest_test "what cannot be run"
    guest_test_skip "no such device"
  guest_test_end
  guest_print "rax is %d, or 0x%x: 100 %%", xax, xbx
  guest_tests_done
  hlt
value: db 0x2a
`;

Deno.test.each(modes(["real", "protected", "long", "compatibility"]))(
  "a guest's tests are steps, and its assertions have their file and line: $name",
  async ({ options }) => {
    using vm = boot(GUEST, options);
    const { steps, t } = context();
    assertEquals(await guestTests(vm, t), "rax is 5, or 0x7: 100 %");
    const [holds, fails, skipped] = steps;
    assertEquals(holds, { name: "what holds", ignored: false, error: undefined });
    assertEquals(skipped, {
      name: "what cannot be run (no such device)",
      ignored: true,
      error: undefined,
    });
    assertEquals(fails.name, "what does not");
    const [first, second] = fails.error!.split("\n");
    assert(
      /guest_tests_test\.ts:\d+: \w?ax == \w?bx: \w?ax is 0x5, \w?bx is 0x7$/.test(first),
      first,
    );
    assertStringIncludes(second, "byte [value] == 1: 1 is 0x1");
  },
);

Deno.test("the registers of a guest with reports are as those of one without", () => {
  using vm = boot(
    asm`
      bits 64
      %include "../../../guests/include/guest_test.inc"
      guest_test "x"
      assert_eq eax, 0
      guest_test_end
      hlt
    `,
    { registers: { rcx: 3n, rdx: 4n, rdi: 5n } },
  );
  vm.ports.on(0xe4, { write() {} });
  vm.run();
  const { rax, rcx, rdx, rdi, rsp } = vm.registers;
  assertEquals([rax, rcx, rdx, rdi, rsp], [0n, 3n, 4n, 5n, vm.bootRegisters.rsp]);
});

const C_GUEST = String.raw`
#include "guest_test.h"
static int add(int a, int b) { return a + b; }
void _start(void) {
  guest_test("addition");
  assert_eq(add(2, 3), 5);
  assert_lt(1, 2);
  guest_test_end();
  guest_test("what is wrong");
  assert_eq(add(2, 2), 5);
  guest_test_end();
  guest_print("%s has %d of %lu at %p, %c", (unsigned long)"list", -3, 7, 0xbeef, 'z');
  guest_tests_done();
  __asm__ volatile("hlt");
}
`;

Deno.test("a kernel's tests in C", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${folder}/kernel.c`, C_GUEST);
    // deno-fmt-ignore
    const { success, stderr } = new Deno.Command("cc", {
      args: ["-g", "-ffreestanding", "-fno-pie", "-no-pie", "-nostdlib", "-static", "-mno-red-zone", "-mgeneral-regs-only",
        "-fcf-protection=none", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none,-Ttext=0x20000", "-I", include, "-o", `${folder}/kernel.elf`, `${folder}/kernel.c`],
    }).outputSync();
    assert(success, new TextDecoder().decode(stderr));
    using vm = boot(Image.fromElf(Deno.readFileSync(`${folder}/kernel.elf`)), { mode: "long" });
    const { steps, t } = context();
    assertEquals(await guestTests(vm, t), "list has -3 of 7 at 0xbeef, z");
    assertEquals(steps.map(({ name }) => name), ["addition", "what is wrong"]);
    assertStringIncludes(steps[1].error!, "kernel.c:10: add(2, 2) == 5: left is 0x4, right is 0x5");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("results by TAP on the serial line are steps too", async () => {
  using vm = boot(asm`
    mov si, text
    mov dx, 0x3f8
  next:
    lodsb
    test al, al
    jz done
    out dx, al
    jmp next
  done:
    hlt
  text: db "booting", 10, "1..2", 10, "ok 1 - memory", 10, "# expected 5", 10, "not ok 2 - timer", 10, 0
  `);
  const { steps, t } = context();
  await guestTests(vm, t);
  assertEquals(steps, [
    { name: "memory", ignored: false, error: undefined },
    { name: "timer", ignored: false, error: "not ok\nexpected 5" },
  ]);
});

Deno.test("a guest that reports by macros and by TAP has the tests of both, and one without a name has its place", async () => {
  using vm = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    guest_test ""
    assert_eq ax, 0
    guest_test_end
    guest_tests_done
    mov si, text
    mov dx, 0x3f8
    mov cx, end - text
    rep outsb
    hlt
  text: db "1..1", 10, "not ok 1 - timer", 10
  end:
  `);
  const { steps, t } = context();
  await guestTests(vm, t);
  assertStringIncludes(steps[0].name, "guest_tests_test.ts:");
  assertEquals(steps[1], { name: "timer", ignored: false, error: "not ok" });
});

async function flawOf(vm: Machine): Promise<string> {
  const { message } = await assertRejects(() => guestTests(vm, context().t), Error);
  return message.split("\n")[0];
}

Deno.test("tests that are not all there are an error", async () => {
  const start = "The guest's tests are not all there: ";
  using nothing = boot(asm`hlt`);
  assertEquals(await flawOf(nothing), `${start}it has reported none.`);
  using undone = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    guest_test "a"
    assert_eq ax, 0
    guest_test_end
    hlt
  `);
  assertStringIncludes(await flawOf(undone), "has not said that it is done");
  using open = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    guest_test "a"
    assert_eq ax, 0
    guest_tests_done
    hlt
  `);
  assertStringIncludes(await flawOf(open), 'the test "a" has begun and not ended');
  using outside = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    assert_eq ax, 0
    guest_tests_done
    hlt
  `);
  assertStringIncludes(await flawOf(outside), "a report outside of a test");
  using early = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    guest_tests_done
    guest_test "a"
    assert_eq ax, 0
    guest_test_end
    hlt
  `);
  assertStringIncludes(await flawOf(early), "a report behind guest_tests_done: a");
  using empty = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    guest_tests_done
    hlt
  `);
  assertStringIncludes(await flawOf(empty), "it has reported none");
  using idle = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    guest_test "a"
    guest_test_end
    guest_tests_done
    hlt
  `);
  const { steps, t } = context();
  await guestTests(idle, t);
  assertStringIncludes(steps[0].error!, "it asserted nothing");
});

Deno.test("a report without a record is a fault of the guest's", async () => {
  using vm = boot(asm`
    call report
    hlt
  report:
    out 0xe4, al
    ret
  `);
  await assertRejects(() => guestTests(vm, context().t), RangeError, "there is no record");
});

Deno.test("a text that is no UTF-8 does not hide the texts behind it", async () => {
  using vm = boot(asm`
    %include "../../../guests/include/guest_test.inc"
    guest_test "bytes"
    guest_report_record GUEST_REPORT_FAILED, 0xff, "ax", "bx"
    guest_test_end
    guest_tests_done
    hlt
  `);
  const { steps, t } = context();
  await guestTests(vm, t);
  assertStringIncludes(steps[0].error!, "bx: ax is 0x0, bx is 0x0");
});

import { assertEquals } from "@std/assert";
import { asm, boot, expect, hlt, portIn, portOut } from "@vmexit/vmexit";
import { kvmLibc, type Libc } from "@vmexit/vmexit/kvm";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";

const EXITS = 50;

Deno.test("an exit that a transcript takes costs one KVM_RUN, and no time limit of its own", () => {
  const real = kvmLibc();
  const calls = { run: 0, timer: 0 };
  const libc: Libc = {
    ...real,
    ioctl(fd, request, argument) {
      if (request === IOCTLS.KVM_RUN.number) calls.run++;
      return real.ioctl(fd, request, argument);
    },
    timer_settime(...args) {
      calls.timer++;
      return real.timer_settime(...args);
    },
  };
  using vm = boot(
    asm`
      mov cx, ${EXITS}
    again:
      in  al, 0x60
      out 0x61, al
      loop again
      hlt
    `,
    { libc },
  );
  const patterns = Array.from({ length: EXITS }, (_, index) => [
    portIn(0x60).returns(index),
    portOut(0x61, index, 1),
  ]);
  expect(vm).toExit([...patterns.flat(), hlt()]);
  assertEquals(calls, { run: 2 * EXITS + 1, timer: 2 });
  expect(vm).toHaveRegisters({ al: EXITS - 1, cx: 0 });
});

Deno.test("behind a transcript that ends at a read, the read has reached its register", () => {
  using vm = boot(asm`
    in  al, 0x60
    in  al, 0x60
    hlt
  `);
  expect(vm).toExit([portIn(0x60).returns(1), portIn(0x60).returns(2)]);
  expect(vm).toHaveRegisters({ al: 2 });
});

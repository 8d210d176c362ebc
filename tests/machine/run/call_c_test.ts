import { boot, Image } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";
import { compileGuest } from "../../kvm/oracle/c_compiler.ts";

for (const bits of [32, 64] as const) {
  Deno.test(`functions that a C compiler makes of ${bits} bits`, async () => {
    const elf = await compileGuest(
      `
      static inline void outb(unsigned short port, unsigned char value) {
        __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
      }
      void _start(void) { for (;;) __asm__ volatile("hlt"); }
      int uart_write(const char *text, int count) {
        int sent = 0;
        while (sent < count) outb(0x3f8, text[sent++]);
        return sent;
      }
      int negated(int value) { return -value; }
      unsigned char is_odd(unsigned value) { return value & 1; }
      unsigned long long product(unsigned a, unsigned b) { return (unsigned long long)a * b; }
      long nine(long a, long b, long c, long d, long e, long f, long g, long h, long i) {
        return a - b + 10 * c + d * e + f + 100 * g - h + 1000 * i;
      }
      int sum(int count, ...) {
        __builtin_va_list list;
        int total = 0;
        __builtin_va_start(list, count);
        while (count--) total += __builtin_va_arg(list, int);
        return total;
      }
      int is_aligned(void) { return ((unsigned long)__builtin_frame_address(0) & 15) == ${
        bits === 64 ? 0 : 8
      }; }
      const char greeting[] = "from C";
      `,
      bits,
    );
    using vm = boot(Image.fromElf(elf));
    assertEquals(vm.call("uart_write", ["greeting", 6], { returns: "i32" }), 6n);
    assertEquals(vm.serial.text, "from C");
    assertEquals(vm.call("negated", [5], { returns: "i32" }), -5n);
    assertEquals(vm.call("negated", [-5], { returns: "i32" }), 5n);
    assertEquals(vm.call("is_odd", [3], { returns: "u8" }), 1n);
    assertEquals(vm.call("product", [0xffff_ffff, 0x10], { returns: "u64" }), 0xf_ffff_fff0n);
    assertEquals(vm.call("nine", [1, 2, 3, 4, 5, 6, 7, 8, 9]), 9747n);
    assertEquals(vm.call("sum", [4, 1, 2, 3, 4], { returns: "i32" }), 10n);
    assertEquals(vm.call("is_aligned", [], { returns: "i32" }), 1n);
  });
}

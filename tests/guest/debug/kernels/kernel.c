/* A kernel that fails deep in: a queue whose third message has no text. */
struct message {
  unsigned length;
  const char *text;
};

static const struct message queue[] = {{3, "one"}, {3, "two"}, {5, 0}};
static unsigned sent;

static inline __attribute__((always_inline)) void check(int is_right) {
  if (!is_right) __builtin_trap();
}

static __attribute__((noinline)) void send(const struct message *message, unsigned port) {
  check(message->text != 0);
  for (unsigned i = 0; i < message->length; i++) {
    __asm__ volatile("outb %0, %w1" : : "a"(message->text[i]), "d"(port));
    sent++;
  }
}

static __attribute__((noinline)) unsigned drain(unsigned index, unsigned port) {
  if (index == 3) return sent;
  send(&queue[index], port);
  return drain(index + 1, port) + index;
}

void _start(void) {
  drain(0, 0x3f8);
  for (;;) __asm__ volatile("hlt");
}

/* A driver of a 16550A at COM1 (PC16550D data sheet), by polling. No wait is without an end. */

enum uart_result {
  UART_OK = 0,
  UART_NO_DEVICE = -1,
  UART_TIMEOUT = -2,
  UART_SELF_TEST = -3,
  UART_OVERRUN = -4,
  UART_PARITY = -5,
  UART_FRAMING = -6,
  UART_BREAK = -7,
};

enum { BASE = 0x3f8, CLOCK = 115200, PATIENCE = 500 };

/* Registers, as offsets; the divisor's lie where others do. */
enum { DATA = 0, INTERRUPT_ENABLE, FIFO_CONTROL, LINE_CONTROL, MODEM_CONTROL, LINE_STATUS, SCRATCH = 7 };
enum { DIVISOR_LOW = 0, DIVISOR_HIGH };

enum { FIFO_ENABLE = 0x01, FIFO_CLEAR = 0x06, TRIGGER_14 = 0xc0 };
enum { EIGHT_BITS = 0x03, DIVISOR_LATCH = 0x80 };
enum { DTR = 0x01, RTS = 0x02, OUT2 = 0x08, LOOPBACK = 0x10 };
enum { DATA_READY = 0x01, OVERRUN = 0x02, PARITY = 0x04, FRAMING = 0x08, BREAK = 0x10, HOLDING_EMPTY = 0x20 };
enum { FLOATING = 0xff };

static void set(int reg, unsigned char value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "d"((unsigned short)(BASE + reg)));
}

static unsigned char get(int reg) {
  unsigned char value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "d"((unsigned short)(BASE + reg)));
  return value;
}

/* Waits for a bit of the line status, and gives the whole status, or an error. Its errors are cleared by the read. */
static int wait_for(unsigned char bit) {
  for (int polls = 0; polls < PATIENCE; polls++) {
    unsigned char status = get(LINE_STATUS);
    if (status == FLOATING) return UART_NO_DEVICE;
    if (status & bit) return status;
  }
  return UART_TIMEOUT;
}

int uart_putc(char character) {
  int status = wait_for(HOLDING_EMPTY);
  if (status < 0) return status;
  set(DATA, character);
  return UART_OK;
}

/* A byte, or an error; the byte that came with an error is lost. */
int uart_getc(void) {
  int status = wait_for(DATA_READY);
  if (status < 0) return status;
  unsigned char byte = get(DATA);
  if (status & OVERRUN) return UART_OVERRUN;
  if (status & BREAK) return UART_BREAK;
  if (status & PARITY) return UART_PARITY;
  if (status & FRAMING) return UART_FRAMING;
  return byte;
}

/* Whether what is sent comes back while the line is cut off. */
static int self_test(void) {
  static const unsigned char bytes[] = { 0x55, 0xaa };
  set(MODEM_CONTROL, LOOPBACK);
  for (unsigned index = 0; index < sizeof bytes; index++) {
    int result = uart_putc(bytes[index]);
    if (result < 0) return result;
    if (uart_getc() != bytes[index]) return UART_SELF_TEST;
  }
  return UART_OK;
}

/* Eight bits, no parity, one stop bit; FIFOs on, no interrupts. */
int uart_initialize(unsigned baud) {
  unsigned divisor = CLOCK / baud;
  set(SCRATCH, 0x5a);
  if (get(SCRATCH) != 0x5a) return UART_NO_DEVICE;
  set(INTERRUPT_ENABLE, 0);
  set(LINE_CONTROL, DIVISOR_LATCH);
  set(DIVISOR_LOW, divisor);
  set(DIVISOR_HIGH, divisor >> 8);
  set(LINE_CONTROL, EIGHT_BITS);
  set(FIFO_CONTROL, FIFO_ENABLE | FIFO_CLEAR | TRIGGER_14);
  int result = self_test();
  if (result < 0) return result;
  set(MODEM_CONTROL, DTR | RTS | OUT2);
  return UART_OK;
}

import { SystemError } from "./errors.ts";
import { countHandle } from "./handles.ts";

/** Numbers of Linux's headers, by the expressions that they are in C: a test compares them. */
export const SOCKET_ABI = {
  AF_INET: 2,
  "SOCK_STREAM | SOCK_CLOEXEC": 0x8_0001,
  SOL_SOCKET: 1,
  SO_REUSEADDR: 2,
  IPPROTO_TCP: 6,
  TCP_NODELAY: 1,
  SOCK_CLOEXEC: 0x8_0000,
  MSG_NOSIGNAL: 0x4000,
  INADDR_LOOPBACK: 0x7f00_0001,
  POLLIN: 1,
  "sizeof(struct sockaddr_in)": 16,
  "offsetof(struct sockaddr_in, sin_port)": 2,
  "offsetof(struct sockaddr_in, sin_addr)": 4,
  "sizeof(struct pollfd)": 8,
  "offsetof(struct pollfd, events)": 4,
  EINTR: 4,
} as const;

/** The most that is read at once. */
const CHUNK = 0x1_0000;

/** The highest port. */
const LAST_PORT = 0xffff;

const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  accept4: { parameters: ["i32", "pointer", "pointer", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

type SocketCalls = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

let opened: { readonly c: SocketCalls; readonly errno: Int32Array } | undefined;

/** Bound once, and open for the life of the process, as the other calls of libc are. */
function calls(): { readonly c: SocketCalls; readonly errno: Int32Array } {
  if (opened === undefined) {
    const c = Deno.dlopen("libc.so.6", SYMBOLS).symbols;
    const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(c.__errno_location()!, 4));
    opened = { c, errno };
  }
  return opened;
}

/** A descriptor of a socket, which is closed once. */
class Socket implements Disposable {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
    countHandle("fds", 1);
  }

  /** The descriptor. @throws {TypeError} Once it is closed. */
  get fd(): number {
    if (this.#fd >= 0) return this.#fd;
    throw new TypeError("Cannot use a socket: it is closed");
  }

  /** Whether something can be read, or somebody be accepted, within so many milliseconds; a closed other end counts. */
  isReady(milliseconds: number): boolean {
    const { c, errno } = calls();
    const end = performance.now() + milliseconds;
    const entry = new DataView(new ArrayBuffer(SOCKET_ABI["sizeof(struct pollfd)"]));
    entry.setInt32(0, this.fd, true);
    entry.setInt16(SOCKET_ABI["offsetof(struct pollfd, events)"], SOCKET_ABI.POLLIN, true);
    for (;;) {
      const left = Math.max(0, Math.ceil(end - performance.now()));
      const ready = c.poll(new Uint8Array(entry.buffer), 1n, left);
      if (ready >= 0) return ready > 0;
      if (errno[0] !== SOCKET_ABI.EINTR) {
        throw new SystemError("poll", errno[0], "a socket was not awaited");
      }
    }
  }

  /** Closes it; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    calls().c.close(this.#fd);
    this.#fd = -1;
    countHandle("fds", -1);
  }
}

/** One end of a TCP connection. All calls are synchronous, because what a test does is. */
export class Connection extends Socket {
  /** What has come, waiting for the first of it; undefined where the other end is closed. */
  receive(): Uint8Array<ArrayBuffer> | undefined {
    const { c, errno } = calls();
    const chunk = new Uint8Array(CHUNK);
    for (;;) {
      const length = Number(c.recv(this.fd, chunk, BigInt(chunk.length), 0));
      if (length > 0) return chunk.subarray(0, length);
      if (length === 0 || errno[0] !== SOCKET_ABI.EINTR) return undefined;
    }
  }

  /** Sends all of it. False where the other end is closed. */
  send(bytes: Uint8Array<ArrayBuffer>): boolean {
    const { c, errno } = calls();
    for (let sent = 0; sent < bytes.length;) {
      const rest = bytes.subarray(sent);
      const length = Number(c.send(this.fd, rest, BigInt(rest.length), SOCKET_ABI.MSG_NOSIGNAL));
      if (length >= 0) sent += length;
      else if (errno[0] !== SOCKET_ABI.EINTR) return false;
    }
    return true;
  }
}

/** A TCP port of this host alone (127.0.0.1) that somebody can connect to. */
export class Listener extends Socket {
  /** The port. */
  readonly port: number;

  /** Use {@linkcode Listener.on}. */
  private constructor(fd: number, port: number) {
    super(fd);
    this.port = port;
  }

  /**
   * Listens on a port, or on any that is free for 0.
   *
   * @throws {RangeError} When it is no port.
   * @throws {SystemError} When it is taken.
   */
  static on(port: number): Listener {
    if (!Number.isInteger(port) || port < 0 || port > LAST_PORT) {
      throw new RangeError(
        `Cannot listen on port ${String(port)}: ports are 0 to ${LAST_PORT}, 0 for any`,
      );
    }
    const { c, errno } = calls();
    const fd = c.socket(SOCKET_ABI.AF_INET, SOCKET_ABI["SOCK_STREAM | SOCK_CLOEXEC"], 0);
    const failed = (call: string) => {
      const error = new SystemError(call, errno[0], `nobody listens on 127.0.0.1:${port}`);
      if (fd >= 0) c.close(fd);
      return error;
    };
    if (fd < 0) throw failed("socket");
    setFlag(fd, SOCKET_ABI.SOL_SOCKET, SOCKET_ABI.SO_REUSEADDR);
    const address = new DataView(new ArrayBuffer(SOCKET_ABI["sizeof(struct sockaddr_in)"]));
    address.setUint16(0, SOCKET_ABI.AF_INET, true);
    // In network byte order.
    address.setUint16(SOCKET_ABI["offsetof(struct sockaddr_in, sin_port)"], port);
    address.setUint32(
      SOCKET_ABI["offsetof(struct sockaddr_in, sin_addr)"],
      SOCKET_ABI.INADDR_LOOPBACK,
    );
    const bytes = new Uint8Array(address.buffer);
    if (c.bind(fd, bytes, bytes.length) !== 0) throw failed("bind");
    if (c.listen(fd, 1) !== 0) throw failed("listen");
    const length = new Uint8Array(new Uint32Array([bytes.length]).buffer);
    if (c.getsockname(fd, bytes, length) !== 0) throw failed("getsockname");
    return new Listener(
      fd,
      address.getUint16(SOCKET_ABI["offsetof(struct sockaddr_in, sin_port)"]),
    );
  }

  /** Who connects within so many milliseconds; undefined where nobody does. */
  accept(milliseconds: number): Connection | undefined {
    if (!this.isReady(milliseconds)) return undefined;
    const { c, errno } = calls();
    const fd = c.accept4(this.fd, null, null, SOCKET_ABI.SOCK_CLOEXEC);
    if (fd < 0) {
      throw new SystemError("accept4", errno[0], `a connection to port ${this.port} was not made`);
    }
    setFlag(fd, SOCKET_ABI.IPPROTO_TCP, SOCKET_ABI.TCP_NODELAY);
    return new Connection(fd);
  }
}

function setFlag(fd: number, level: number, option: number): void {
  const one = new Uint8Array(new Int32Array([1]).buffer);
  calls().c.setsockopt(fd, level, option, one, one.length);
}

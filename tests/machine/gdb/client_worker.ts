/** A client of the remote protocol on a thread of its own: the test's own thread serves it. */
const scope = self as unknown as {
  onmessage: (event: MessageEvent<Conversation>) => void;
  postMessage(message: unknown): void;
};

/** What it says, piece by piece, each when enough has come back. */
export interface Conversation {
  readonly port: number;
  /** What is sent, raw: a character a byte; then what is waited for, an expression, and how long it is idle before that. */
  readonly steps: readonly {
    readonly send: string;
    readonly until?: string;
    readonly idle?: number;
  }[];
}

/** Who listens may only be about to. */
async function connect(port: number): Promise<Deno.TcpConn> {
  for (let tries = 0;; tries++) {
    try {
      return await Deno.connect({ port, hostname: "127.0.0.1" });
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused) || tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

scope.onmessage = async ({ data: { port, steps } }) => {
  let heard = "";
  try {
    using connection = await connect(port);
    const chunk = new Uint8Array(65_536);
    for (const { send, until, idle = 0 } of steps) {
      await new Promise((resolve) => setTimeout(resolve, idle));
      await connection.write(Uint8Array.from(send, (each) => each.charCodeAt(0)));
      let piece = "";
      while (until !== undefined && !new RegExp(until).test(piece)) {
        const length = await connection.read(chunk);
        if (length === null) break;
        piece += String.fromCharCode(...chunk.subarray(0, length));
      }
      heard += piece;
    }
  } catch (error) {
    heard += String(error);
  }
  scope.postMessage(heard);
};
scope.postMessage("ready");
